"""Chunks and shelves: how many records travel together, and what it takes to find one of them again."""

from zlib import crc32

import pytest

from everwatch.kafka.compression import codec_named
from everwatch.timetable.chunk import Chunk, ChunkLimits, Shelf, chunk_of, chunks_of
from everwatch.timetable.record_framing import FramedRecord, framed

LZ4 = codec_named("lz4")
HEADER = bytes.fromhex("c301f0f1f2f3f4f5f6f7")


def entry(number: int, size: int = 20) -> FramedRecord:
    return FramedRecord(0, framed(b"user-%d" % number, HEADER + b"m%d" % number + b"x" * size))


def entry_of_checksum(number: int, checksum: int) -> FramedRecord:
    """An entry with this CRC-32, which is linear: each bit of the value's last four bytes flips the same bits of it."""

    def framed_with(last: int) -> bytes:
        return framed(b"user-%d" % number, HEADER + b"m%d" % number + last.to_bytes(4, "big"))

    missing, last = checksum ^ crc32(framed_with(0)), 0
    flips = [(crc32(framed_with(1 << bit)) ^ crc32(framed_with(0)), 1 << bit) for bit in range(32)]
    # elimination, a bit of the checksum at a time
    for bit in range(32):
        pivot = next(each for each in flips if each[0] >> bit & 1)
        flips.remove(pivot)
        flips = [(a ^ pivot[0], b ^ pivot[1]) if a >> bit & 1 else (a, b) for a, b in flips]
        if missing >> bit & 1:
            missing, last = missing ^ pivot[0], last ^ pivot[1]
    return FramedRecord(0, framed_with(last))


def shelf_of(entries: list[FramedRecord], limits: ChunkLimits) -> Shelf:
    shelf = Shelf()
    for each in entries:
        shelf.add(each, LZ4, limits)
    return shelf


def everybody(shelf: Shelf) -> list[FramedRecord]:
    return sorted(each for chunk in shelf.chunks for each in chunk.entries(LZ4))


def pack_all(shelf: Shelf) -> None:
    for chunk in shelf.chunks:
        chunk.packed(LZ4)


def test_a_shelf_that_splits_again_and_again_keeps_everybody_and_finds_everybody() -> None:
    entries = [entry(number) for number in range(500)]
    shelf = shelf_of(entries, ChunkLimits(count=16))
    assert everybody(shelf) == sorted(entries)
    assert len(shelf.chunks) >= 500 / 16
    for gone, each in enumerate(entries, 1):
        assert shelf.discard(each, LZ4) is not None
        assert shelf.discard(each, LZ4) is None
        assert everybody(shelf) == sorted(entries[gone:])
    assert not shelf
    assert len(shelf.chunks) == 1


def test_no_chunk_has_more_records_or_bytes_than_the_limits_say() -> None:
    limits = ChunkLimits(count=50, size=3_000)
    shelf = shelf_of([entry(number, size=number * 7 % 90) for number in range(800)], limits)
    assert all(0 < chunk.count <= 50 for chunk in shelf.chunks)
    assert all(chunk.size_in(LZ4) <= 3_000 for chunk in shelf.chunks)
    # and they are not needlessly small: a batch costs the broker as much as some hundred records
    assert len(shelf.chunks) < 60


@pytest.mark.parametrize("sizes", [[900, 900], [900, 10, 900, 10], [10, 20, 30, 40, 50, 60, 800, 900]])
def test_large_records_do_not_share_a_chunk_that_is_too_small_for_both(sizes: list[int]) -> None:
    for first in range(0, 400, 10):  # checksums decide who would stand beside whom
        entries = [entry(first + number, size) for number, size in enumerate(sizes)]
        shelf = shelf_of(entries, ChunkLimits(size=1_100))
        assert all(chunk.size_in(LZ4) <= 1_100 for chunk in shelf.chunks)
        assert everybody(shelf) == sorted(entries)


def test_a_record_larger_than_any_chunk_has_one_to_itself() -> None:
    entries = [entry(1), entry(2, size=5_000), entry(3)]
    shelf = shelf_of(entries, ChunkLimits(size=1_000))
    assert [chunk.count for chunk in shelf.chunks if chunk.size_in(LZ4) > 1_000] == [1]
    assert everybody(shelf) == sorted(entries)


def test_records_of_the_same_checksum_stay_together_and_are_found() -> None:
    entries = [entry_of_checksum(number, min(number, 15)) for number in range(40)]
    shelf = shelf_of(entries, ChunkLimits(count=4))
    assert everybody(shelf) == sorted(entries)
    assert [shelf.discard(each, LZ4) is not None for each in entries] == [True] * 40
    assert not shelf


def test_a_change_touches_one_chunk_and_leaves_all_others_as_they_are() -> None:
    entries = [entry(number) for number in range(300)]
    shelf = shelf_of(entries, ChunkLimits(count=20))
    pack_all(shelf)
    before = {id(chunk): chunk.packed(LZ4) for chunk in shelf.chunks}
    changed = shelf.discard(entries[123], LZ4)
    assert [chunk for chunk in shelf.chunks if chunk.is_loose] == [changed]
    assert all(chunk.packed(LZ4) is before[id(chunk)] for chunk in shelf.chunks if chunk is not changed)
    assert shelf.add(entries[123], LZ4, ChunkLimits(count=20)) is changed


def test_when_batches_have_to_be_smaller_what_fits_stays_packed() -> None:
    shelf = shelf_of([entry(number) for number in range(100)], ChunkLimits(count=10))
    pack_all(shelf)
    before = list(shelf.chunks)
    largest = max(chunk.size_in(LZ4) for chunk in before)
    shelf.fit(LZ4, ChunkLimits(size=largest - 1))
    assert all(chunk.size_in(LZ4) < largest for chunk in shelf.chunks)
    assert set(before) & set(shelf.chunks)
    assert not any(chunk.is_loose for chunk in shelf.chunks)


def test_what_does_not_get_smaller_by_packing_goes_out_plain() -> None:
    few, many = chunk_of([entry(1)], LZ4), chunk_of([entry(number) for number in range(100)], LZ4)
    assert few.code == 0
    assert many.code == LZ4.code
    assert len(many.packed(LZ4)) < many.size_in(LZ4) / 2
    assert len(few.packed(LZ4)) == few.size_in(LZ4)


def test_a_packed_chunk_can_be_changed_and_packed_again() -> None:
    chunk = chunk_of([entry(number) for number in range(100)], LZ4)
    chunk.add(FramedRecord(700, entry(100).framed), LZ4)
    assert chunk.discard(entry(0), LZ4)
    chunk.packed(LZ4)
    assert not chunk.is_loose
    assert (chunk.count, chunk.reach) == (100, 700)
    assert sorted(chunk.entries(LZ4)) == sorted(
        [*(entry(n) for n in range(1, 100)), FramedRecord(700, entry(100).framed)]
    )


def test_a_record_with_another_delay_is_another_record() -> None:
    chunk = Chunk()
    chunk.add(FramedRecord(100, entry(1).framed), LZ4)
    assert not chunk.discard(entry(1), LZ4)
    assert chunk.discard(FramedRecord(100, entry(1).framed), LZ4)


def test_the_latest_timestamp_of_a_chunk_may_lie_before_its_base() -> None:
    chunk = Chunk()
    chunk.add(FramedRecord(-90_000, entry(1).framed), LZ4)
    assert chunk.reach == -90_000
    chunk.add(FramedRecord(-60_000, entry(2).framed), LZ4)
    chunk.add(FramedRecord(-(2**40), entry(3).framed), LZ4)
    assert chunk.reach == -60_000
    assert sorted(each.delta for each in chunk.entries(LZ4)) == [-(2**40), -90_000, -60_000]
    for each in list(chunk.entries(LZ4)):
        assert chunk.discard(each, LZ4)
    chunk.add(FramedRecord(-70_000, entry(1).framed), LZ4)
    assert chunk.reach == -70_000


def test_many_records_are_put_into_as_few_chunks_as_the_limits_allow() -> None:
    entries = [entry(number, size=number % 50) for number in range(1_000)]
    for limits in (ChunkLimits(count=64), ChunkLimits(size=2_000), ChunkLimits(count=1), ChunkLimits()):
        chunks = list(chunks_of(entries, LZ4, limits))
        assert [each for chunk in chunks for each in chunk.entries(LZ4)] == entries
        assert all(chunk.count <= limits.count for chunk in chunks)
        assert all(chunk.size_in(LZ4) <= limits.size for chunk in chunks)
    assert len(list(chunks_of(entries, LZ4, ChunkLimits()))) == 1
    assert list(chunks_of([], LZ4, ChunkLimits())) == []
