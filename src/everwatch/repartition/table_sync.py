"""A compacted topic of the old generation brought into the new one, by difference, while its writers go on.

Each step reads what came since the last one, writes the latest values that the new topic lacks, and reads that back.
So a copy that was interrupted is gone on with, and what is compared at the end is what the broker has.
"""

from collections.abc import Callable, Iterator, Mapping

from everwatch.backup.record_hash import Hashed, LatestHash
from everwatch.backup.source_topics import SourceTopics
from everwatch.backup.stages import Stages
from everwatch.backup.topic_writer import TopicWriter
from everwatch.core.errors import EverwatchError
from everwatch.kafka.consumed_record import Record


class TableSync:
    """The copy of one compacted topic. Memory: about 400 bytes for each key.

    ``name``: without prefix. ``place`` gives the partition of a key in the new topic.
    """

    def __init__(
        self,
        name: str,
        source: SourceTopics,
        target: SourceTopics,
        place: Callable[[bytes], int],
        writer: TopicWriter,
        stages: Stages,
    ) -> None:
        self._name = name
        self._source = source
        self._target = target
        self._place = place
        self._writer = writer
        self._stages = stages
        self._wanted, self._found = LatestHash(), LatestHash()
        self._source_ends: dict[int, int] = {}
        self._target_ends: dict[int, int] = {}
        # deletions that are in the new topic: a reader of it must get those that it has not read yet
        self._deleted: set[bytes] = set()
        self.last: dict[int, Record] = {}
        """Last record of each partition of the new topic."""
        self.written = 0

    def step(self) -> int:
        """Copy records since the last step; return the number of records of the old topic that were read.

        Raises BrokerUnavailable, AccessError, RecordsUnreadable, EverwatchError.
        """
        if not self._target_ends:
            self._read_back()
        held = self._source.bounds(self._name)
        wanted = {number: range(self._source_ends.get(number, some.start), some.stop) for number, some in held.items()}
        total = sum(map(len, wanted.values()))
        if not total:
            return 0
        self._stages.begin(f"copying {self._source.names[self._name]}", 2 * total)
        newest: dict[bytes, tuple[int, int]] = {}
        for record in self._read(wanted):
            key = record.key or b""
            newest[key] = record.partition, record.offset
            self._wanted.add(key, record.value)
        read = 0
        for record in self._read(wanted):
            read += 1
            # a reader that has both already would put the older entry over the newer one
            if newest.get(record.key or b"") == (record.partition, record.offset) and self._lacks(record):
                self._write(record)
        self._source_ends = {number: some.stop for number, some in held.items()}
        self._writer.flush()
        self._read_back()
        return read

    def repeat(self, begins: Mapping[int, int]) -> dict[int, int]:
        """Write all records of the old topic from these offsets on once more, each of a key, in their order.

        Return where they begin in each partition of the new topic: a reader that stood at the former goes on there.
        For use after the last step. Raises as ``step`` does.
        """
        held = self._source.bounds(self._name)
        ends = dict(self._target_ends)
        wanted = {number: range(max(begins.get(number, 0), some.start), some.stop) for number, some in held.items()}
        self._stages.begin(f"copying {self._source.names[self._name]} for its readers", sum(map(len, wanted.values())))
        for record in self._read(wanted):
            self._write(record)
        self._writer.flush()
        self._read_back()
        return ends

    def prove(self) -> Hashed:
        """Return the hash of the latest entries, which both topics have. Raises EverwatchError if they differ."""
        wanted, found = self._wanted.result(), self._found.result()
        if wanted != found:
            raise EverwatchError(
                f"Topic {self._target.names[self._name]} is not what {self._source.names[self._name]} is: it holds"
                f" {found.number} instead of {wanted.number} entries, hash {found.hash} instead of {wanted.hash}. Does"
                " another process write to it?"
            )
        return found

    def _lacks(self, record: Record) -> bool:
        """Tell whether the new topic has another latest value, or lacks a deletion."""
        key = record.key or b""
        if record.value is not None:
            return not self._found.holds(key, record.value)
        return key in self._found or key not in self._deleted

    def _read(self, wanted: Mapping[int, range]) -> Iterator[Record]:
        for records in self._source.read(self._name, wanted):
            yield from records
            self._writer.check()
            self._stages.advance(len(records))

    def _write(self, record: Record) -> None:
        topic, number = self._target.names[self._name], self._place(record.key or b"")
        self._writer.write(topic, number, record.key, record.value, record.timestamp_ms, record.headers)
        self.written += 1

    def _read_back(self) -> None:
        held = self._target.bounds(self._name)
        wanted = {number: range(self._target_ends.get(number, some.start), some.stop) for number, some in held.items()}
        for records in self._target.read(self._name, wanted):
            for record in records:
                key = record.key or b""
                if self._place(key) != record.partition:
                    raise EverwatchError(
                        f"Topic {record.topic}, partition {record.partition}, offset {record.offset} holds a record of"
                        " another partition: another process writes to it, or it is a copy by another partitioner."
                        " Delete the topics of that prefix, or choose another one with --prefix."
                    )
                self._found.add(key, record.value)
                (self._deleted.add if record.value is None else self._deleted.discard)(key)
                self.last[record.partition] = record
        self._target_ends = {number: some.stop for number, some in held.items()}
