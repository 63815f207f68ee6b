"""The timetable of one partition: put and take out monitors, and ask who is due."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from everwatch.model import Every, Misfire
from everwatch.schedule.every import PHASE_STEP_MS, due_between, phase_of
from everwatch.schedule.misfire import settle
from everwatch.timetable.ring import Ring

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Planned(Generic[T]):
    """One monitor in the timetable. ``payload`` is whatever the caller wants back when it is due."""

    key: bytes
    schedule: Every
    since: int
    misfire: Misfire
    misfire_grace_ms: int
    payload: T

    @property
    def phase_ms(self) -> int:
        """Where in its interval it is due, ms."""
        return phase_of(self.key, self.schedule)


class Backlog(NamedTuple, Generic[T]):
    """What one monitor has to catch up: instants to emit and instants to report as skipped."""

    planned: Planned[T]
    fire: range
    skipped: range


class Timetable(Generic[T]):
    """The due-time index of one partition: a ring for each distinct interval.

    Membership answers "who is due": asking costs the number of those who are, however many monitors there are.
    """

    def __init__(self) -> None:
        self._rings: dict[int, Ring[Planned[T]]] = {}
        self._planned: dict[bytes, Planned[T]] = {}

    def __len__(self) -> int:
        return len(self._planned)

    def get(self, key: bytes) -> Planned[T] | None:
        """What is planned for this key."""
        return self._planned.get(key)

    def put(self, planned: Planned[T]) -> None:
        """Plan a monitor, in place of what was planned for the same key."""
        self.remove(planned.key)
        self._planned[planned.key] = planned
        interval = planned.schedule.interval_ms
        ring = self._rings.get(interval)
        if ring is None:
            ring = self._rings[interval] = Ring(interval // PHASE_STEP_MS)
        ring.put(planned.phase_ms // PHASE_STEP_MS, planned.key, planned)

    def remove(self, key: bytes) -> None:
        """Take a monitor out; nothing happens if it is not in."""
        planned = self._planned.pop(key, None)
        if planned is None:
            return
        interval = planned.schedule.interval_ms
        ring = self._rings[interval]
        ring.remove(planned.phase_ms // PHASE_STEP_MS, key)
        if not ring:
            del self._rings[interval]

    def due(self, after: int, upto: int) -> Iterator[tuple[int, list[Planned[T]]]]:
        """Everybody due at an instant t with after < t <= upto: the instants in order, each with those due then.

        Walks the instants in between, so it is for small steps; a long gap is for ``backlog``.
        """
        first = after - after % PHASE_STEP_MS + PHASE_STEP_MS
        for instant in range(first, upto + 1, PHASE_STEP_MS):
            step = instant // PHASE_STEP_MS
            members = [p for ring in self._rings.values() for p in ring.at(step) if p.since < instant]
            if members:
                yield instant, members

    def backlog(self, after: int, upto: int, now: int) -> Iterator[Backlog[T]]:
        """What each monitor missed in after < t <= upto, divided under its misfire rule at the instant ``now``.

        Walks all monitors: for a new owner's first look and after an outage. Do not change the timetable meanwhile.
        """
        for planned in self._planned.values():
            due = due_between(planned.schedule, planned.phase_ms, max(after, planned.since), upto)
            if due:
                fire, skipped = settle(due, now, planned.misfire, planned.misfire_grace_ms)
                yield Backlog(planned, fire, skipped)
