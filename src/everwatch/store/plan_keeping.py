"""Retention times of each kind of rows: those of the settings, and those of plans that say otherwise. Pure."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

from everwatch.core.config import Settings
from everwatch.schedule.duration import DAY_MS

Plans = tuple[str, ...]
FOREVER = 2**62
"""For good, ms."""
KINDS = (
    "results",
    "every_result",
    "transitions",
    "history",
    "tasks",
    "hourly_rollups",
    "daily_rollups",
    "dead_letters",
    "replies",
)
"""Fields of ``Keep`` for which a plan may say another time."""


class Keep(NamedTuple):
    """Time for which each kind is kept, ms; 0: for good. Roll-ups of hours become roll-ups of days after theirs.

    Results older than ``every_result`` are kept if they are changes and failures.
    """

    results: int = 0
    transitions: int = 0
    history: int = 0
    tasks: int = 0
    hourly_rollups: int = 0
    daily_rollups: int = 0
    every_result: int = 0
    dead_letters: int = 0
    replies: int = 0
    audit: int = 0
    specs: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Keep":
        """The times of the settings."""
        return cls(
            settings.keep_results_days * DAY_MS,
            settings.keep_transitions_days * DAY_MS,
            settings.keep_history_days * DAY_MS,
            settings.keep_tasks_days * DAY_MS,
            settings.keep_hourly_rollups_days * DAY_MS,
            settings.keep_daily_rollups_days * DAY_MS,
            settings.keep_every_result_days * DAY_MS,
            settings.keep_dead_letters_days * DAY_MS,
            settings.keep_replies_days * DAY_MS,
            settings.keep_audit_days * DAY_MS,
            settings.keep_audit_days * DAY_MS,
        )


KEEP_ALL = Keep()


def looked_at(kind: str) -> str:
    """Return how the facts begin that say up to when rows of a kind were looked at for plans."""
    return f"{kind}_looked_at_"


class Look(NamedTuple):
    """Rows to delete: those older than ``age_ms``, of all users, of all but the plans ``spared``, or only of ``meant``.

    Where plans matter, each row is looked at once: rows from before the instant ``fact`` (ms) were.
    """

    kind: str
    age_ms: int
    spared: Plans = ()
    meant: Plans = ()

    @property
    def name(self) -> str:
        """A name of this look among those of its kind, for tables and facts; empty if plans do not matter."""
        if not self.plans:
            return ""
        # when other plans are meant the rows that were looked at are looked at again
        which = "\0".join(("meant" if self.meant else "spared", *self.plans))
        return f"{self.age_ms // DAY_MS}_{crc32(which.encode()):08x}"

    @property
    def fact(self) -> str:
        """The name of the fact; empty if plans do not matter."""
        return looked_at(self.kind) + self.name if self.plans else ""

    @property
    def plans(self) -> Plans:
        """The plans whose users' rows stay, or are the only ones that go; none if plans do not matter."""
        return self.meant or self.spared

    def spares(self, plan: str) -> bool:
        """Tell whether rows of a user of this plan stay."""
        return plan in self.spared or (bool(self.meant) and plan not in self.meant)

    def condition(self, mark: str) -> str:
        """Return SQL for the rows that go, with a ``mark`` for each of ``plans``; empty if all go."""
        if not self.plans:
            return ""
        marks = ", ".join([mark] * len(self.plans))
        found = f"user_id IN (SELECT user_id FROM users WHERE plan IN ({marks}))"  # noqa: S608 - own words
        return found if self.meant else f"NOT {found}"


class PlanKeeping(NamedTuple):
    """Times (ms) of the plans file: for each plan, the kinds that it keeps for another time than the settings."""

    by_plan: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()

    @classmethod
    def of(cls, days: Mapping[str, Mapping[str, int]]) -> "PlanKeeping":
        """The times of ``days``, by plan and kind; 0: for good."""
        return cls(
            tuple(
                (plan, tuple((kind, number * DAY_MS or FOREVER) for kind, number in sorted(kinds.items())))
                for plan, kinds in sorted(days.items())
                if kinds
            )
        )

    def own(self, kind: str, keep: Keep) -> dict[str, int]:
        """Return the times (ms; 0: for good) of the plans that keep this kind for another time than ``keep``.

        The history of monitors is never kept for less than a plan's results: an audit needs both.
        """
        usual_ms = getattr(keep, kind) or FOREVER
        found = {}
        for plan, times in self.by_plan:
            kinds = dict(times)
            kept = kinds.get(kind, usual_ms)
            if kind == "history":
                kept = max(kept, kinds.get("results", keep.results or FOREVER))
            if kept != usual_ms:
                found[plan] = 0 if kept == FOREVER else kept
        return found

    def kept_ms(self, plan: str, kind: str, keep: Keep) -> int:
        """Return the time (ms; 0: for good) for which a user of this plan keeps a kind."""
        usual_ms: int = getattr(keep, kind)
        return self.own(kind, keep).get(plan, usual_ms)

    def looks(self, kind: str, keep: Keep) -> Iterator[Look]:
        """Yield a look for each time that a kind is kept for, the longest last; none for rows that are kept forever."""
        usual_ms = getattr(keep, kind) or FOREVER
        own = {plan: kept or FOREVER for plan, kept in self.own(kind, keep).items()}
        for age_ms in sorted({usual_ms, *own.values()} - {FOREVER}):
            if age_ms < usual_ms:
                yield Look(kind, age_ms, meant=tuple(plan for plan, kept in own.items() if kept <= age_ms))
            else:
                yield Look(kind, age_ms, spared=tuple(plan for plan, kept in own.items() if kept > age_ms))


NO_PLANS = PlanKeeping()
