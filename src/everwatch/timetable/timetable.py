"""The timetable of one partition: put and take out monitors, and ask who is due."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from everwatch.model import At, Cron, Every, Schedule
from everwatch.schedule.at import due_instant
from everwatch.schedule.cron import CronTimes, cron_times
from everwatch.schedule.due import due_in
from everwatch.schedule.duration import MINUTE_MS
from everwatch.schedule.every import PHASE_STEP_MS, due_between, phase_of
from everwatch.schedule.misfire import settle
from everwatch.timetable.buckets import Buckets
from everwatch.timetable.chunk import Chunk, Limits, Packing, Shelf, chunk_of, chunks_of
from everwatch.timetable.line import Line
from everwatch.timetable.records import Entry
from everwatch.timetable.ring import FINE_UP_TO_MS, Ring
from everwatch.timetable.snapshot import read, saved

AHEAD_MS = 20_000
"""How long before they are due monitors of long intervals are spread out, ms."""
TIDY_AT_ONCE = 32
TIDY_AFTER_SWEEPS = 50
NEVER = 1 << 62
# no key is behind it: keys begin with a user_id, which is UTF-8
LAST_KEY = b"\xff"
_NONE = range(0)


class Planned(NamedTuple):
    """One monitor in the timetable; ``record`` is its firing as it goes out (``records.framed``)."""

    key: bytes
    schedule: Schedule
    since: int
    line: Line
    record: bytes


class Firing(NamedTuple):
    """Everybody in ``chunk`` is due: at each instant of ``fire`` to be emitted, of ``skipped`` only to be reported.

    A record's timestamp delta counts on top of the instant.
    """

    line: Line
    chunk: Chunk
    fire: Sequence[int]
    skipped: Sequence[int] = _NONE


class NotPlanned(Exception):
    """A monitor that should be in the timetable is not: it has to be built anew."""


class _CronGroup:
    """Monitors that share expression and zone, and so every due instant."""

    __slots__ = ("next", "shelf", "times")

    def __init__(self, times: CronTimes, emitted_to: int) -> None:
        self.times = times
        self.shelf = Shelf()
        self.advance(emitted_to)

    def advance(self, emitted_to: int) -> None:
        following = self.times.next_after(emitted_to)
        self.next = NEVER if following is None else following


class Timetable:
    """The due-time index of one partition.

    Rings (one for each interval), cron groups and buckets hold *chunks*: packed record batches without their instant.
    Membership answers "who is due", so asking costs the number of chunks that are due, however many monitors there are,
    and nobody is put in again after firing. ``emitted_to``: everything due up to then is done with. ``newest_since``:
    who has a seat began no later.

    One-shot tasks (``At``) are taken in up to ``loaded_to`` (due instant and key) only; later ones are the store's to
    remember.
    """

    def __init__(self, packing: Packing, emitted_to: int) -> None:
        self.emitted_to = emitted_to - emitted_to % PHASE_STEP_MS
        self.loaded_to: tuple[int, bytes] = (self.emitted_to, LAST_KEY)
        self.newest_since = 0
        self.limits = Limits()
        self._packing = packing
        self._count = 0
        self._fine: dict[tuple[int, Line], Ring] = {}
        self._coarse: dict[tuple[int, Line], Ring] = {}
        self._groups: dict[tuple[Cron, Line], _CronGroup] = {}
        self._next_cron = NEVER
        self._ahead = Buckets()
        self._ahead_to = self.emitted_to
        self._delayed = Buckets()
        # put so that an instant not yet emitted lies before they begin: they wait here until it is
        self._fresh: dict[bytes, Planned] = {}
        self._loose: dict[Chunk, None] = {}
        self._sweeps = 0

    def __len__(self) -> int:
        return self._count + self._delayed.count

    @property
    def delayed(self) -> int:
        """How many one-shot tasks are loaded."""
        return self._delayed.count

    def put(self, planned: Planned) -> None:
        """Plan a monitor that is not planned."""
        key, schedule, since, line, record = planned
        if isinstance(schedule, At):
            due = due_instant(schedule, since)
            if self.emitted_to < due and (due, key) <= self.loaded_to:
                self._touch(self._delayed.add(due, line, record, self._packing, self.limits))
            return
        self._count += 1
        if isinstance(schedule, Every):
            phase = phase_of(key, schedule)
            following = self.emitted_to + 1
            if since >= following + (phase - following) % schedule.interval_ms:
                self._fresh[key] = planned
            else:
                self._seat(planned, phase)
        elif since > self.emitted_to and self._next_of(schedule, line) <= since:
            self._fresh[key] = planned
        else:
            self._join(planned, schedule)

    def remove(self, planned: Planned) -> None:
        """Take a monitor out, given as it was put. Raises NotPlanned."""
        key, schedule, since, line, record = planned
        packing = self._packing
        if isinstance(schedule, At):
            due = due_instant(schedule, since)
            if self.emitted_to < due and (due, key) <= self.loaded_to:
                self._changed(self._delayed.discard(due, line, record, packing), planned)
            return
        self._count -= 1
        if self._fresh.pop(key, None) is not None:
            return
        if isinstance(schedule, Cron):
            group = self._groups.get((schedule, line))
            self._changed(group.shelf.discard(Entry(0, record), packing) if group else None, planned)
            if group and not group.shelf:
                del self._groups[schedule, line]
            return
        phase = phase_of(key, schedule)
        rings = self._rings(schedule)
        ring = rings.get((schedule.interval_ms, line))
        if ring is None:
            raise NotPlanned(repr(key))
        slot, delta = divmod(phase, ring.width_ms)
        shelf = ring.slots.get(slot)
        self._changed(shelf.discard(Entry(delta, record), packing) if shelf else None, planned)
        if not shelf:
            del ring.slots[slot]
            if not ring.slots:
                del rings[schedule.interval_ms, line]
        if not ring.is_fine:
            for due in due_between(schedule, phase, max(since, self.emitted_to), self._ahead_to):
                self._ahead.discard(due, line, record, packing)

    def due(self, upto: int) -> Iterator[Firing]:
        """Everybody due after ``emitted_to`` and up to ``upto`` (a whole step), roughly in the order of time.

        Walks the steps in between, so it is for short gaps; a long one is for ``backlog``.
        """
        after = self.emitted_to
        self.look_ahead(upto)
        for step in range(after // PHASE_STEP_MS + 1, upto // PHASE_STEP_MS + 1):
            for (_, line), ring in self._fine.items():
                shelf = ring.slots.get(step % ring.size)
                if shelf is not None:
                    yield from _firings(line, shelf, [step * PHASE_STEP_MS])
        if self._next_cron <= upto:
            for (_, line), group in self._groups.items():
                if group.next <= upto:
                    yield from _firings(line, group.shelf, group.times.between(after, upto))
        for buckets in (self._ahead, self._delayed):
            for base, line, shelf in buckets.between(after, upto):
                yield from _firings(line, shelf, [base])
        for planned in self._fresh.values():
            instants = self._due_of(planned, after, upto)
            if instants:
                yield Firing(planned.line, self._alone(planned), instants)

    def backlog(self, upto: int, now: int) -> Iterator[Firing]:
        """What was missed after ``emitted_to`` and up to ``upto``, divided under the misfire rules at ``now``.

        For a new owner's first look and after an outage.
        """
        after = self.emitted_to
        for (_, line), ring in self._fine.items():
            every = Every(ring.interval_ms)
            for phase, shelf in ring.passed(after, upto):
                yield from _settled(line, shelf, due_between(every, phase, after, upto), now)
        for (_, line), group in self._groups.items():
            if group.next <= upto:
                yield from _settled(line, group.shelf, group.times.between(after, upto), now)
        yield from self._coarse_backlog(after, upto, now)
        for base, line, shelf in self._delayed.between(after, upto):
            yield from _settled(line, shelf, [base], now)
        for planned in self._fresh.values():
            instants = self._due_of(planned, after, upto)
            if instants:
                fire, skipped = settle(instants, now, planned.line.misfire, planned.line.misfire_grace_ms)
                yield Firing(planned.line, self._alone(planned), fire, skipped)

    def settled(self, upto: int) -> None:
        """Everything up to ``upto`` is emitted, for good."""
        after, self.emitted_to = self.emitted_to, upto
        self._ahead.drop(after, upto)
        self._delayed.drop(after, upto)
        self._ahead_to = max(self._ahead_to, upto)
        self.loaded_to = max(self.loaded_to, (upto, LAST_KEY))
        if self._next_cron <= upto:
            for group in self._groups.values():
                if group.next <= upto:
                    group.advance(upto)
            self._next_cron = min((group.next for group in self._groups.values()), default=NEVER)
        if self._fresh:
            for planned in [planned for planned in self._fresh.values() if planned.since <= upto]:
                del self._fresh[planned.key]
                if isinstance(planned.schedule, Cron):
                    self._join(planned, planned.schedule)
                elif isinstance(planned.schedule, Every):
                    self._seat(planned, phase_of(planned.key, planned.schedule))
        self._tidy()

    def look_ahead(self, upto: int) -> None:
        """Spread out who is due at long intervals, so that a bit more than ``upto`` is known."""
        if upto < self._ahead_to:
            return
        begin, self._ahead_to = self._ahead_to, upto + AHEAD_MS
        for (_, line), ring in self._coarse.items():
            every = Every(ring.interval_ms)
            for start, shelf in ring.passed(begin, self._ahead_to):
                for chunk in shelf.chunks:
                    for delta, record in chunk.entries(self._packing):
                        for due in due_between(every, start + delta, begin, self._ahead_to):
                            self._ahead.add(due, line, record, self._packing, self.limits)

    def load(self, tasks: Iterable[Planned], upto: tuple[int, bytes]) -> None:
        """Take in the one-shot tasks after ``loaded_to`` and up to ``upto`` (both due instant and key)."""
        self.loaded_to = max(self.loaded_to, upto)
        for task in tasks:
            self.put(task)

    @property
    def can_be_saved(self) -> bool:
        """Whether nobody is on the way to where they belong."""
        return not self._fresh

    def save(self) -> Iterator[bytes]:
        """Everything but one-shot tasks, for ``restore``."""
        for rings in (self._fine, self._coarse):
            for (interval_ms, line), ring in rings.items():
                for slot, shelf in ring.slots.items():
                    yield saved(line, shelf, self._packing, interval_ms=interval_ms, slot=slot)
        for (cron, line), group in self._groups.items():
            yield saved(line, group.shelf, self._packing, cron=cron)

    def restore(self, shelves: Iterable[bytes]) -> None:
        """Take up what was saved with the same packing, into an empty timetable.

        Its ``emitted_to`` may be earlier than the saved one's, but not earlier than its ``newest_since``.
        """
        for found, shelf in read(shelves):
            line, cron = found.line, found.schedule
            if cron is not None:
                group = self._groups[cron, line] = _CronGroup(cron_times(cron), self.emitted_to)
                group.shelf = shelf
                self._next_cron = min(self._next_cron, group.next)
            else:
                self._ring(found.interval_ms, line).slots[found.slot] = shelf
            self._count += sum(chunk.count for chunk in shelf.chunks)

    def fit(self, size: int) -> None:
        """Let no chunk be larger than ``size`` bytes from now on, if it holds more than one record."""
        self.limits.size = size
        for ring in (*self._fine.values(), *self._coarse.values()):
            for shelf in ring.slots.values():
                shelf.fit(self._packing, self.limits)
        for group in self._groups.values():
            group.shelf.fit(self._packing, self.limits)
        self._ahead.fit(self._packing, self.limits)
        self._delayed.fit(self._packing, self.limits)

    def _seat(self, planned: Planned, phase: int) -> None:
        """Take a monitor of an interval into its ring."""
        _, schedule, since, line, record = planned
        assert isinstance(schedule, Every)
        ring = self._ring(schedule.interval_ms, line)
        slot, delta = divmod(phase, ring.width_ms)
        self._touch(ring.shelf(slot).add(Entry(delta, record), self._packing, self.limits), since)
        if not ring.is_fine:
            for due in due_between(schedule, phase, max(since, self.emitted_to), self._ahead_to):
                self._ahead.add(due, line, record, self._packing, self.limits)

    def _join(self, planned: Planned, schedule: Cron) -> None:
        """Take a monitor into its cron group."""
        group = self._groups.get((schedule, planned.line))
        if group is None:
            group = self._groups[schedule, planned.line] = _CronGroup(cron_times(schedule), self.emitted_to)
            self._next_cron = min(self._next_cron, group.next)
        self._touch(group.shelf.add(Entry(0, planned.record), self._packing, self.limits), planned.since)

    def _ring(self, interval_ms: int, line: Line) -> Ring:
        rings = self._fine if interval_ms <= FINE_UP_TO_MS else self._coarse
        ring = rings.get((interval_ms, line))
        if ring is None:
            ring = rings[interval_ms, line] = Ring(interval_ms)
        return ring

    def _rings(self, every: Every) -> dict[tuple[int, Line], Ring]:
        return self._fine if every.interval_ms <= FINE_UP_TO_MS else self._coarse

    def _next_of(self, schedule: Cron, line: Line) -> int:
        """When a cron schedule is due next after ``emitted_to``."""
        group = self._groups.get((schedule, line))
        return (group or _CronGroup(cron_times(schedule), self.emitted_to)).next

    def _due_of(self, planned: Planned, after: int, upto: int) -> Sequence[int]:
        return due_in(planned.schedule, planned.key, planned.since, after, upto)

    def _coarse_backlog(self, after: int, upto: int, now: int) -> Iterator[Firing]:
        for (_, line), ring in self._coarse.items():
            every = Every(ring.interval_ms)
            # who is due at the same steps is caught up together
            alike: dict[tuple[Sequence[int], Sequence[int]], list[Entry]] = {}
            for start, shelf in ring.passed(after, upto):
                for chunk in shelf.chunks:
                    for delta, record in chunk.entries(self._packing):
                        due = due_between(every, start + delta, after, upto)
                        if due:
                            fire, skipped = settle(due, now, line.misfire, line.misfire_grace_ms)
                            if len(fire) == 1 and not skipped:
                                # near enough to travel together, each with its own timestamp
                                base = fire[0] - fire[0] % MINUTE_MS
                                alike.setdefault(((base,), _NONE), []).append(Entry(fire[0] - base, record))
                            else:
                                alike.setdefault((fire, skipped), []).append(Entry(0, record))
            for (fire, skipped), entries in alike.items():
                for chunk in chunks_of(entries, self._packing, self.limits):
                    yield Firing(line, chunk, fire, skipped)

    def _alone(self, planned: Planned) -> Chunk:
        return chunk_of([Entry(0, planned.record)], self._packing)

    def _changed(self, chunk: Chunk | None, planned: Planned) -> None:
        if chunk is None:
            raise NotPlanned(repr(planned.key))
        self._touch(chunk)

    def _touch(self, chunk: Chunk, since: int = 0) -> None:
        if since > self.newest_since:
            self.newest_since = since
        chunk.touched = self._sweeps
        self._loose[chunk] = None

    def _tidy(self) -> None:
        """Pack what was changed a while ago and has not been sent since."""
        self._sweeps += 1
        for chunk in list(islice(self._loose, TIDY_AT_ONCE)):
            del self._loose[chunk]
            if chunk.is_loose and chunk.count:
                if self._sweeps - chunk.touched < TIDY_AFTER_SWEEPS:
                    self._loose[chunk] = None
                else:
                    chunk.packed(self._packing)


def _firings(line: Line, shelf: Shelf, instants: Sequence[int]) -> Iterator[Firing]:
    for chunk in shelf.chunks:
        if chunk.count:
            yield Firing(line, chunk, instants)


def _settled(line: Line, shelf: Shelf, due: Sequence[int], now: int) -> Iterator[Firing]:
    if due:
        fire, skipped = settle(due, now, line.misfire, line.misfire_grace_ms)
        for chunk in shelf.chunks:
            if chunk.count:
                yield Firing(line, chunk, fire, skipped)
