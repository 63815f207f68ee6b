"""Timetable entries of monitors: schedule, tick record, and first check."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import NamedTuple

from everwatch.core.clock import Clock
from everwatch.encoding import avro_schemas, codec, table_records
from everwatch.encoding.table_records import TimetableFields
from everwatch.encoding.varint import encode
from everwatch.kinds.registry import is_check, is_inline
from everwatch.model import Align, At, Cron, Every, Monitor, Policy
from everwatch.schedule.due import next_due
from everwatch.schedule.duration import SECOND_MS
from everwatch.schedule.every import PHASE_STEP_MS, phase_of
from everwatch.schedule.spread import spread_of
from everwatch.timetable import (
    FORMAT,
    NEVER,
    BatchKey,
    ChunkLimits,
    Destination,
    FirstCheck,
    Packing,
    Retry,
    Timetable,
    TimetableEntry,
    framed,
)
from streams.state.owned_partition import OwnedPartition, Sweep

# to look up a member of an enum takes longer than the rest of the decision
PHASE = Align.PHASE
# bytes of a batch that are not records, and some to spare
BATCH_HEADER = 1_024
# a shorter interval has its first check soon enough
FIRST_CHECK_FROM_MS = 5 * SECOND_MS


class EntryTemplate(NamedTuple):
    """Common part of the timetable entries of monitors that differ only in their user.

    ``tail``: the framed record of a tick after its key. ``first``: the same of a first check, and where its instant
    comes from; None if there is none.
    """

    fields: TimetableFields
    batch_key: BatchKey
    tail: bytes
    first: tuple[bytes, Callable[[bytes, TimetableFields], int]] | None

    def entry_of(self, key: bytes, head: bytes) -> TimetableEntry:
        """The entry of the monitor with this table key; ``head``: ``key_of_record`` of its user."""
        fields = self.fields
        if self.first is None:
            return TimetableEntry(key, fields.schedule, fields.since, self.batch_key, head + self.tail)
        tail, instant_of = self.first
        due = instant_of(key, fields)
        first = FirstCheck(due, head + tail) if due else None
        return TimetableEntry(key, fields.schedule, fields.since, self.batch_key, head + self.tail, first=first)

    def first_checks(
        self, column: Sequence[bytes], heads: Sequence[bytes], begin: int
    ) -> Iterator[tuple[int, FirstCheck]]:
        """Yield the first checks of the monitors whose keys stand in ``column`` from ``begin``, each with its place."""
        if self.first is None:
            return
        tail, instant_of = self.first
        for place, head in enumerate(heads, begin):
            if due := instant_of(column[place], self.fields):
                yield place, FirstCheck(due, head + tail)


def put_together(
    timetable: Timetable, templates: Sequence[EntryTemplate], keys: Sequence[Sequence[bytes]], users: Sequence[bytes]
) -> None:
    """Put the monitors of these users into a timetable. ``keys``: of each user, a table key for each template."""
    heads = [key_of_record(user) for user in users]
    alike: dict[tuple[Every, BatchKey, int], list[int]] = {}
    for place, template in enumerate(templates):
        fields = template.fields
        if isinstance(fields.schedule, Every) and fields.schedule.align is PHASE:
            alike.setdefault((fields.schedule, template.batch_key, fields.since), []).append(place)
        else:
            for theirs, head in zip(keys, heads, strict=True):
                timetable.put(template.entry_of(theirs[place], head))
    for (schedule, batch_key, since), places in alike.items():
        column = [theirs[place] for place in places for theirs in keys]
        records = [head + tail for tail in [templates[place].tail for place in places] for head in heads]
        left = set(timetable.put_many(schedule, batch_key, since, column, records))
        for number in left:
            template = templates[places[number // len(keys)]]
            timetable.put(template.entry_of(column[number], heads[number % len(keys)]))
        for begin, place in enumerate(places):
            for number, check in templates[place].first_checks(column, heads, begin * len(keys)):
                if number not in left:
                    timetable.put_first_check(batch_key, check)


def key_of_record(key: bytes) -> bytes:
    """A record's key as it stands in its framed part."""
    return encode(len(key)) + key


class TimetablePlanner:
    """Makes timetable entries of monitors."""

    def __init__(
        self,
        packing: Packing,
        clock: Clock,
        largest_batch: int | None = None,
        first_check_within_ms: int | None = None,
        new_timetable: Callable[[Packing, int], Timetable] = Timetable,
    ) -> None:
        """``first_check_within_ms``: new monitors are checked within this time; None: when their schedules say."""
        self._packing = packing
        self._new_timetable = new_timetable
        self._first_check_within_ms = first_check_within_ms
        self._clock = clock
        # snapshots are not restored by another version, or one that packs otherwise
        self.form = f"{version('everwatch')} {FORMAT} {avro_schemas.header('tick').hex()} {packing.code}"
        self.largest_batch = largest_batch

    def now_ms(self) -> int:
        """The instant, as the worker's clock has it."""
        return self._clock.now_ms()

    def new_timetable(self, emitted_to: int) -> Timetable:
        """An empty timetable whose chunks fit into the topics' batches."""
        timetable = self._new_timetable(self._packing, emitted_to)
        if self.largest_batch is not None:
            timetable.limits.size = min(timetable.limits.size, self.largest_batch - BATCH_HEADER)
        return timetable

    def fit(self, timetable: Timetable) -> None:
        """Split the chunks of a timetable that were made when topics took larger batches."""
        if self.largest_batch is not None and self.largest_batch < ChunkLimits().size:
            timetable.fit(timetable.limits.size)

    def replace(self, partition: OwnedPartition, before: Monitor | None, after: Monitor | None) -> None:
        """Replace a monitor's old value in the timetable by its new one (None: there is none)."""
        old = self.entry_of(before) if before else None
        new = self.entry_of(after) if after else None
        if old == new:
            return
        timetable, sweep = partition.timetable, partition.sweep
        if old is not None and new is not None:
            timetable.replace(old, new)
        elif old is not None:
            timetable.remove(old)
        elif new is not None:
            timetable.put(new)
        if sweep is not None and _concerns(old, new, sweep.upto):
            # a sweep that failed collects anew what is due
            partition.sweep = Sweep(sweep.upto, sweep.now)

    def entry_of(self, monitor: Monitor, key: bytes = b"") -> TimetableEntry | None:
        """The timetable entry of a monitor (``key``: its table key, if that is known); None if it is never due."""
        key = key or codec.table_key(monitor.user_id, monitor.monitor_id)
        user_key, fields = codec.user_key(monitor.user_id), table_records.timetable_fields_of(monitor)
        first = None
        if self.begins_now(fields.since) and (due := self._first_check(key, fields)):
            # it stands in no schedule, as a run by hand
            first = FirstCheck(due, framed(user_key, table_records.tick_value(monitor, manual=True)))
        return _timetable_entry(key, user_key, fields, first)

    def template(self, monitor: Monitor) -> EntryTemplate | None:
        """The template of all monitors that are as this one, a new one, but for their user.

        None if it is not due now, or if something of its entry depends on its key in another way.
        """
        fields = table_records.timetable_fields_of(monitor)
        if fields.asleep or fields.retry is not None or fields.ends_at or fields.starts_at:
            return None
        first = None
        if self.begins_now(fields.since):
            first = tail_of(table_records.tick_value(monitor, manual=True)), self._first_check
        return EntryTemplate(fields, batch_key_of(fields.kind, fields.policy), tail_of(fields.tick), first)

    def entry_of_encoded(self, key: bytes, value: bytes) -> TimetableEntry | None:
        """The timetable entry of an encoded monitor; None if it is never due, and for a user."""
        user_key, _, monitor_id = key.partition(codec.SEPARATOR)
        if not monitor_id or codec.is_bookkeeping(monitor_id):
            return None
        fields = table_records.read_timetable_fields(monitor_id, value)
        if fields is None or self.begins_now(fields.since):
            entry = codec.decode_entry(key, value)
            assert isinstance(entry, Monitor)  # its key says so
            return self.entry_of(entry, key)
        return _timetable_entry(key, user_key, fields)

    def begins_now(self, since: int) -> bool:
        """Tell whether a first check of a monitor that begins at ``since`` may still be to come."""
        within_ms = self._first_check_within_ms
        return within_ms is not None and since + within_ms + 2 * PHASE_STEP_MS > self.now_ms()

    def _first_check(self, key: bytes, fields: TimetableFields) -> int:
        """Return the instant of a new monitor's first check beside its schedule; 0 for none.

        It depends on nothing but the monitor, so that a worker that takes over comes to the same instant.
        """
        schedule = fields.schedule
        if isinstance(schedule, At) or not is_check(fields.kind):
            return 0
        within_ms = self._first_check_within_ms or 0
        if isinstance(schedule, Every):
            if schedule.interval_ms < FIRST_CHECK_FROM_MS:
                return 0
            within_ms = min(within_ms, schedule.interval_ms // 2)
        due = fields.since - fields.since % PHASE_STEP_MS + PHASE_STEP_MS + spread_of(key, within_ms)
        following = _next_due(schedule, key, fields.since)
        # by then its schedule has it checked, or it is over
        return 0 if following is None or following <= due or 0 < fields.ends_at < due else due


def _next_due(schedule: Every | Cron, key: bytes, since: int) -> int | None:
    """``next_due`` after ``since``; asked for every new monitor, so the most usual schedule takes the short way."""
    if isinstance(schedule, Every) and schedule.align is PHASE:
        return since + 1 + (phase_of(key, schedule) - since - 1) % schedule.interval_ms
    return next_due(schedule, key, since, since)


def tail_of(value: bytes) -> bytes:
    """A framed record without its key and that key's length."""
    return framed(b"", value)[len(encode(0)) :]


def _timetable_entry(
    key: bytes, user_key: bytes, fields: TimetableFields, first: FirstCheck | None = None
) -> TimetableEntry | None:
    if fields.asleep:
        return None
    retry = None
    if fields.retry is not None:
        due, scheduled_at, tick = fields.retry
        retry = Retry(due, scheduled_at, framed(user_key, tick))
    return TimetableEntry(
        key,
        fields.schedule,
        fields.since,
        batch_key_of(fields.kind, fields.policy),
        framed(user_key, fields.tick),
        fields.ends_at or NEVER,
        fields.starts_at > 0,
        retry,
        first,
    )


def _concerns(old: TimetableEntry | None, new: TimetableEntry | None, upto: int) -> bool:
    """Tell whether a change concerns ticks due up to ``upto``."""
    if old is None:
        return new is not None and new.since < upto
    if new is None or new._replace(retry=None) != old._replace(retry=None):
        return True
    return any(planned.retry is not None and planned.retry.due <= upto for planned in (old, new))


@lru_cache(maxsize=4_096)
def batch_key_of(kind: str, policy: Policy) -> BatchKey:
    """The batch key of monitors of a kind with a policy."""
    destination = Destination.INLINE if is_inline(kind) else Destination(policy.priority.value)
    # to the second: each batch key has chunks of its own
    regions = () if destination is Destination.INLINE else policy.regions
    return BatchKey(destination, policy.misfire, -(-policy.misfire_grace_ms // SECOND_MS) * SECOND_MS, regions)
