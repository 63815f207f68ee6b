"""Stamped batches: what changes from one sending to the next, what does not, and what a producer needs of them."""

import struct

import pytest
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from everwatch.kafka.compression import codec_named
from everwatch.kafka.stamped_batch import StampedBatch
from everwatch.timetable import Chunk, framed
from everwatch.timetable.record_framing import FramedRecord

START = 1_800_000_000_000
NONE, LZ4 = codec_named("none"), codec_named("lz4")
RECORDS = [(b"user-%d" % number, b"\xc3\x01 a tick of %d" % number, 100 * (number % 3)) for number in range(200)]
# where they stand in a batch: base and max timestamp; producer id, epoch and base sequence; the checksum; the rest
TIMESTAMPS, PRODUCER = slice(27, 43), slice(43, 57)
CRC, COUNT_AND_RECORDS = slice(17, 21), slice(57, None)


def chunk_of_records(packing: object) -> Chunk:
    chunk = Chunk()
    for key, value, delta in RECORDS:
        chunk.add(FramedRecord(delta, framed(key, value)), packing)
    return chunk


def stamped(chunk: Chunk, packing: object, instant: int, producer: tuple[int, int, int] = (-1, -1, -1)) -> StampedBatch:
    batch = StampedBatch(chunk.packed(packing), chunk.count, chunk.code, instant, chunk.reach)
    batch.stamp(*producer)
    return batch


def test_a_stamped_batch_is_byte_for_byte_the_one_that_aiokafka_would_build() -> None:
    theirs = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=7,
        producer_epoch=3,
        base_sequence=40,
        batch_size=2**20,
    )
    for offset, (key, value, delta) in enumerate(RECORDS):
        theirs.append(offset, timestamp=START + delta, key=key, value=value, headers=[])
    ours = bytearray(stamped(chunk_of_records(NONE), NONE, START, (7, 3, 40)).encoded())
    # the leader's epoch is the broker's to fill in, and not in the checksum; whoever sends it says what it likes
    expected = bytes(theirs.build())
    ours[12:16] = expected[12:16]
    assert bytes(ours) == expected


def test_each_lap_the_same_records_go_out_with_another_instant() -> None:
    chunk = chunk_of_records(LZ4)
    first = bytes(stamped(chunk, LZ4, START, (7, 0, 0)).encoded())
    second = bytes(stamped(chunk, LZ4, START + 60_000, (7, 0, 200)).encoded())
    assert first[COUNT_AND_RECORDS] == second[COUNT_AND_RECORDS]
    assert first[: CRC.start] == second[: CRC.start]
    assert struct.unpack(">qq", first[TIMESTAMPS]) == (START, START + 200)
    assert struct.unpack(">qq", second[TIMESTAMPS]) == (START + 60_000, START + 60_200)
    assert struct.unpack(">qhi", second[PRODUCER]) == (7, 0, 200)
    assert first[CRC] != second[CRC]
    for built, instant in ((first, START), (second, START + 60_000)):
        batch = MemoryRecords(built).next_batch()
        assert batch.validate_crc()
        assert [(r.key, r.value, r.timestamp) for r in batch] == [(k, v, instant + delta) for k, v, delta in RECORDS]


def test_a_batch_that_is_sent_again_after_a_failure_is_the_same_to_the_last_byte() -> None:
    batch = stamped(chunk_of_records(LZ4), LZ4, START, (7, 0, 0))
    first = bytes(batch.encoded())
    assert bytes(batch.encoded()) == first
    assert len(first) == batch.size()


def test_changing_the_chunk_later_does_not_change_a_batch_on_its_way() -> None:
    chunk = chunk_of_records(LZ4)
    batch = stamped(chunk, LZ4, START)
    chunk.add(FramedRecord(0, framed(b"late", b"comer")), LZ4)
    assert batch.record_count() == 200
    assert len(list(MemoryRecords(bytes(batch.encoded())).next_batch())) == 200


@pytest.mark.parametrize("name", ["none", "lz4", "zstd", "snappy", "gzip"])
def test_a_damaged_byte_is_noticed_by_the_checksum(name: str) -> None:
    packing = codec_named(name)
    built = stamped(chunk_of_records(packing), packing, START).encoded()
    assert MemoryRecords(bytes(built)).next_batch().validate_crc()
    built[len(built) // 2] ^= 0x10
    assert not MemoryRecords(bytes(built)).next_batch().validate_crc()


async def test_a_producer_takes_it_for_a_batch_of_its_own() -> None:
    """Do what aiokafka does with a batch from queue to socket, to notice a version that asks for more."""
    queued = MessageBatch(TopicPartition("ticks", 0), stamped(chunk_of_records(LZ4), LZ4, START), ttl=30, linger_time=0)
    assert queued.record_count == 200
    queued.set_producer_state(7, 3, 40)
    queued.drain_ready()
    batch = MemoryRecords(bytes(queued.get_data_buffer())).next_batch()
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 3, 40)
    assert batch.validate_crc()
    queued.done(base_offset=12, timestamp=-1)
    assert (await queued.future).offset == 12
