"""Catching up with the changelog in bulk: what a store lacks is read by thousands and written in strokes.

Faust's recovery stays in charge: it looks at the changelog when the store has caught up, and reads what is left.
All this is after the rebalance itself, during which a worker could send no heartbeats.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from faust.tables.recovery import Recovery
from faust.types import TP

from everwatch.clock import Clock
from everwatch.kafka.offsets import bounds
from everwatch.metrics import RECOVERED, RECOVERY_LEFT

logger = logging.getLogger(__name__)
AT_ONCE = 10_000
TOLD_EVERY_S = 5.0
PATIENCE_S = 30.0
# of the time that Faust gives to each step of its recovery
PATIENCE_SHARE = 0.8

Change = tuple[bytes, bytes | None]
Apply = Callable[[int, Iterable[Change], int], None]


class BulkRecovery(Recovery):
    """Faust's recovery, which begins with a catch-up in bulk."""

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Faust calls this to find out where to begin to read."""
        if title == "active":
            for table in self.tables.values():
                topic = table.changelog_topic_name
                mine = {tp for tp in tps if tp.topic == topic}
                patience_s = self.app.conf.broker_request_timeout * PATIENCE_SHARE
                await table.data.catch_up(topic, {tp.partition for tp in mine}, patience_s)
                for tp in mine:
                    offset = table.persisted_offset(tp)
                    highwater = self.active_highwaters[tp]
                    if offset is not None:
                        # what came after Faust looked for the end is read once more: it takes more for an error
                        destination[tp] = offset if highwater is None else min(offset, highwater)
        await super()._build_offsets(consumer, tps, destination, title)


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

    def cancel(self) -> None:
        """Stop soon: what is written stays, the rest is read another time."""
        self._cancelled = True

    def run(self) -> int:
        """Catch up; gives the number of records read. Raises BrokerUnavailable."""
        consumer = self._new_consumer()
        try:
            return self._run(consumer)
        finally:
            consumer.close()

    def _run(self, consumer: Consumer) -> int:
        ends = {}
        for number, position in self._positions.items():
            held = bounds(consumer, self._topic, number)
            # behind the beginning after a long absence, or ahead of a topic that was made anew: Faust's to judge
            if position < held.stop and (position >= held.start or position == 0):
                ends[number] = held.stop
        if not ends:
            return 0
        total = sum(end - self._positions[number] for number, end in ends.items())
        consumer.assign(
            [TopicPartition(self._topic, number, self._positions[number] or OFFSET_BEGINNING) for number in ends]
        )
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
                break
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
