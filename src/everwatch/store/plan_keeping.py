"""For how long what belongs to users of which plan is kept, where that is longer than for others. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from everwatch.core.config import Settings, days_of_plans
from everwatch.schedule.duration import DAY_MS

Plans = tuple[str, ...]


class Look(NamedTuple):
    """What is older than ``age_ms`` goes, unless its user has one of the plans ``spared``.

    Where some are spared, each row is looked at once: ``fact`` names how far that has come (ms).
    """

    age_ms: int
    spared: Plans
    fact: str


class PlanKeeping:
    """The setting EVERWATCH_KEEP_DAYS_OF_PLANS."""

    def __init__(self, kept_ms: dict[str, int]) -> None:
        self._kept_ms = kept_ms

    @classmethod
    def of(cls, settings: Settings) -> "PlanKeeping":
        """What the settings say."""
        return cls({plan: days * DAY_MS for plan, days in days_of_plans(settings.keep_days_of_plans).items()})

    def longer_than(self, kept_ms: int) -> Plans:
        """Return the plans that keep for longer, by name."""
        return tuple(sorted(plan for plan, own_ms in self._kept_ms.items() if own_ms > kept_ms))

    def looks(self, name: str, kept_ms: int) -> Iterator[Look]:
        """Yield what is looked for of a kind that is usually kept for so long: the longest time last."""
        for age_ms in sorted({kept_ms, *(self._kept_ms[plan] for plan in self.longer_than(kept_ms))}):
            yield Look(age_ms, self.longer_than(age_ms), f"{name}_looked_at_{age_ms // DAY_MS}")

    def kept_ms(self, plan: str, kept_ms: int) -> int:
        """Return for how long what is usually kept for ``kept_ms`` is kept for a user of this plan."""
        return max(kept_ms, self._kept_ms.get(plan, 0))


NO_PLANS = PlanKeeping({})
