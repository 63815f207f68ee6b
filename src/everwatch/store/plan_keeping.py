"""For how long what belongs to users of which plan is kept, where that differs from others. Pure."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

from everwatch.schedule.duration import DAY_MS

Plans = tuple[str, ...]
FOREVER = 2**62
"""For good, ms."""
KINDS = ("results", "every_result", "transitions", "history", "tasks", "daily_rollups", "dead_letters", "replies")
"""What a plan may keep for another time: names of the fields of ``Keep``."""


class Look(NamedTuple):
    """What is older than ``age_ms`` goes: of all users, or but for those of the plans ``spared``, or only of ``meant``.

    Where plans matter, each row is looked at once: the fact ``fact`` is how far that has come (ms).
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
        return f"{self.kind}_looked_at_{self.name}" if self.plans else ""

    @property
    def plans(self) -> Plans:
        """The plans of which users' rows are told apart; none if all go."""
        return self.meant or self.spared

    def spares(self, plan: str) -> bool:
        """Whether rows of a user of this plan stay."""
        return plan in self.spared or (bool(self.meant) and plan not in self.meant)

    def condition(self, mark: str) -> str:
        """SQL for rows that go: a ``mark`` stands for each of ``plans``. Empty if all go."""
        if not self.plans:
            return ""
        marks = ", ".join([mark] * len(self.plans))
        found = f"user_id IN (SELECT user_id FROM users WHERE plan IN ({marks}))"  # noqa: S608 - own words
        return found if self.meant else f"NOT {found}"


class PlanKeeping(NamedTuple):
    """What the file of plans says: of each plan, for how long (ms) which kinds are kept."""

    by_plan: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()

    @classmethod
    def of(cls, days: Mapping[str, Mapping[str, int]]) -> "PlanKeeping":
        """By plan and kind the days; 0: for good."""
        return cls(
            tuple(
                (plan, tuple((kind, number * DAY_MS or FOREVER) for kind, number in sorted(kinds.items())))
                for plan, kinds in sorted(days.items())
                if kinds
            )
        )

    def own(self, kind: str, usual_ms: int) -> dict[str, int]:
        """Return for how long (ms) users of which plan keep this kind, where that is not the usual time; 0: for good.

        When monitors were active is never kept for less than results: an audit needs both.
        """
        found = {}
        for plan, times in self.by_plan:
            kinds = dict(times)
            kept = kinds.get(kind, usual_ms or FOREVER)
            if kind == "history":
                kept = max(kept, kinds.get("results", 0))
            if kept != (usual_ms or FOREVER):
                found[plan] = 0 if kept == FOREVER else kept
        return found

    def kept_ms(self, plan: str, kind: str, usual_ms: int) -> int:
        """Return for how long (ms) a user of this plan keeps a kind; 0, as in ``usual_ms``: for good."""
        return self.own(kind, usual_ms).get(plan, usual_ms)

    def looks(self, kind: str, usual_ms: int) -> Iterator[Look]:
        """Yield what is looked for of a kind that is usually kept for so long (0: for good): the longest time last."""
        usual = usual_ms or FOREVER
        own = {plan: kept or FOREVER for plan, kept in self.own(kind, usual_ms).items()}
        for age_ms in sorted({usual, *own.values()} - {FOREVER}):
            if age_ms < usual:
                yield Look(kind, age_ms, meant=tuple(plan for plan, kept in own.items() if kept <= age_ms))
            else:
                yield Look(kind, age_ms, spared=tuple(plan for plan, kept in own.items() if kept > age_ms))


NO_PLANS = PlanKeeping()
