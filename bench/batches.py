"""Record batches of the Kafka log, version 2, by their headers alone: what a million ticks a second leaves time for.

Layout: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from bench.errors import Unmeasured

_HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = _HEADER.size
_BEFORE_LENGTH_ENDS = 12
_CRC_COVERS_FROM = 21
_LOG_APPEND_TIME = 0x08
_CONTROL = 0x20


class BatchHeader(NamedTuple):
    """One batch: where it begins in the bytes, its offsets, its timestamps (ms) and how many records it holds."""

    start: int
    stop: int
    base_offset: int
    last_offset: int
    base_timestamp: int
    max_timestamp: int
    records: int
    crc: int
    control: bool


def batch_headers(data: memoryview) -> Iterator[BatchHeader]:
    """The headers of all whole batches in a fetch response; the broker may cut off the last one. Raises Unmeasured."""
    at, end = 0, len(data)
    while at + HEADER_BYTES <= end:
        fields = _HEADER.unpack_from(data, at)
        base_offset, length, _, magic, crc, attributes, last_delta, base_ms, max_ms = fields[:9]
        stop = at + _BEFORE_LENGTH_ENDS + length
        if stop > end:
            return
        if magic != 2:
            raise Unmeasured(f"The topic holds a record batch of format {magic}, and the reader knows 2 only.")
        if attributes & _LOG_APPEND_TIME:
            raise Unmeasured("The topic's timestamps are the broker's, and the reader needs the producer's.")
        yield BatchHeader(
            at,
            stop,
            base_offset,
            base_offset + last_delta,
            base_ms,
            max_ms,
            fields[12],
            crc,
            bool(attributes & _CONTROL),
        )
        at = stop


def is_sound(data: memoryview, header: BatchHeader) -> bool:
    """Tell whether the batch's CRC-32C is the one in its header."""
    return bool(calc_crc32c(bytes(data[header.start + _CRC_COVERS_FROM : header.stop])) == header.crc)


def records_of(batch: bytes) -> Iterator[Any]:
    """The records of whole batches, one by one (``offset``, ``timestamp``, ``key``, ``value``)."""
    batches = MemoryRecords(batch)
    while batches.has_next():
        found = batches.next_batch()
        if found is not None and not found.is_control_batch:
            yield from found
