"""Ticks that wait in an executor, by monitor: which of them is begun next, and which are not begun any more (pure).

A monitor whose ticks wait is one entry of the executor's queues, however many they are. Its freshest tick is begun
first, so that its state is known as soon as may be. The rest follows in the order of time, as far as the misfire rule
lets it: what has waited longer than its grace is skipped, as a worker skips what it could not emit in time.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from everwatch.model import Misfire, Priority, Tick

LATE_MS = 5_000
"""A scheduled tick is late when it is older; up to there a worker takes no gap for an outage, either."""

Source = TypeVar("Source")


class QueuePlace(Enum):
    """Place of a monitor with waiting ticks."""

    NOWHERE = auto()
    QUEUE = auto()
    """Queued for a slot, or (with ``host``) for its host."""
    RUN = auto()
    """Behind a run of its own."""
    CATCH_UP = auto()
    """Its newest tick is late, and its partition is still being read: a fresher tick may follow."""


@dataclass(slots=True, eq=False)
class WaitingTick(Generic[Source]):
    """A tick that waits since ``arrived_at`` (ms). ``again``: further records of the very same tick.

    ``after_gap``: what was due between it and the tick before it in the backlog does not wait any more.
    """

    tick: Tick
    source: Source
    arrived_at: int
    again: Sequence[Source] = ()
    after_gap: bool = False

    @property
    def sources(self) -> list[Source]:
        """All records of this tick."""
        return [self.source, *self.again]

    def is_late(self, now: int) -> bool:
        """Tell whether its nominal instant passed a while ago, as far as that is known."""
        return self.tick.is_scheduled and now - self.tick.scheduled_at > LATE_MS


@dataclass(slots=True, eq=False)
class Backlog(Generic[Source]):
    """The waiting ticks of one monitor and priority. ``host``: where it waits for its turn, "" for nowhere.

    All costs are constant per tick, however many wait, if ticks come in the order of their instants.
    """

    key: Hashable
    user_id: str
    priority: Priority
    place: QueuePlace = QueuePlace.NOWHERE
    host: str = ""
    # scheduled ones in the order of their instants. A list, because most hold one: a deque takes 600 bytes, and a list
    # of thousands is shifted in microseconds
    _scheduled: list[WaitingTick[Source]] = field(default_factory=list)
    # those asked for by hand, and retries, as they came; most monitors have none
    _others: dict[tuple[int, int], WaitingTick[Source]] | None = None
    # the newest scheduled tick that was begun while others waited, and the newest that is dealt with otherwise
    _begun_to: int = 0
    _skipped_to: int = 0
    # how close two scheduled ticks that came one after the other lie, and of how many such pairs that is known
    _closest_ms: int = 0
    _pairs: int = 0

    def __len__(self) -> int:
        """Return the number of waiting ticks."""
        return len(self._scheduled) + (len(self._others) if self._others else 0)

    @property
    def newest(self) -> WaitingTick[Source] | None:
        """The scheduled tick with the latest instant."""
        return self._scheduled[-1] if self._scheduled else None

    def add(self, new: WaitingTick[Source], *, is_crowded: bool = False) -> list[WaitingTick[Source]]:
        """Let a tick wait; gives those that it supersedes, which wait no more.

        A tick that waits counts as going on. So if the next one becomes due meanwhile one of the two is skipped, unless
        they may overlap; it is the older one. With the rule ``fire_all`` that holds only where the monitor waits for
        its host. ``is_crowded``: memory is short, so of ticks that came late only the newest is kept, too.
        """
        tick = new.tick
        known: WaitingTick[Source] | None = None
        if not tick.is_scheduled:
            self._others = self._others or {}
            known = self._others.setdefault(_identity(tick), new)
        elif self._scheduled and self._scheduled[-1].tick.scheduled_at >= tick.scheduled_at:
            place = bisect_left(self._scheduled, tick.scheduled_at, key=_instant)
            known = self._scheduled[place]
            if known.tick.scheduled_at != tick.scheduled_at:
                # out of order: what lies around it is not known
                new.after_gap = known.after_gap = True
                self._scheduled.insert(place, new)
                return []
        if known is not None:
            if known is not new:
                known.again = [*known.again, *new.sources]
            return []
        superseded: list[WaitingTick[Source]] = []
        if self.host or tick.misfire is not Misfire.FIRE_ALL:
            while self._scheduled:
                oldest = self._scheduled[0]
                if not is_crowded and (tick.may_overlap or oldest.arrived_at > tick.scheduled_at):
                    break
                superseded.append(self._scheduled.pop(0))
        if self._scheduled:
            before = self._scheduled[-1].tick.scheduled_at
            new.after_gap = before < self._begun_to or before < self._skipped_to
            if not new.after_gap:
                distance_ms = tick.scheduled_at - before
                self._closest_ms = min(self._closest_ms, distance_ms) if self._pairs else distance_ms
                self._pairs += 1
        self._scheduled.append(new)
        return superseded

    def pass_by(self, tick: Tick) -> None:
        """Note that a tick of the monitor is skipped without having waited."""
        if tick.is_scheduled:
            self._skipped_to = max(self._skipped_to, tick.scheduled_at)

    def expire(self, now: int) -> list[WaitingTick[Source]]:
        """Take out what the misfire rule skips by now: what waited longer than its grace, in the order of time."""
        if not self._scheduled:
            return []
        newest = self._scheduled[-1].tick
        if newest.misfire is Misfire.FIRE_ALL:
            return []
        # the rules of ``schedule.misfire.divide``, without looking at what is not skipped
        spared = 1 if newest.misfire is Misfire.FIRE_LAST and newest.scheduled_at > self._begun_to else 0
        expired: list[WaitingTick[Source]] = []
        while len(self._scheduled) > spared and self._scheduled[0].tick.scheduled_at < now - newest.misfire_grace_ms:
            expired.append(self._scheduled.pop(0))
        return expired

    def cancel(self, paused_to: int, deleted_to: int) -> list[WaitingTick[Source]]:
        """Take out the ticks due up to an instant (ms), in the order of time.

        Runs by hand up to ``deleted_to`` only.
        """
        upto = max(paused_to, deleted_to)
        cancelled: list[WaitingTick[Source]] = []
        while self._scheduled and self._scheduled[0].tick.scheduled_at <= upto:
            cancelled.append(self._scheduled.pop(0))
        for identity, waiting in list(self._others.items()) if self._others else ():
            if waiting.tick.scheduled_at <= (deleted_to if waiting.tick.manual else upto):
                assert self._others is not None  # it was just walked
                cancelled.append(self._others.pop(identity))
        return cancelled

    def stretches(self, ticks: Sequence[WaitingTick[Source]]) -> Iterator[list[WaitingTick[Source]]]:
        """Divide ticks that waited here, in the order of time, into stretches that one skipped result can stand for.

        A result stands for consecutive due instants of one version. The schedule is not known here, so what may not be
        consecutive is divided: ticks between which one was begun or skipped, or that lie further apart than others.
        """
        stretch: list[WaitingTick[Source]] = []
        for waiting in ticks:
            if stretch and not self._is_next(stretch[-1], waiting):
                yield stretch
                stretch = []
            stretch.append(waiting)
        if stretch:
            yield stretch

    def _is_next(self, before: WaitingTick[Source], after: WaitingTick[Source]) -> bool:
        if after.after_gap or self._pairs < 2 or not after.tick.is_scheduled:
            return False
        distance_ms = after.tick.scheduled_at - before.tick.scheduled_at
        return before.tick.version == after.tick.version and distance_ms <= self._closest_ms

    def next(self) -> WaitingTick[Source] | None:
        """Return the tick to begin now; it waits until ``take_out``. None if none waits.

        The freshest scheduled tick, then the others in the order of time. Manual runs and retries stand where they
        came.
        """
        scheduled = None
        if self._scheduled:
            newest = self._scheduled[-1]
            scheduled = newest if newest.tick.scheduled_at > self._begun_to else self._scheduled[0]
        if self._others:
            other = next(iter(self._others.values()))
            if scheduled is None or other.arrived_at <= scheduled.arrived_at:
                return other
        return scheduled

    def take_out(self, found: WaitingTick[Source], *, is_begun: bool) -> None:
        """Note that what ``next`` gave waits no more: it is begun, or gone."""
        if not found.tick.is_scheduled:
            assert self._others is not None  # ``next`` found it there
            del self._others[_identity(found.tick)]
            return
        self._scheduled.pop(-1 if self._scheduled[-1] is found else 0)
        if is_begun:
            self._begun_to = max(self._begun_to, found.tick.scheduled_at)


class Backlogs(Generic[Source]):
    """The monitors of which ticks wait."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Backlog[Source]] = {}

    def known(self, tick: Tick, priority: Priority) -> Backlog[Source] | None:
        """The backlog that a tick belongs to, if anything of its monitor waits."""
        return self._known.get((priority, tick.user_id, tick.monitor_id))

    def of(self, tick: Tick, priority: Priority) -> Backlog[Source]:
        """The backlog that a tick belongs to."""
        key = priority, tick.user_id, tick.monitor_id
        backlog = self._known.get(key)
        if backlog is None:
            backlog = self._known[key] = Backlog(key, tick.user_id, priority)
        return backlog

    def forget(self, backlog: Backlog[Source]) -> None:
        """Note that nothing of a monitor waits any more."""
        self._known.pop(backlog.key, None)


def _instant(waiting: WaitingTick[Source]) -> int:
    return waiting.tick.scheduled_at


def _identity(tick: Tick) -> tuple[int, int]:
    return tick.scheduled_at, tick.attempt
