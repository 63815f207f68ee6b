"""What a standby fetches of the changelog beside a batch that cannot be read: aiokafka's fetcher without a broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from support.batches import CODECS, packed, record, zeros

from streams.transport.bounded_unpacking import LARGEST_BYTES, bound_unpacking
from streams.transport.faust_transport import fetch_what_can_be_read

ONE, TWO, THREE = (TopicPartition("changelog", number) for number in range(3))
BEGIN = 7


class Consumer:
    """The parts of aiokafka's consumer that are asked, in front of offset ``BEGIN`` of each partition."""

    def __init__(self) -> None:
        self._subscription = SubscriptionState()
        self._subscription.assign_from_user([ONE, TWO, THREE])
        for each in (ONE, TWO, THREE):
            self._subscription.seek(each, BEGIN)
        # no leader: nothing is fetched
        cluster = SimpleNamespace(leader_for_partition=lambda _: None)
        client: Any = SimpleNamespace(
            _loop=asyncio.get_running_loop(),
            _metadata_max_age_ms=1_000,
            cluster=cluster,
            force_metadata_update=asyncio.get_running_loop().create_future,
        )
        self._fetcher = Fetcher(client, self._subscription)

    def put(self, partition: TopicPartition, batch: bytes) -> None:
        """Have these bytes be fetched."""
        assignment = self._subscription.subscription.assignment
        records = PartitionRecords(partition, MemoryRecords(batch), [], BEGIN, None, None, True, 1)
        self._fetcher._records[partition] = FetchResult(
            partition, assignment=assignment, partition_records=records, backoff=0
        )

    def position(self, partition: TopicPartition) -> int:
        position: int = self._subscription.subscription.assignment.state_value(partition).position
        return position

    def pause(self, partition: TopicPartition) -> None:
        self._subscription.pause(partition)

    @property
    def paused(self) -> set[TopicPartition]:
        paused: set[TopicPartition] = self._subscription.paused_partitions()
        return paused

    async def fetch(self) -> dict[TopicPartition, list[int]]:
        """Return the offsets that a worker's standby takes."""
        fetched = partial(self._fetcher.fetched_records, [ONE, TWO, THREE])
        taken = await fetch_what_can_be_read(self, frozenset(), fetched)
        return {partition: [record.offset for record in records] for partition, records in taken.items()}

    async def close(self) -> None:
        await self._fetcher.close()


@pytest.fixture
async def consumer() -> AsyncIterator[Consumer]:
    made = Consumer()
    yield made
    await made.close()


def batch_of(count: int, codec: str = "none") -> bytes:
    builder = DefaultRecordBatchBuilder(2, CODECS[codec], 0, -1, -1, -1, 100_000)
    for number in range(count):
        builder.append(number, 0, b"key", b"value", [])
    batch: bytearray = builder.build()
    batch[:8] = BEGIN.to_bytes(8, "big")
    return bytes(batch)


def bomb_of(codec: str, size: int) -> bytes:
    """Return a batch with one record of so many zeros, behind a small one."""
    records = packed(
        (piece for at, length in enumerate((2, size)) for piece in record(at, b"key", zeros(length), length)), codec
    )
    batch = bytearray(batch_of(2)[:61] + records)
    batch[8:12] = (len(batch) - 12).to_bytes(4, "big")
    batch[22] = CODECS[codec]
    batch[17:21] = calc_crc32c(batch[21:]).to_bytes(4, "big")
    return bytes(batch)


def with_wrong_checksum(batch: bytes) -> bytes:
    return batch[:-1] + bytes([batch[-1] ^ 1])


def of_an_unknown_codec(batch: bytes) -> bytes:
    return batch[:22] + bytes([batch[22] | 7]) + batch[23:]


async def test_records_are_taken_in_order(consumer: Consumer) -> None:
    consumer.put(ONE, batch_of(3))
    assert await consumer.fetch() == {ONE: [7, 8, 9]}
    assert consumer.position(ONE) == 10


@pytest.mark.parametrize("damaged", [with_wrong_checksum, of_an_unknown_codec])
async def test_records_that_were_taken_beside_a_batch_that_cannot_be_read_are_fetched_again(
    consumer: Consumer, damaged: Callable[[bytes], bytes]
) -> None:
    for partition, batch in ((ONE, batch_of(3)), (TWO, damaged(batch_of(2))), (THREE, batch_of(1))):
        consumer.put(partition, batch)
    assert await consumer.fetch() == {}
    assert [consumer.position(each) for each in (ONE, TWO, THREE)] == [7, 7, 7]
    assert consumer.paused == {TWO}
    # as the broker gives it again
    consumer.put(ONE, batch_of(3))
    assert await consumer.fetch() == {THREE: [7], ONE: [7, 8, 9]}
    assert consumer.position(TWO) == BEGIN


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
async def test_a_batch_that_unpacks_to_too_much_is_not_unpacked(consumer: Consumer, codec: str) -> None:
    bound_unpacking()
    for partition, batch in (
        (ONE, batch_of(3, codec)),
        (TWO, bomb_of(codec, 1_000_000)),
        (THREE, bomb_of(codec, LARGEST_BYTES)),
    ):
        consumer.put(partition, batch)
    assert await consumer.fetch() == {}
    assert consumer.paused == {THREE}
    consumer.put(ONE, batch_of(3, codec))
    consumer.put(TWO, bomb_of(codec, 1_000_000))
    assert await consumer.fetch() == {ONE: [7, 8, 9], TWO: [7, 8]}


async def test_another_error_is_raised(consumer: Consumer) -> None:
    async def failing() -> None:
        raise ValueError("of no batch")

    consumer.put(ONE, batch_of(3))
    with pytest.raises(ValueError, match="of no batch"):
        await fetch_what_can_be_read(consumer, frozenset(), failing)
    assert consumer.paused == set()
