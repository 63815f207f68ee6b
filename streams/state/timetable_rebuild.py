"""Rebuilding of a partition's timetable from its table, many entries at a time.

Most monitors are plain: an interval that has begun, nothing on the agenda. Of their entries only what a tick needs is
read, those with one plan (kind, schedule, policy) are put together, and what was read of one value is used for all
monitors with the same value. All others are put one by one.
"""

from collections.abc import Iterable
from typing import NamedTuple

from everwatch.encoding import codec, table_records
from everwatch.kafka.progress import EntryCounts
from everwatch.model import Every
from everwatch.timetable import BatchKey, Timetable
from streams.state.timetable_planner import TimetablePlanner, batch_key_of, key_of_record, tail_of
from streams.state.undecodable_entries import Undecodable


class RebuildLimits(NamedTuple):
    """``together``: plain monitors that are put together; their records take memory twice until then.

    ``remembered``: values of entries for which it is remembered what was read of them.
    """

    together: int = 20_000
    remembered: int = 4_096


USUAL = RebuildLimits()


class _Line:
    """Monitors of one plan that wait to be put. ``schedule``: None where they are put one by one."""

    __slots__ = ("batch_key", "keys", "newest_since", "records", "schedule")

    def __init__(self, plan: table_records.Plan) -> None:
        kind, schedule, policy = table_records.fields_of(plan)
        self.schedule = schedule if isinstance(schedule, Every) else None
        self.batch_key: BatchKey = batch_key_of(kind, policy)
        self.newest_since = 0
        self.keys: list[bytes] = []
        self.records: list[bytes] = []


class _Plain(NamedTuple):
    """Parts of the timetable entry of a plain monitor; without a ``line`` it is never due."""

    line: _Line | None
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
        self._lines: dict[table_records.Plan, _Line] = {}
        self._remembered: dict[tuple[bytes, bytes], _Plain] = {}
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
            monitor_id = key[len(user_key) :] if key.startswith(user_key) else key.partition(codec.SEPARATOR)[2]
            if codec.is_bookkeeping(monitor_id):
                continue
            self._monitors += 1
            if not key.startswith(user_key):
                continue  # without its user: its unit of work is not complete, and its input is read again
            plain = remembered.get((monitor_id, value)) or self._plain(monitor_id, value)
            if plain is None:
                self._put(key, value)
                continue
            line, tail, since = plain
            if line is not None:
                line.keys.append(key)
                line.records.append(head + tail)
                if since > line.newest_since:
                    line.newest_since = since
                self._waiting += 1
        self._user_key, self._head = user_key, head
        if self._waiting >= self._limits.together:
            self._put_lines()

    def finish(self) -> EntryCounts:
        """Put what still waits; gives the number of entries."""
        self._put_lines()
        return EntryCounts(self._users, self._monitors)

    def _plain(self, monitor_id: bytes, value: bytes) -> _Plain | None:
        """Return what ``take`` needs of a plain monitor; None for any other, and for what cannot be read."""
        try:
            plain = self._read_plain(monitor_id, value)
        except Exception:
            return None  # it is read once more by itself, and then noted
        if plain is not None and self._remembers and len(value) <= table_records.REMEMBERED:
            if len(self._remembered) >= self._limits.remembered:
                # values that hardly ever come again are not worth it
                self._remembers = self._monitors - self._monitors_then > 2 * self._limits.remembered
                self._remembered.clear()
                self._monitors_then = self._monitors
            self._remembered[monitor_id, value] = plain
        return plain

    def _read_plain(self, monitor_id: bytes, value: bytes) -> _Plain | None:
        found = table_records.read_plain(monitor_id, value)
        if found is None:
            return None
        plan, encoded_since, state, tick = found
        since = table_records.instant_of(encoded_since)
        line = self._lines.get(plan)
        if line is None:
            line = self._lines[plan] = _Line(plan)
        if line.schedule is None or since > self._timetable.emitted_to or self._planner.begins_now(since):
            return None
        return _Plain(None if state in table_records.ASLEEP_BYTES else line, tail_of(tick), since)

    def _put(self, key: bytes, value: bytes) -> None:
        try:
            entry = self._planner.entry_of_encoded(key, value)
            if entry is not None:
                self._timetable.put(entry)
        except Exception as error:
            self._undecodable.note(self._number, key, error)

    def _put_lines(self) -> None:
        for line in self._lines.values():
            if line.keys:
                assert line.schedule is not None
                self._timetable.put_alike(line.schedule, line.batch_key, line.newest_since, line.keys, line.records)
                line.keys, line.records = [], []
        self._waiting = 0
