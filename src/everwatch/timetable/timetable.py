"""The timetable of one partition: put and take out monitors, and find the due ones."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter

from everwatch.model import At, Every
from everwatch.schedule.at import due_instant
from everwatch.schedule.due import due_in
from everwatch.schedule.duration import SECOND_MS
from everwatch.schedule.every import PHASE_STEP_MS, phases_of
from everwatch.timetable.buckets import Buckets
from everwatch.timetable.chunk import Chunk, ChunkLimits, Packing
from everwatch.timetable.destination import BatchKey
from everwatch.timetable.firings import Gathering, all_of, by_misfire_rule
from everwatch.timetable.pending import Pending
from everwatch.timetable.recurring_index import RecurringIndex
from everwatch.timetable.repacker import Repacker
from everwatch.timetable.timetable_entry import NEVER, Firing, FirstCheck, LocalStateWrong, TimetableEntry

SOON_MS = 10 * SECOND_MS
"""Monitors that begin within this time may have a seat before, ms."""
# no key is behind it: keys begin with a user_id, which is UTF-8
LAST_KEY = b"\xff"


class Timetable:
    """The due-time index of one partition.

    Recurring monitors are in *chunks*: packed record batches without their instant. The cost of ``due`` is the number
    of chunks that are due, however many monitors there are. Only monitors that are about to begin or to end are looked
    at one by one.

    Items of the store's index are loaded up to ``loaded_to`` (instant and key): one-shot tasks (``At``), beginnings of
    monitors that are held back, endings, and retries. ``due``, ``backlog`` and ``mark_emitted`` need them loaded as far
    as they go.

    ``emitted_to``: everything due up to then is emitted. ``newest_since``: no monitor with a seat began later.
    ``newest_gone``: no monitor that was taken out at its end ended later.
    """

    def __init__(self, packing: Packing, emitted_to: int) -> None:
        self.emitted_to = emitted_to - emitted_to % PHASE_STEP_MS
        self.loaded_to: tuple[int, bytes] = (self.emitted_to, LAST_KEY)
        self.newest_since = 0
        self.newest_gone = 0
        self.limits = ChunkLimits()
        self.packing = packing
        self._seated = 0
        self.seats = RecurringIndex(packing, self.limits, self.emitted_to)
        self.tasks = Buckets(packing, self.limits)
        self.retries = Buckets(packing, self.limits)
        self._firsts = Buckets(packing, self.limits)
        # monitors without a seat yet: the owner wants it to begin later, or one of its instants lies before it begins
        self.held_back = Pending(attrgetter("since"))
        self.fresh = Pending(attrgetter("since"))
        self.endings = Pending(attrgetter("until"))
        # monitors that were taken out, because a caller asked for an instant at which they are over
        self._ending: dict[bytes, TimetableEntry] = {}
        self._loose = Repacker(packing)

    def __len__(self) -> int:
        """Return how many monitors are here, tasks included; retries do not count."""
        return self._seated + self.held_back.count + self.fresh.count + len(self._ending) + self.tasks.count

    @property
    def delayed(self) -> int:
        """Return how many tasks, beginnings, endings and retries are loaded."""
        return self.tasks.count + self.held_back.count + self.endings.count + self.retries.count

    # --- put and take out ---

    def put(self, planned: TimetableEntry) -> None:
        """Plan a monitor that is not planned."""
        if planned.retry is not None:
            self._put_retry(planned)
        if planned.first is not None:
            self.put_first_check(planned.batch_key, planned.first)
        if isinstance(planned.schedule, At):
            self._put_task(planned)
        elif planned.until == NEVER and not planned.held_back:
            # by far the most: a million of them are put when a partition is taken over
            self._sit_down(planned)
        elif self._is_here(planned):
            self._enter(planned)
        elif planned.until <= self.emitted_to:
            self._gone(planned)

    def put_alike(
        self, schedule: Every, batch_key: BatchKey, since: int, keys: Sequence[bytes], records: Sequence[bytes]
    ) -> list[int]:
        """Plan many monitors that are not planned, of one interval without alignment, without a known end.

        It has the same effect as ``put`` of each, in a fraction of the time; first checks are for ``put_first_check``.
        All begin at ``since``, or all have begun, none after ``since``. Those that must wait are left to ``put``: gives
        their places in ``keys``.
        """
        if since > self.emitted_to + SOON_MS:
            return list(range(len(keys)))
        phases = phases_of(keys, schedule.interval_ms)
        left = self.seats.rings.due_before(since, schedule.interval_ms, phases)
        if left:
            out = set(left)
            seated = [place for place in range(len(keys)) if place not in out]
            phases, records = [phases[place] for place in seated], [records[place] for place in seated]
        if phases:
            for chunk in self.seats.seat_alike(schedule, batch_key, since, phases, records):
                self._loose.touch(chunk)
            self._seated += len(phases)
            self.newest_since = max(self.newest_since, since)
        return left

    def remove(self, planned: TimetableEntry) -> None:
        """Take a monitor out, given as it was put. Raises LocalStateWrong."""
        self._remove_retry(planned)
        self._remove_first(planned)
        if isinstance(planned.schedule, At):
            self._remove_task(planned)
        elif self._is_here(planned):
            if planned.until < NEVER:
                self.endings.discard(planned)
            self._leave(planned)

    def replace(self, old: TimetableEntry, new: TimetableEntry) -> None:
        """Plan a monitor anew; little is done if only its retry is another one. Raises LocalStateWrong."""
        if old._replace(retry=None) != new._replace(retry=None):
            self.remove(old)
            self.put(new)
        elif old.retry != new.retry:
            self._remove_retry(old)
            self._put_retry(new)

    def load(self, found: Iterable[tuple[int, TimetableEntry]], upto: tuple[int, bytes]) -> None:
        """Take in what the index has after ``loaded_to`` and up to ``upto`` (both instant and key).

        ``found``: monitors, each with the instant it was found under, which is one of its dates. A monitor may be found
        under several, at once or one after the other.
        """
        after, self.loaded_to = self.loaded_to, max(self.loaded_to, upto)
        for (instant, key), planned in {(instant, planned.key): planned for instant, planned in found}.items():
            if after < (instant, key) <= self.loaded_to:
                self._load(instant, planned)

    # --- due ---

    def due(self, upto: int) -> Iterator[Firing]:
        """Yield the firings after ``emitted_to`` and up to ``upto`` (a whole step), roughly in the order of time.

        Walks the steps in between, so it is for short gaps; a long one is for ``backlog``.
        """
        self._unseat_ending(upto)
        yield from self.seats.due(upto)
        for buckets in (self.tasks, self.retries, self._firsts):
            for base, batch_key, shelf in buckets.between(self.emitted_to, upto):
                yield from all_of(batch_key, shelf, [base])
        yield from self._due_by_themselves(upto, None)

    def backlog(self, upto: int, now: int) -> Iterator[Firing]:
        """Yield the missed firings after ``emitted_to`` and up to ``upto``, divided by the misfire rules at ``now``.

        For a new owner's first look and after an outage. Retries are never skipped, because their ticks were not; nor
        are first checks.
        """
        self._unseat_ending(upto)
        yield from self.seats.backlog(upto, now)
        for base, batch_key, shelf in self.tasks.between(self.emitted_to, upto):
            yield from by_misfire_rule(batch_key, shelf, [base], now)
        for buckets in (self.retries, self._firsts):
            for base, batch_key, shelf in buckets.between(self.emitted_to, upto):
                yield from all_of(batch_key, shelf, [base])
        yield from self._due_by_themselves(upto, now)

    def mark_emitted(self, upto: int) -> None:
        """Note that everything up to ``upto`` is emitted, for good."""
        after, self.emitted_to = self.emitted_to, upto
        self.seats.mark_emitted(upto)
        self.tasks.drop(after, upto)
        self.retries.drop(after, upto)
        self._firsts.drop(after, upto)
        self.loaded_to = max(self.loaded_to, (upto, LAST_KEY))
        for planned in self.endings.take(upto):
            self._leave(planned)
            self._gone(planned)
        for waiting in (self.held_back, self.fresh):
            for planned in waiting.take(upto):
                self._sit_down(planned)
        self._loose.tidy()

    def look_ahead(self, upto: int) -> None:
        """Prepare the monitors of long intervals, so that ``due`` up to ``upto`` costs little."""
        self.seats.look_ahead(upto)

    # --- saved ---

    @property
    def can_be_saved(self) -> bool:
        """Tell whether every monitor is in the recurring index, or is loaded again from the store's index."""
        return not (self.fresh.count or self._firsts.count)

    def save(self) -> Iterator[bytes]:
        """Yield all monitors with a seat, for ``restore``; the rest is loaded from the store's index."""
        for planned in self._ending.values():
            self._sit_down(planned)
        self._ending.clear()
        yield from self.seats.save()

    def restore(self, shelves: Iterable[bytes]) -> None:
        """Take up a timetable that was saved with the same packing, into an empty one.

        Its ``emitted_to`` may be earlier than the saved one's, but not earlier than its ``newest_since`` and its
        ``newest_gone``.
        """
        self._seated += self.seats.restore(shelves)

    def fit(self, size: int) -> None:
        """Let no chunk be larger than ``size`` bytes from now on, if it holds more than one record."""
        self.limits.size = size
        self.seats.fit()
        self.tasks.fit()
        self.retries.fit()
        self._firsts.fit()

    # --- a recurring monitor: it begins, has a seat, and ends ---

    def _is_here(self, planned: TimetableEntry) -> bool:
        """Tell whether it has a place here: it is not over, and not only the index knows it."""
        since, emitted_to = planned.since, self.emitted_to
        if since <= emitted_to:
            return planned.until > emitted_to
        return planned.until > since and (not planned.held_back or self._is_loaded(since, planned.key))

    def _is_loaded(self, instant: int, key: bytes) -> bool:
        """Tell whether what the index has under this is taken in, and still to come."""
        return self.emitted_to < instant and (instant, key) <= self.loaded_to

    def _enter(self, planned: TimetableEntry) -> None:
        if planned.held_back and planned.since > self.emitted_to:
            self.held_back.add(planned)
        else:
            self._sit_down(planned)
        if planned.until < NEVER and self._is_loaded(planned.until, planned.key):
            self.endings.add(planned)

    def _sit_down(self, planned: TimetableEntry) -> None:
        """Give a monitor a seat; or let it wait, if it would be due there before it begins."""
        since = planned.since
        # a timetable with the seat of a monitor that begins much later could not be taken up again till then
        chunk = self.seats.seat(planned) if since <= self.emitted_to + SOON_MS else None
        if chunk is None:
            self.fresh.add(planned)
            return
        self._seated += 1
        if since > self.newest_since:
            self.newest_since = since
        self._loose.touch(chunk)

    def _leave(self, planned: TimetableEntry) -> None:
        """Take a monitor from wherever it is."""
        if not (self._ending.pop(planned.key, None) or self.held_back.discard(planned) or self.fresh.discard(planned)):
            self._unseat(planned)

    def _unseat(self, planned: TimetableEntry) -> None:
        self._changed(self.seats.unseat(planned), planned)
        self._seated -= 1

    def _gone(self, planned: TimetableEntry) -> None:
        self.newest_gone = max(self.newest_gone, planned.until)

    def _unseat_ending(self, upto: int) -> None:
        """Take the seats of monitors that would be due there after their end."""
        for planned in self.endings.upto(upto):
            if not (planned.key in self._ending or planned in self.held_back or planned in self.fresh):
                self._unseat(planned)
                self._ending[planned.key] = planned

    def _due_by_themselves(self, upto: int, now: int | None) -> Iterator[Firing]:
        """Yield the firings of monitors without a seat; under the misfire rules at ``now``, if that is given."""
        gathered: dict[BatchKey, Gathering] = {}
        for planned in chain(self._ending.values(), self.held_back.upto(upto), self.fresh.upto(upto)):
            key, schedule, since, batch_key, record, until, *_ = planned
            due = due_in(schedule, key, since, self.emitted_to, min(upto, until))
            if due:
                gathering = gathered.setdefault(batch_key, Gathering(batch_key))
                gathering.add(record, due) if now is None else gathering.add_by_misfire_rule(record, due, now)
        for gathering in gathered.values():
            yield from gathering.firings(self.packing, self.limits)

    # --- what is due once ---

    def _load(self, instant: int, planned: TimetableEntry) -> None:
        schedule, since = planned.schedule, planned.since
        if planned.retry is not None and planned.retry.due == instant:
            self._put_retry(planned)
        if isinstance(schedule, At):
            if due_instant(schedule, since) == instant:
                self._put_task(planned)
        elif not self._is_here(planned):
            return
        elif planned.held_back and since == instant:
            self._enter(planned)
        elif planned.until == instant:
            self.endings.add(planned)

    def _task_due(self, planned: TimetableEntry) -> int:
        """Return when a task is due, if it is to be here; 0 if not."""
        assert isinstance(planned.schedule, At)
        due = due_instant(planned.schedule, planned.since)
        return due if due <= planned.until and self._is_loaded(due, planned.key) else 0

    def _put_task(self, planned: TimetableEntry) -> None:
        due = self._task_due(planned)
        if due:
            self._loose.touch(self.tasks.add(due, due, planned.batch_key, planned.record))

    def _remove_task(self, planned: TimetableEntry) -> None:
        due = self._task_due(planned)
        if due:
            self._changed(self.tasks.discard(due, due, planned.batch_key, planned.record), planned)

    def _put_retry(self, planned: TimetableEntry) -> None:
        retry = planned.retry
        if retry is not None and self._is_loaded(retry.due, planned.key):
            self._loose.touch(self.retries.add(retry.due, retry.scheduled_at, planned.batch_key, retry.record))

    def _remove_retry(self, planned: TimetableEntry) -> None:
        retry = planned.retry
        if retry is not None and self._is_loaded(retry.due, planned.key):
            chunk = self.retries.discard(retry.due, retry.scheduled_at, planned.batch_key, retry.record)
            self._changed(chunk, planned)

    def put_first_check(self, batch_key: BatchKey, first: FirstCheck) -> None:
        """Plan the first check of a monitor with this batch key."""
        if first.due > self.emitted_to:
            self._loose.touch(self._firsts.add(first.due, first.due, batch_key, first.record))

    def _remove_first(self, planned: TimetableEntry) -> None:
        first = planned.first
        if first is not None and first.due > self.emitted_to:
            # it may not be here: no index brings it back, and a first check that is lost is made up by the schedule
            chunk = self._firsts.discard(first.due, first.due, planned.batch_key, first.record)
            if chunk is not None:
                self._loose.touch(chunk)

    def _changed(self, chunk: Chunk | None, planned: TimetableEntry) -> None:
        if chunk is None:
            raise LocalStateWrong(repr(planned.key))
        self._loose.touch(chunk)
