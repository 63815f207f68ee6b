"""The bench's reader understands record batches by their headers, as the Kafka protocol writes them."""

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from bench.batches import HEADER_BYTES, batch_headers, is_sound, records_of
from bench.errors import Unmeasured

LZ4 = 3


def batch(timestamps: list[int], base_offset: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, LZ4, False, -1, -1, -1, 1_000_000)
    for offset, timestamp in enumerate(timestamps):
        builder.append(offset, timestamp, b"user-1", b"value", [])
    built = bytearray(builder.build())
    built[:8] = base_offset.to_bytes(8, "big")
    return bytes(built)


def test_header_tells_offsets_timestamps_and_count() -> None:
    data = memoryview(batch([1_000, 1_000, 1_000], base_offset=40))
    (header,) = batch_headers(data)
    assert (header.base_offset, header.last_offset, header.records) == (40, 42, 3)
    assert (header.base_timestamp, header.max_timestamp) == (1_000, 1_000)
    assert (header.start, header.stop, header.control) == (0, len(data), False)
    assert is_sound(data, header)


def test_batch_of_several_instants_shows_the_first_and_the_greatest() -> None:
    (header,) = batch_headers(memoryview(batch([2_000, 2_500, 2_100])))
    assert (header.base_timestamp, header.max_timestamp) == (2_000, 2_500)


def test_batch_that_the_broker_cut_off_is_left_for_the_next_fetch() -> None:
    whole, cut = batch([1, 2]), batch([3, 4])
    for kept in (0, HEADER_BYTES - 1, len(cut) - 1):
        assert len(list(batch_headers(memoryview(whole + cut[:kept])))) == 1
    assert len(list(batch_headers(memoryview(whole + cut)))) == 2


def test_wrong_checksum_is_noticed() -> None:
    data = bytearray(batch([1, 2, 3]))
    data[-1] ^= 1
    (header,) = batch_headers(memoryview(bytes(data)))
    assert not is_sound(memoryview(bytes(data)), header)


def test_other_formats_and_broker_timestamps_are_refused() -> None:
    old = bytearray(batch([1]))
    old[16] = 1
    with pytest.raises(Unmeasured, match="format 1"):
        list(batch_headers(memoryview(bytes(old))))
    stamped = bytearray(batch([1]))
    stamped[22] |= 0x08
    with pytest.raises(Unmeasured, match="the broker's"):
        list(batch_headers(memoryview(bytes(stamped))))


def test_records_are_decoded_one_by_one() -> None:
    found = [(r.timestamp, r.key, r.value) for r in records_of(batch([5, 6]) + batch([7]))]
    assert found == [(t, b"user-1", b"value") for t in (5, 6, 7)]
