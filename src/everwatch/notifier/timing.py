"""Timing of a route's messages: after a delay, at an hour of the day, not at night. Pure."""

from collections.abc import Collection

import msgspec

from everwatch.model import Cron
from everwatch.notifier.alerts import Severity
from everwatch.schedule.cron import cron_times
from everwatch.schedule.duration import DAY_MS

_LONGEST_NIGHT_MS = 2 * DAY_MS


class QuietHours(msgspec.Struct, frozen=True):
    """Hours in which a route sends only alerts of the severities in ``wakes``.

    From each time that ``begins`` matches to the next that ``ends`` does, by the wall clock of their zone.
    """

    begins: Cron
    ends: Cron
    wakes: frozenset[Severity] = frozenset()

    def over_at(self, at: int) -> int:
        """Return ``at``, or when the quiet hours that it falls into are over; ms."""
        begun = cron_times(self.begins).last_between(at - _LONGEST_NIGHT_MS, at)
        if begun is None:
            return at
        over = cron_times(self.ends).next_after(begun)
        return max(at, over or at)

    def over_at_for(self, severities: Collection[Severity], at: int) -> int:
        """Return the instant at which alerts of these severities are sent that would be sent at ``at``; ms."""
        return self.over_at(at) if self.wakes.isdisjoint(severities) else at


class Timing(msgspec.Struct, frozen=True):
    """Timing rules of a route, ms.

    ``wait_ms``: after the first alert, others are waited for. ``interval_ms``: between two messages.
    ``min_down_ms``: a shorter outage is not sent. ``after_ms``: nor what is acknowledged until then, or
    over (0: the route is no escalation). ``digest``: it sends at these times only.
    """

    wait_ms: int = 30_000
    interval_ms: int = 300_000
    min_down_ms: int = 0
    after_ms: int = 0
    quiet: QuietHours | None = None
    digest: Cron | None = None

    @property
    def held_ms(self) -> int:
        """Duration of an incident before its first alert, ms."""
        return max(self.min_down_ms, self.after_ms)


def flush_at(timing: Timing, now: int, last_flushed_at: int, severity: Severity = Severity.CRITICAL) -> int:
    """Return when a group sends an alert of ``severity`` that comes at ``now``."""
    if timing.digest is not None:
        # of an expression that never matches again nothing is known that is better than a day
        return cron_times(timing.digest).next_after(now) or now + DAY_MS
    earliest = last_flushed_at + timing.interval_ms if last_flushed_at else 0
    at = max(now + timing.wait_ms, earliest)
    return at if timing.quiet is None else timing.quiet.over_at_for((severity,), at)
