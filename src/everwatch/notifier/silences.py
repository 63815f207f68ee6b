"""Silences: for a while no alert of what a selector matches, such as for maintenance of a target. Pure."""

from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.encoding.input_models import MOST_LABELS, NO_HIDDEN, LabelKey, LabelValue
from everwatch.schedule.duration import DAY_MS

LONGEST_SILENCE_MS = 90 * DAY_MS
MOST_AHEAD_MS = 365 * DAY_MS
"""How far ahead a silence may begin."""
_Text = Annotated[str, Meta(max_length=256, pattern=NO_HIDDEN)]


class Selector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Selection of monitors: all given conditions must apply.

    ``target``: a host, or ``*.example.com`` for all below a domain. ``label``: keys with their values.
    """

    user: _Text = ""
    plan: _Text = ""
    kind: _Text = ""
    target: _Text = ""
    label: Annotated[dict[LabelKey, LabelValue], Meta(max_length=MOST_LABELS)] = {}

    @property
    def is_empty(self) -> bool:
        """Tell whether it matches everything."""
        return self == Selector()

    def matches(self, user_id: str, plan: str, kind: str, target: str, labels: Mapping[str, str]) -> bool:
        """Tell whether it takes a monitor of which this is known."""
        return (
            self.user in ("", user_id)
            and self.plan in ("", plan)
            and self.kind in ("", kind)
            and (not self.target or is_host(target, self.target))
            and all(labels.get(key) == value for key, value in self.label.items())
        )


class AlertSilence(msgspec.Struct, frozen=True):
    """A silence, from ``starts_at`` to ``ends_at`` (ms). ``by``: who made it; ``reason``: why, for others to see."""

    silence_id: str
    match: Selector
    starts_at: int
    ends_at: int
    reason: str = ""
    by: str = ""
    created_at: int = 0

    def is_on(self, now: int) -> bool:
        """Tell whether it is on."""
        return self.starts_at <= now < self.ends_at

    @property
    def verdict(self) -> str:
        """Why an alert is not sent."""
        by = f" by {self.by}" if self.by else ""
        return f"not told: silenced{by}" + (f" ({self.reason})" if self.reason else "")


def silence_of(
    silences: Iterable[AlertSilence], user_id: str, plan: str, kind: str, target: str, labels: Mapping[str, str]
) -> AlertSilence | None:
    """Return the first of these silences that takes a monitor."""
    return next((each for each in silences if each.match.matches(user_id, plan, kind, target, labels)), None)


def is_host(host: str, pattern: str) -> bool:
    """Tell whether a host is the one that ``pattern`` names, or below its domain (``*.example.com``)."""
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
