"""Rebuilding of a partition's timetable from its table, many entries at a time.

Most monitors have an interval that has begun, and nothing on the agenda. Of their entries only what a tick needs is
read, those of one shape (kind, schedule, policy) are put together, and what was read of one value is used for all
monitors with the same value. All others are put one by one.
"""

from collections.abc import Iterable
from typing import NamedTuple

from everwatch.encoding import codec, table_records
from everwatch.kafka.progress import EntryCounts
from everwatch.model import Every
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.timetable import BatchKey, Timetable
from streams.state.timetable_planner import TimetablePlanner, batch_key_of, key_of_record, tail_of
from streams.state.undecodable_entries import Undecodable


class RebuildLimits(NamedTuple):
    """``together``: monitors that have begun and are put together; their records take memory twice until then.

    ``remembered``: values of entries for which it is remembered what was read of them.
    """

    together: int = 20_000
    remembered: int = 4_096


USUAL = RebuildLimits()


class _SameShape:
    """Monitors of one shape that wait to be put. ``schedule``: None where they are put one by one."""

    __slots__ = ("batch_key", "keys", "newest_since", "records", "schedule")

    def __init__(self, shape: table_records.MonitorShape) -> None:
        kind, schedule, policy = table_records.fields_of(shape)
        # an interval that no timetable can hold is put by itself, and noted
        self.schedule = schedule if isinstance(schedule, Every) and schedule.interval_ms >= PHASE_STEP_MS else None
        self.batch_key: BatchKey = batch_key_of(kind, policy)
        self.newest_since = 0
        self.keys: list[bytes] = []
        self.records: list[bytes] = []


class _BegunMonitor(NamedTuple):
    """Parts of the timetable entry of a monitor that has begun; without ``alike`` it is never due."""

    alike: _SameShape | None
    tail: bytes
    since: int


class TimetableRebuild:
    """One rebuilding, into an empty timetable: ``take`` all entries in the order of their keys, then ``finish``."""

    def __init__(
        self,
        timetable: Timetable,
        number: int,
        planner: TimetablePlanner,
        undecodable: Undecodable,
        limits: RebuildLimits = USUAL,
    ) -> None:
        self._limits = limits
        self._timetable = timetable
        self._number = number
        self._planner = planner
        self._undecodable = undecodable
        self._by_shape: dict[table_records.MonitorShape, _SameShape] = {}
        self._remembered: dict[tuple[bytes, bytes], _BegunMonitor] = {}
        self._remembers, self._monitors_then = True, 0
        self._waiting = 0
        # the user whose monitors follow: its table key, and how a record's key begins
        self._user_key = codec.SEPARATOR
        self._head = b""
        self._users = self._monitors = 0

    def take(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take in entries of the table."""
        user_key, head, remembered = self._user_key, self._head, self._remembered
        for key, value in entries:
            if key.endswith(codec.SEPARATOR):
                user_key, head = key, key_of_record(key[:-1])
                self._users += 1
                continue
            is_of_user = key.startswith(user_key)
            monitor_id = key[len(user_key) :] if is_of_user else key.partition(codec.SEPARATOR)[2]
            if codec.is_bookkeeping(monitor_id):
                continue
            self._monitors += 1
            if not is_of_user:
                continue  # without its user: its unit of work is not complete, and its input is read again
            begun = remembered.get((monitor_id, value)) or self._begun(monitor_id, value)
            if begun is None:
                self._put(key, value)
                continue
            alike, tail, since = begun
            if alike is not None:
                alike.keys.append(key)
                alike.records.append(head + tail)
                if since > alike.newest_since:
                    alike.newest_since = since
                self._waiting += 1
        self._user_key, self._head = user_key, head
        if self._waiting >= self._limits.together:
            self._put_together()

    def finish(self) -> EntryCounts:
        """Put what still waits; gives the number of entries."""
        self._put_together()
        return EntryCounts(self._users, self._monitors)

    def _begun(self, monitor_id: bytes, value: bytes) -> _BegunMonitor | None:
        """Return what ``take`` needs of a monitor that has begun; None for any other, and for what cannot be read."""
        try:
            begun = self._read_begun(monitor_id, value)
        except Exception:
            return None  # it is read once more by itself, and then noted
        if begun is not None and self._remembers and len(value) <= table_records.REMEMBERED:
            if len(self._remembered) >= self._limits.remembered:
                # values that hardly ever come again are not worth it
                self._remembers = self._monitors - self._monitors_then > 2 * self._limits.remembered
                self._remembered.clear()
                self._monitors_then = self._monitors
            self._remembered[monitor_id, value] = begun
        return begun

    def _read_begun(self, monitor_id: bytes, value: bytes) -> _BegunMonitor | None:
        found = table_records.read_shape(monitor_id, value)
        if found is None:
            return None
        shape, encoded_since, state, tick = found
        if table_records.is_task(shape):
            return None  # each has an instant, and so a shape, of its own
        since = table_records.instant_of(encoded_since)
        alike = self._by_shape.get(shape)
        if alike is None:
            alike = self._by_shape[shape] = _SameShape(shape)
        if alike.schedule is None or since > self._timetable.emitted_to or self._planner.begins_now(since):
            return None
        return _BegunMonitor(None if state in table_records.ASLEEP_BYTES else alike, tail_of(tick), since)

    def _put(self, key: bytes, value: bytes) -> None:
        try:
            entry = self._planner.entry_of_encoded(key, value)
            if entry is not None:
                self._timetable.put(entry)
        except Exception as error:
            self._undecodable.note(self._number, key, error)

    def _put_together(self) -> None:
        for alike in self._by_shape.values():
            if alike.keys:
                assert alike.schedule is not None
                self._timetable.put_many(alike.schedule, alike.batch_key, alike.newest_since, alike.keys, alike.records)
                alike.keys, alike.records = [], []
        self._waiting = 0
