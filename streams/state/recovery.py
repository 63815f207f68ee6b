"""Catching up with the changelog in bulk: what a store lacks is read by thousands and written in strokes.

All this is after the rebalance itself, during which a worker could send no heartbeats. Standbys are Faust's.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from faust.tables.recovery import Recovery
from faust.types import TP

from everwatch.core.clock import Clock
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.access_errors import read_of, refused
from everwatch.kafka.partition_bounds import bounds
from everwatch.observability.metrics import RECOVERED, RECOVERY_LEFT

logger = logging.getLogger(__name__)
AT_ONCE = 10_000
TOLD_EVERY_S = 5.0
PATIENCE_S = 30.0

Change = tuple[bytes, bytes | None]
Apply = Callable[[int, Iterable[Change], int], None]


class BulkRecovery(Recovery):
    """Faust's recovery, which leaves the active partitions to the engine and reads for standbys itself.

    The engine reads what active partitions lack when earlier owners are fenced (``CatchUp``): only then does the
    changelog stand still.
    """

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Faust calls this to find out where to begin to read: active partitions at their end."""
        if title == "active":
            for tp in tps:
                destination[tp] = self.active_highwaters[tp]
        else:
            await self._leave_out_unusable(tps, destination)
        await super()._build_offsets(consumer, tps, destination, title)

    async def _leave_out_unusable(self, tps: set[TP], offsets: Any) -> None:
        for table in self.tables.values():
            numbers = {tp.partition for tp in tps if tp.topic == table.changelog_topic_name}
            usable = await table.usable_as_standby(numbers)
            for number in numbers:
                tp = TP(table.changelog_topic_name, number)
                if number not in usable:
                    tps.discard(tp)
                    self.standbys_for_table[table].discard(tp)
                    offsets.pop(tp, None)
                elif (offset := table.persisted_offset(tp)) is not None:
                    offsets[tp] = offset
                else:
                    offsets[tp] = None

    async def _build_highwaters(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Faust calls this to find out where to stop. The last record of a changelog is not its last offset."""
        await super()._build_highwaters(consumer, tps, destination, title)
        if title == "active":
            return
        for table in self.tables.values():
            last = await table.data.last_offsets(table.changelog_topic_name, {tp.partition for tp in tps})
            for tp in tps:
                # what this worker committed itself just now may not be readable yet
                known = min(destination[tp], self.standby_offsets[tp])
                destination[tp] = max(last.get(tp.partition, -1), known)


class CatchUp:
    """Reads partitions of a changelog from given offsets to where they end now. Runs in a thread of its own."""

    def __init__(
        self,
        positions: Mapping[int, int],
        topic: str,
        new_consumer: Callable[[], Consumer],
        apply: Apply,
        clock: Clock,
    ) -> None:
        self._positions = dict(positions)
        self._topic = topic
        self._new_consumer = new_consumer
        self._apply = apply
        self._clock = clock
        self._cancelled = False
        self._reason = ""

    def cancel(self) -> None:
        """Stop soon: what is written stays, the rest is read another time."""
        self._cancelled = True

    def run(self) -> int:
        """Catch up; gives the number of records read. Raises BrokerUnavailable, AccessError."""
        consumer = self._new_consumer()
        try:
            return self._run(consumer)
        finally:
            consumer.close()

    def _run(self, consumer: Consumer) -> int:
        ends = {}
        for number, position in self._positions.items():
            held = bounds(consumer, self._topic, number)
            if position < held.stop:
                ends[number] = held.stop
                # after a long absence
                self._positions[number] = max(position, held.start)
        if not ends:
            return 0
        total = sum(end - self._positions[number] for number, end in ends.items())
        consumer.assign([TopicPartition(self._topic, number, self._positions[number]) for number in ends])
        begun = told = heard = self._clock.monotonic_s()
        done = 0
        while ends and not self._cancelled:
            read = self._read(consumer, ends)
            done += read
            RECOVERED.inc(read)
            RECOVERY_LEFT.set(total - done)
            now = self._clock.monotonic_s()
            if read:
                heard = now
            elif now - heard > PATIENCE_S:
                raise BrokerUnavailable(
                    f"nothing comes of the changelog {self._topic}, partitions {sorted(ends)}, for {PATIENCE_S:g} s"
                    + (f": {self._reason}" if self._reason else "")
                )
            if now - told >= TOLD_EVERY_S:
                told = now
                logger.info("reading the table: %d of at most %d records, %.0f/s", done, total, done / (now - begun))
        RECOVERY_LEFT.set(0)
        logger.info(
            "read %d records of the table's changelog in %.1f s", done, max(self._clock.monotonic_s() - begun, 0.001)
        )
        return done

    def _read(self, consumer: Consumer, ends: dict[int, int]) -> int:
        """Read and write some; partitions that are through leave ``ends``."""
        changes: defaultdict[int, list[Change]] = defaultdict(list)
        last: dict[int, Message] = {}
        read = 0
        for message in consumer.consume(AT_ONCE, 0.2):
            number = message.partition()
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    ends.pop(number or 0, None)
                elif denied := refused(error, read_of(self._topic)):
                    raise denied
                else:
                    self._reason = error.str()
                continue
            assert number is not None  # every record has one
            read += 1
            changes[number].append((message.key(), message.value()))  # type: ignore[arg-type]
            last[number] = message
        for number, some in changes.items():
            offset = last[number].offset()
            assert offset is not None  # so has every record
            self._apply(number, some, offset)
            if offset + 1 >= ends.get(number, 0):
                ends.pop(number, None)
        return read
