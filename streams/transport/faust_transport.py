"""Faust's Kafka transport: its consumer reads committed records only, and leaves some topics to others.

Faust reads committed only when its own processing guarantee is exactly-once. Records of a client's aborted transaction
must not be seen anyway, nor may they keep a standby waiting.

Faust assigns the partitions of its app by the topics that have a stream. A topic of ``unread`` takes part in that and
is never fetched: a batch consumer reads it, which survives batches that cannot be unpacked.

A standby reads the changelog by this consumer. A batch that aiokafka cannot read, or that unpacks to too much, is no
end of the worker: that partition is not fetched any more, and its standby stays behind. Whoever owns the partition says
what is to be done.
"""

import logging
import struct
from collections.abc import Awaitable, Callable, Iterable, Set
from functools import partial
from typing import Any

import cramjam
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from everwatch.observability.logs import labelled
from streams.transport.bounded_unpacking import bound_unpacking

logger = logging.getLogger(__name__)
# what decoding a batch raises, for bytes that are no batch
UNREADABLE = (
    CorruptRecordException,
    UnsupportedCodecError,
    cramjam.DecompressionError,
    struct.error,
    IndexError,
    ValueError,
    OverflowError,
    MemoryError,
)


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Listener that pauses the unread topics of each assignment."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Pause before Faust learns of the assignment: nothing can have been fetched before positions are known."""
        unread = self._thread.transport.unread  # type: ignore[attr-defined]
        self._thread._ensure_consumer().pause(*(part for part in assigned if part.topic in unread))
        await super().on_partitions_assigned(assigned)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Thread whose aiokafka consumer skips records of aborted transactions.

    Reported ends of partitions are last stable offsets, as the broker answers them for this isolation level.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # its fetcher takes this over when it starts
        consumer._isolation_level = "read_committed"
        return consumer

    async def _fetch_records(self, consumer: Any, *arguments: Any, **more: Any) -> Any:
        fetch = partial(super()._fetch_records, consumer, *arguments, **more)
        return await fetch_what_can_be_read(consumer, self.transport.unread, fetch)  # type: ignore[attr-defined]


async def fetch_what_can_be_read(consumer: Any, unread: Set[str], fetch: Callable[[], Awaitable[Any]]) -> Any:
    """Return what ``fetch`` takes of aiokafka's ``consumer``; pause a partition before a batch that cannot be read.

    Nothing is returned then, and what was taken of other partitions is fetched again. ``unread``: topics that are not
    fetched.
    """
    # the fetcher moves the positions of partitions on before a later one fails, and gives nothing of them then
    assignment, before = _positions_of(consumer, unread)
    try:
        return await fetch()
    except UNREADABLE as error:
        broken = _unreadable_of(consumer._fetcher)
        current, now = _positions_of(consumer, unread)
        if not broken or current is not assignment or now.keys() - before.keys():
            raise
        for partition, position in before.items():
            if partition not in broken and now.get(partition, position) != position:
                consumer._fetcher.seek_to(partition, position)
        for partition in broken:
            # its position stays in front of the batch: nothing is skipped if it is fetched again
            consumer.pause(partition)
            del consumer._fetcher._records[partition]
            logger.error(
                "%s, partition %d, cannot be read (%s): this worker's standby of it stays behind until the next"
                " rebalance; see 'everwatch doctor'",
                partition.topic,
                partition.partition,
                error or type(error).__name__,
                extra=labelled(topic=partition.topic, partition=partition.partition),
            )
        return {}


def _positions_of(consumer: Any, unread: Set[str]) -> tuple[Any, dict[Any, int]]:
    """Return the consumer's assignment, None if it has none, and the next offset of each partition that is fetched."""
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment
    if assignment is None:
        return None, {}
    states = ((each, assignment.state_value(each)) for each in assignment.tps if each.topic not in unread)
    return assignment, {
        partition: state.position for partition, state in states if state is not None and state.has_valid_position
    }


def _unreadable_of(fetcher: Any) -> list[Any]:
    """Return the partitions whose fetched records have failed while they were decoded: their iterators have ended."""
    fetched = ((partition, getattr(found, "_partition_records", None)) for partition, found in fetcher._records.items())
    return [
        partition
        for partition, records in fetched
        if records is not None and getattr(records._records_iterator, "gi_frame", records) is None
    ]


class Consumer(driver.Consumer):
    """Faust's consumer on that thread."""

    RebalanceListener = RebalanceListener

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Warn of a partition that stands still, unless its topic is not fetched."""
        if tp.topic not in self.transport.unread:  # type: ignore[attr-defined]
            super().verify_event_path(now, tp)


class Transport(driver.Transport):
    """Faust's Kafka transport with that consumer."""

    Consumer = Consumer

    def __init__(self, *arguments: Any, unread: Set[str], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.unread = unread
        bound_unpacking()
