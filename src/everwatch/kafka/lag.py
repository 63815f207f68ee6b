"""Lag of every process: records, seconds, owners.

The lag in records is the distance from a group's committed offset to the end of the partition; in seconds, the age of
the first record that is not committed. A tick's age counts from the instant at which it was due.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.kafka.batch_ends import SILENT
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import (
    OPTIONAL_PROCESS,
    Member,
    Position,
    TopicReading,
    bounds_of,
    committed_of,
    held_back,
    members_of,
    readings_of,
    written_ends_of,
)
from everwatch.kafka.peek import PEEKING, Peek, peek
from everwatch.kafka.process_figures import PartitionLag, TopicLag

# a retry has the instant of the tick that it repeats, so the age is that of the first tick that is none
LOOKED_AT = 20
# into the topics that these read others write, with transactions of their own; those of workers are over in a moment
_READS_INPUTS = ("worker", "executor")


class Lag(msgspec.Struct, frozen=True):
    """The lag of every partition, and the members of each kind of process (by client id)."""

    at: int
    partitions: tuple[PartitionLag, ...]
    members: dict[str, tuple[Member, ...]]

    def of(self, process: str) -> list[PartitionLag]:
        """The partitions that one kind of process reads: worker, executor, sink or, once one has run, notifier."""
        return [each for each in self.partitions if each.process == process]


def measure(
    settings: Settings,
    admin: AdminClient,
    new_consumer: Callable[..., Consumer],
    emitted_to: Mapping[int, int],
    clock: Clock,
    *,
    timeout_s: float = 10.0,
) -> Lag:
    """Ask the broker for all of it. Raises BrokerUnavailable."""
    readings = readings_of(settings)
    numbers = range(settings.partitions)
    members = members_of(admin, {reading.owned_through for reading in readings}, timeout_s=timeout_s)
    committed = {group: committed_of(admin, group) for group in {reading.group for reading in readings}}
    readings = [
        each for each in readings if each.process != OPTIONAL_PROCESS or members[each.group] or committed[each.group]
    ]
    places_of_inputs = {(each.topic, n) for each in readings if each.process in _READS_INPUTS for n in numbers}
    written = written_ends_of(admin, places_of_inputs)
    held = bounds_of(admin, {(reading.topic, number) for reading in readings for number in numbers})
    readable = {position: some.stop for position, some in held.items()}
    survey = _Survey(members, committed, held, emitted_to, held_back(written, readable))
    places = [(reading, n) for reading in readings for n in numbers if (reading.topic, n) in survey.held]
    with closing(new_consumer(**PEEKING)) as consumer:
        seen = survey.peek(consumer, places, timeout_s)
    now = clock.now_ms()
    rows = tuple(survey.row(*place, seen.get(place), now) for place in places)
    return Lag(now, rows, members_by_process(readings, survey.members))


def members_by_process(
    readings: Iterable[TopicReading], members: Mapping[str, Sequence[Member]]
) -> dict[str, tuple[Member, ...]]:
    """Return the members of each kind of process: of executors those of all regions."""
    groups: dict[str, dict[str, None]] = {}
    for reading in readings:
        groups.setdefault(reading.process, {})[reading.owned_through] = None
    return {process: tuple(each for group in some for each in members[group]) for process, some in groups.items()}


_Place = tuple[TopicReading, int]


class _Survey(NamedTuple):
    """Answers of the broker: members and committed offsets of each group, bounds of each partition."""

    members: Mapping[str, list[Member]]
    committed: Mapping[str, Mapping[Position, int]]
    held: Mapping[Position, range]
    emitted_to: Mapping[int, int]
    held_back: Mapping[Position, range]

    def start(self, reading: TopicReading, number: int) -> int:
        """The offset of the first record that the group has still to read."""
        held = self.held[reading.topic, number]
        return min(max(self.committed[reading.group].get((reading.topic, number), 0), held.start), held.stop)

    def peek(self, consumer: Consumer, places: Iterable[_Place], timeout_s: float) -> dict[_Place, Peek]:
        """The first records behind each committed offset that is not at its partition's end."""
        behind = [place for place in places if self.start(*place) < self.held[place[0].topic, place[1]].stop]
        found: dict[_Place, Peek] = {}
        # one group after the other: two of them may read one topic
        for group in {reading.group for reading, _ in behind}:
            some = {(place[0].topic, place[1]): place for place in behind if place[0].group == group}
            starts = {position: self.start(*place) for position, place in some.items()}
            stops = {position: self.held[position].stop for position in starts}
            for position, seen in peek(consumer, starts, LOOKED_AT, stops=stops, timeout_s=timeout_s).items():
                found[some[position]] = seen
        return found

    def row(self, reading: TopicReading, number: int, seen: Peek | None, now: int) -> PartitionLag:
        """The lag of one partition; ``seen`` is None where nothing is behind the committed offset."""
        position = reading.topic, number
        end = self.held[position].stop
        owner = next(
            (m for m in self.members[reading.owned_through] if (reading.owned_topic, number) in m.partitions), None
        )
        # what follows may be a transaction's mark alone, which is no record
        nothing = seen is None or (seen.ended and not seen.messages)
        if open_span := self.held_back.get(position):
            # a client's transaction is under way: what stands at and behind it waits, too
            end = max(end, open_span.stop)
            if nothing:
                nothing, seen = False, Peek([], ended=True)
        return PartitionLag(
            topic=reading.topic,
            group=reading.group,
            process=reading.process,
            partition=number,
            committed=self.committed[reading.group].get(position),
            end=end,
            lag=0 if nothing else end - self.start(reading, number),
            lag_s=0.0 if seen is None or nothing else age_s(reading, seen.records, now),
            client_id=owner.client_id if owner else "",
            host=owner.host if owner else "",
            emitted_to=self.emitted_to.get(number),
            unreadable=(seen.error or ("" if seen.ended else SILENT)) if seen is not None and not seen.messages else "",
        )


def summed(rows: Iterable[PartitionLag]) -> list[TopicLag]:
    """The rows of each topic and group as one."""
    groups: dict[tuple[str, str], list[PartitionLag]] = {}
    for row in rows:
        groups.setdefault((row.group, row.topic), []).append(row)
    return [_sum(some) for some in groups.values()]


def _sum(rows: list[PartitionLag]) -> TopicLag:
    first = rows[0]
    ages = [row.lag_s for row in rows if row.lag_s is not None]
    emitted = [row.emitted_to for row in rows if row.emitted_to is not None]
    return TopicLag(
        first.topic,
        first.group,
        first.process,
        len(rows),
        sum(row.lag for row in rows),
        max(ages) if len(ages) == len(rows) else None,
        tuple(sorted({row.client_id for row in rows if row.client_id})),
        sum(not row.client_id for row in rows),
        min(emitted, default=None),
    )


def age_s(reading: TopicReading, records: Iterable[Record], now: int) -> float | None:
    """Seconds since the first of these records came, or was due; None if there is none."""
    is_ticks = reading.process == "executor"
    first = next((record for record in records if not (is_ticks and _is_retry(record))), None)
    return None if first is None else max(0.0, (now - first.timestamp_ms) / 1000)


def _is_retry(record: Record) -> bool:
    try:
        return codec.decode_tick(record.key, record.value, record.timestamp_ms, record.partition).attempt > 1
    except InvalidInput:
        return False
