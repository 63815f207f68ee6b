"""Copy of the records that readers of the old generation have not consumed, made when all of them have stopped.

Readers of the new generation begin at the first record, so what one of them has consumed and another one has not is
read once more by the first; it is the same by identity. Ticks that the new generation's workers emit again are copied,
too: of a monitor that was changed since, they would not come again.

A copied input has its old place in a header, by which the next run of an interrupted command knows it: what all
readers of the old generation have consumed meanwhile is not left to be consumed once more.
"""

from collections.abc import Mapping
from typing import NamedTuple

from confluent_kafka import TopicPartition

from everwatch.backup.backing_up import unread
from everwatch.backup.manifest import ReaderOffsets
from everwatch.backup.record_hash import RecordsHash
from everwatch.backup.source_topics import SourceTopics
from everwatch.backup.stages import Stages
from everwatch.backup.topic_writer import TopicWriter
from everwatch.core.errors import EverwatchError
from everwatch.encoding.codec import LARGEST_INPUT_BYTES
from everwatch.kafka.acl import Operation, Resource, Right
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.admin_results import result_of
from everwatch.kafka.consumed_record import Headers, Record
from everwatch.repartition.placing import NewPlaces

INPUTS = ("signups", "commands", "signals")
"""Topics that others write to, perhaps to the new ones already: what others wrote is never deleted."""
OUTPUTS = ("results", "transitions", "dead_letters", "replies", "cancellations", "audit", "incidents")
PLACE_HEADER = "repartitioned-from"
"""Header of a copied input: its partition and offset in the old topic, ``3:1234``."""
_TIMEOUT_S = 30.0


class UnreadRecords(NamedTuple):
    """Offsets of the old generation's topics that are not consumed yet, by topic (without prefix) and partition."""

    wanted: dict[str, dict[int, range]]

    @property
    def counts(self) -> dict[str, int]:
        """Number of offsets by topic."""
        return {name: sum(map(len, by_partition.values())) for name, by_partition in self.wanted.items()}


class TailCopy:
    """Copies the unconsumed records of all topics that are not compacted."""

    def __init__(
        self,
        source: SourceTopics,
        target: SourceTopics,
        admin: Admin,
        places: NewPlaces,
        writer: TopicWriter,
        stages: Stages,
    ) -> None:
        self._source = source
        self._target = target
        self._admin = admin
        self._places = places
        self._writer = writer
        self._stages = stages

    def copy(self, tail: UnreadRecords) -> dict[str, int]:
        """Copy, and read the copy again; return the number of records by topic.

        Raises BrokerUnavailable, AccessError, EverwatchError.
        """
        outputs = (*self._target.ticks, *OUTPUTS)
        bounds = {name: self._target.bounds(name) for name in (*INPUTS, *outputs)}
        held = {name: self._copied(name, bounds[name], tail.wanted[name]) for name in INPUTS}
        # of inputs: where nobody else has written
        empty = (*outputs, *(name for name, places in held.items() if places is None))
        self._empty({name: bounds[name] for name in empty})
        first = {name: self._target.bounds(name) for name in outputs}
        hashes: dict[str, RecordsHash] = {}
        counts = {}
        for name, wanted in tail.wanted.items():
            total = sum(map(len, wanted.values()))
            if total:
                self._stages.begin(f"copying {self._source.names[name]}", total)
            hashes[name] = RecordsHash()
            counts[name] = self._copy(name, wanted, hashes[name], held.get(name) or frozenset())
        self._writer.flush()
        for name in outputs:
            self._compare(name, first[name], hashes[name])
        return counts

    def _copied(
        self, name: str, held: Mapping[int, range], wanted: Mapping[int, range]
    ) -> frozenset[tuple[int, int]] | None:
        """Return the old places of what an interrupted copy has left; None if the topic holds nothing else.

        Raises EverwatchError where a copy must go and cannot, for what others have written to the topic.
        """
        places: set[tuple[int, int]] = set()
        is_ours = True
        for records in self._target.read(name, held):
            for record in records:
                if (place := _place_in(record.headers)) is not None:
                    places.add(place)
                elif not _is_too_large(record):
                    is_ours = False
        if is_ours:
            return None
        if consumed := sum(offset not in wanted.get(number, range(0)) for number, offset in places):
            raise EverwatchError(
                f"Topic {self._target.names[name]} holds {consumed} records of an interrupted copy that have been"
                " consumed on the old topic since, and records of producers that have moved too early: choose another"
                " --prefix, and have producers write to the old topics until it says that it has switched."
            )
        return frozenset(places)

    def _copy(self, name: str, wanted: Mapping[int, range], into: RecordsHash, held: frozenset[tuple[int, int]]) -> int:
        topic, copied = self._target.names[name], 0
        for records in self._source.read(name, wanted):
            for record in records:
                headers = record.headers
                if (record.partition, record.offset) in held:
                    continue
                if name in INPUTS and not _is_too_large(record):
                    headers = _placed(record)
                number = self._places.of(record)
                timestamp = max(record.timestamp_ms, 0)
                self._writer.write(topic, number, record.key, record.value, timestamp, headers)
                into.add(record.key, record.value, timestamp, headers)
            copied += len(records)
            self._writer.check()
            self._stages.advance(len(records))
        return copied

    def _empty(self, held: Mapping[str, Mapping[int, range]]) -> None:
        """Delete what an interrupted copy has left; no process has read it. Raises BrokerUnavailable, AccessError."""
        places = [
            TopicPartition(self._target.names[name], number, some.stop)
            for name, by_partition in held.items()
            for number, some in by_partition.items()
            if some
        ]
        if not places:
            return
        for place, future in self._admin.delete_records(places, request_timeout=_TIMEOUT_S).items():
            refusal = f"Kafka does not delete the records of an interrupted copy on {place.topic}"
            result_of(future, _TIMEOUT_S, Right(Operation.DELETE, Resource.TOPIC, place.topic), refusal)

    def _compare(self, name: str, first: Mapping[int, range], expected: RecordsHash) -> None:
        ends = self._target.bounds(name)
        wanted = {number: range(first[number].stop, some.stop) for number, some in ends.items()}
        found = RecordsHash()
        for records in self._target.read(name, wanted):
            for record in records:
                found.add(record.key, record.value, record.timestamp_ms, record.headers)
        if found.result() != expected.result():
            raise EverwatchError(
                f"Topic {self._target.names[name]} does not hold what was copied to it: {found.result().number} records"
                f" instead of {expected.result().number}. Does another process write to it?"
            )


def _placed(record: Record) -> Headers:
    """Return the record's headers with its place; of an earlier repartitioning it may have one already."""
    others = (each for each in record.headers if each[0] != PLACE_HEADER)
    return (*others, (PLACE_HEADER, b"%d:%d" % (record.partition, record.offset)))


def _place_in(headers: Headers) -> tuple[int, int] | None:
    place = dict(headers).get(PLACE_HEADER)
    number, _, offset = (place or b"").partition(b":")
    return (int(number), int(offset)) if number.isdigit() and offset.isdigit() else None


def _is_too_large(record: Record) -> bool:
    """Tell whether every worker refuses the input; a header more might make it too large for the broker."""
    return len(record.value or b"") > LARGEST_INPUT_BYTES


def find_tail(source: SourceTopics, offsets: list[ReaderOffsets]) -> UnreadRecords:
    """Return what the readers at these offsets have not consumed. Raises BrokerUnavailable, AccessError."""
    return UnreadRecords(
        {name: unread(name, source.bounds(name), offsets) for name in (*INPUTS, *source.ticks, *OUTPUTS)}
    )
