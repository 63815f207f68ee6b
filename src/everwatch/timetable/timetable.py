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
"""Monitors that begin within this time may be in the recurring index before, ms."""
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

    ``emitted_to``: everything due up to then is emitted. ``newest_since``: no monitor in the recurring index began
    later. ``newest_gone``: no monitor that was taken out at its end ended later.
    """

    def __init__(self, packing: Packing, emitted_to: int) -> None:
        self.emitted_to = emitted_to - emitted_to % PHASE_STEP_MS
        self.loaded_to: tuple[int, bytes] = (self.emitted_to, LAST_KEY)
        self.newest_since = 0
        self.newest_gone = 0
        self.limits = ChunkLimits()
        self.packing = packing
        self._indexed = 0
        self.recurring = RecurringIndex(packing, self.limits, self.emitted_to)
        self.tasks = Buckets(packing, self.limits)
        self.retries = Buckets(packing, self.limits)
        self._firsts = Buckets(packing, self.limits)
        # monitors not in the recurring index yet: the owner wants it to begin later, or one of its instants lies before
        # it begins
        self.held_back = Pending(attrgetter("since"))
        self.fresh = Pending(attrgetter("since"))
        self.endings = Pending(attrgetter("until"))
        # monitors that were taken out, because a caller asked for an instant at which they are over
        self._ending: dict[bytes, TimetableEntry] = {}
        self._repacker = Repacker(packing)

    def __len__(self) -> int:
        """Return how many monitors are here, tasks included; retries do not count."""
        return self._indexed + self.held_back.count + self.fresh.count + len(self._ending) + self.tasks.count

    @property
    def loaded_count(self) -> int:
        """Return how many tasks, beginnings, endings and retries are loaded."""
        return self.tasks.count + self.held_back.count + self.endings.count + self.retries.count

    # --- put and take out ---

    def put(self, entry: TimetableEntry) -> None:
        """Put a monitor that is not here."""
        if entry.retry is not None:
            self._put_retry(entry)
        if entry.first is not None:
            self.put_first_check(entry.batch_key, entry.first)
        if isinstance(entry.schedule, At):
            self._put_task(entry)
        elif entry.until == NEVER and not entry.held_back:
            # by far the most: a million of them are put when a partition is taken over
            self._index(entry)
        elif self._is_here(entry):
            self._enter(entry)
        elif entry.until <= self.emitted_to:
            self._gone(entry)

    def put_many(
        self, schedule: Every, batch_key: BatchKey, since: int, keys: Sequence[bytes], records: Sequence[bytes]
    ) -> list[int]:
        """Put many monitors that are not here, of one interval without alignment, without a known end.

        It has the same effect as ``put`` of each, in a fraction of the time; first checks are for ``put_first_check``.
        All begin at ``since``, or all have begun, none after ``since``. Those that must wait are left to ``put``: gives
        their places in ``keys``.
        """
        if since > self.emitted_to + SOON_MS:
            return list(range(len(keys)))
        phases = phases_of(keys, schedule.interval_ms)
        left = self.recurring.wheels.due_before(since, schedule.interval_ms, phases)
        if left:
            out = set(left)
            kept = [place for place in range(len(keys)) if place not in out]
            phases, records = [phases[place] for place in kept], [records[place] for place in kept]
        if phases:
            for chunk in self.recurring.add_many(schedule, batch_key, since, phases, records):
                self._repacker.touch(chunk)
            self._indexed += len(phases)
            self.newest_since = max(self.newest_since, since)
        return left

    def remove(self, entry: TimetableEntry) -> None:
        """Take a monitor out, given as it was put. Raises LocalStateWrong."""
        self._remove_retry(entry)
        self._remove_first(entry)
        if isinstance(entry.schedule, At):
            self._remove_task(entry)
        elif self._is_here(entry):
            if entry.until < NEVER:
                self.endings.discard(entry)
            self._leave(entry)

    def replace(self, old: TimetableEntry, new: TimetableEntry) -> None:
        """Put a monitor anew; little is done if only its retry is another one. Raises LocalStateWrong."""
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
        for (instant, key), entry in {(instant, entry.key): entry for instant, entry in found}.items():
            if after < (instant, key) <= self.loaded_to:
                self._load(instant, entry)

    # --- due ---

    def due(self, upto: int) -> Iterator[Firing]:
        """Yield the firings after ``emitted_to`` and up to ``upto`` (a whole step), roughly in the order of time.

        Walks the steps in between, so it is for short gaps; a long one is for ``backlog``.
        """
        self._take_out_ending(upto)
        yield from self.recurring.due(upto)
        for buckets in (self.tasks, self.retries, self._firsts):
            for base, batch_key, shelf in buckets.between(self.emitted_to, upto):
                yield from all_of(batch_key, shelf, [base])
        yield from self._due_by_themselves(upto, None)

    def backlog(self, upto: int, now: int) -> Iterator[Firing]:
        """Yield the missed firings after ``emitted_to`` and up to ``upto``, divided by the misfire rules at ``now``.

        For a new owner's first look and after an outage. Retries are never skipped, because their ticks were not; nor
        are first checks.
        """
        self._take_out_ending(upto)
        yield from self.recurring.backlog(upto, now)
        for base, batch_key, shelf in self.tasks.between(self.emitted_to, upto):
            yield from by_misfire_rule(batch_key, shelf, [base], now)
        for buckets in (self.retries, self._firsts):
            for base, batch_key, shelf in buckets.between(self.emitted_to, upto):
                yield from all_of(batch_key, shelf, [base])
        yield from self._due_by_themselves(upto, now)

    def mark_emitted(self, upto: int) -> None:
        """Note that everything up to ``upto`` is emitted, for good."""
        after, self.emitted_to = self.emitted_to, upto
        self.recurring.mark_emitted(upto)
        self.tasks.drop(after, upto)
        self.retries.drop(after, upto)
        self._firsts.drop(after, upto)
        self.loaded_to = max(self.loaded_to, (upto, LAST_KEY))
        for entry in self.endings.take(upto):
            self._leave(entry)
            self._gone(entry)
        for waiting in (self.held_back, self.fresh):
            for entry in waiting.take(upto):
                self._index(entry)
        self._repacker.tidy()

    def look_ahead(self, upto: int) -> None:
        """Prepare the monitors of long intervals, so that ``due`` up to ``upto`` costs little."""
        self.recurring.look_ahead(upto)

    # --- saved ---

    @property
    def can_be_saved(self) -> bool:
        """Tell whether every monitor is in the recurring index, or is loaded again from the store's index."""
        return not (self.fresh.count or self._firsts.count)

    def save(self) -> Iterator[bytes]:
        """Yield all monitors of the recurring index, for ``restore``; the rest is loaded from the store's index."""
        for entry in self._ending.values():
            self._index(entry)
        self._ending.clear()
        yield from self.recurring.save()

    def restore(self, shelves: Iterable[bytes]) -> None:
        """Restore a timetable that was saved with the same packing, into an empty one.

        Its ``emitted_to`` may be earlier than the saved one's, but not earlier than its ``newest_since`` and its
        ``newest_gone``.
        """
        self._indexed += self.recurring.restore(shelves)

    def fit(self, size: int) -> None:
        """Let no chunk be larger than ``size`` bytes from now on, if it holds more than one record."""
        self.limits.size = size
        self.recurring.fit()
        self.tasks.fit()
        self.retries.fit()
        self._firsts.fit()

    # --- a recurring monitor: it begins, is indexed, and ends ---

    def _is_here(self, entry: TimetableEntry) -> bool:
        """Tell whether it has a place here: it is not over, and not only the index knows it."""
        since, emitted_to = entry.since, self.emitted_to
        if since <= emitted_to:
            return entry.until > emitted_to
        return entry.until > since and (not entry.held_back or self._is_loaded(since, entry.key))

    def _is_loaded(self, instant: int, key: bytes) -> bool:
        """Tell whether what the index has under this is taken in, and still to come."""
        return self.emitted_to < instant and (instant, key) <= self.loaded_to

    def _enter(self, entry: TimetableEntry) -> None:
        if entry.held_back and entry.since > self.emitted_to:
            self.held_back.add(entry)
        else:
            self._index(entry)
        if entry.until < NEVER and self._is_loaded(entry.until, entry.key):
            self.endings.add(entry)

    def _index(self, entry: TimetableEntry) -> None:
        """Add a monitor to the recurring index; or let it wait, if it would be due there before it begins."""
        since = entry.since
        # a saved timetable with a monitor that begins much later could not be restored until then
        chunk = self.recurring.add(entry) if since <= self.emitted_to + SOON_MS else None
        if chunk is None:
            self.fresh.add(entry)
            return
        self._indexed += 1
        if since > self.newest_since:
            self.newest_since = since
        self._repacker.touch(chunk)

    def _leave(self, entry: TimetableEntry) -> None:
        """Take a monitor from wherever it is."""
        if not (self._ending.pop(entry.key, None) or self.held_back.discard(entry) or self.fresh.discard(entry)):
            self._take_out(entry)

    def _take_out(self, entry: TimetableEntry) -> None:
        self._changed(self.recurring.remove(entry), entry)
        self._indexed -= 1

    def _gone(self, entry: TimetableEntry) -> None:
        self.newest_gone = max(self.newest_gone, entry.until)

    def _take_out_ending(self, upto: int) -> None:
        """Take monitors out of the recurring index that would be due there after their end."""
        for entry in self.endings.upto(upto):
            if not (entry.key in self._ending or entry in self.held_back or entry in self.fresh):
                self._take_out(entry)
                self._ending[entry.key] = entry

    def _due_by_themselves(self, upto: int, now: int | None) -> Iterator[Firing]:
        """Yield the firings of monitors outside the recurring index; by the misfire rules at ``now``, if given."""
        gathered: dict[BatchKey, Gathering] = {}
        for entry in chain(self._ending.values(), self.held_back.upto(upto), self.fresh.upto(upto)):
            key, schedule, since, batch_key, record, until, *_ = entry
            due = due_in(schedule, key, since, self.emitted_to, min(upto, until))
            if due:
                gathering = gathered.setdefault(batch_key, Gathering(batch_key))
                gathering.add(record, due) if now is None else gathering.add_by_misfire_rule(record, due, now)
        for gathering in gathered.values():
            yield from gathering.firings(self.packing, self.limits)

    # --- what is due once ---

    def _load(self, instant: int, entry: TimetableEntry) -> None:
        schedule, since = entry.schedule, entry.since
        if entry.retry is not None and entry.retry.due == instant:
            self._put_retry(entry)
        if isinstance(schedule, At):
            if due_instant(schedule, since) == instant:
                self._put_task(entry)
        elif not self._is_here(entry):
            return
        elif entry.held_back and since == instant:
            self._enter(entry)
        elif entry.until == instant:
            self.endings.add(entry)

    def _task_due(self, entry: TimetableEntry) -> int:
        """Return when a task is due, if it is to be here; 0 if not."""
        assert isinstance(entry.schedule, At)
        due = due_instant(entry.schedule, entry.since)
        return due if due <= entry.until and self._is_loaded(due, entry.key) else 0

    def _put_task(self, entry: TimetableEntry) -> None:
        due = self._task_due(entry)
        if due:
            self._repacker.touch(self.tasks.add(due, due, entry.batch_key, entry.record))

    def _remove_task(self, entry: TimetableEntry) -> None:
        due = self._task_due(entry)
        if due:
            self._changed(self.tasks.discard(due, due, entry.batch_key, entry.record), entry)

    def _put_retry(self, entry: TimetableEntry) -> None:
        retry = entry.retry
        if retry is not None and self._is_loaded(retry.due, entry.key):
            self._repacker.touch(self.retries.add(retry.due, retry.scheduled_at, entry.batch_key, retry.record))

    def _remove_retry(self, entry: TimetableEntry) -> None:
        retry = entry.retry
        if retry is not None and self._is_loaded(retry.due, entry.key):
            chunk = self.retries.discard(retry.due, retry.scheduled_at, entry.batch_key, retry.record)
            self._changed(chunk, entry)

    def put_first_check(self, batch_key: BatchKey, first: FirstCheck) -> None:
        """Put the first check of a monitor with this batch key."""
        if first.due > self.emitted_to:
            self._repacker.touch(self._firsts.add(first.due, first.due, batch_key, first.record))

    def _remove_first(self, entry: TimetableEntry) -> None:
        first = entry.first
        if first is not None and first.due > self.emitted_to:
            # it may not be here: no index brings it back, and a first check that is lost is made up by the schedule
            chunk = self._firsts.discard(first.due, first.due, entry.batch_key, first.record)
            if chunk is not None:
                self._repacker.touch(chunk)

    def _changed(self, chunk: Chunk | None, entry: TimetableEntry) -> None:
        if chunk is None:
            raise LocalStateWrong(repr(entry.key))
        self._repacker.touch(chunk)
