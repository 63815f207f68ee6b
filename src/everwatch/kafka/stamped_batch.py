"""Stamped batches: record batches whose records are kept ready and get their instant when they are sent.

All that changes from one time to the next stands in the batch's header: the base timestamp (records carry only their
distance from it), who sends it with which sequence number, and the CRC-32C over the rest. So a batch is stamped, not
built. ``StampedBatch`` is what ``AIOKafkaProducer.send_batch`` takes in place of its own builder.
"""

import struct

from aiokafka.record.util import calc_crc32c

# base offset, length, partition leader epoch, magic, CRC | attributes, last offset delta, base and max timestamp,
# producer id and epoch, base sequence, record count (Kafka's protocol documentation, message format v2)
_HEADER = struct.Struct(">qiibIhiqqqhii")
_CRC = struct.Struct(">I")
_CRC_AT = 17
_CHECKED_FROM = 21
_LENGTH_FROM = 12


class StampedBatch:
    """One batch on its way. ``records`` are packed with the compression ``code``, ``count`` of them."""

    __slots__ = ("_buffer", "_code", "_count", "_producer", "_records", "_timestamp", "max_timestamp")

    def __init__(self, records: bytes, count: int, code: int, timestamp_ms: int, reach_ms: int) -> None:
        self._records = records
        self._count = count
        self._code = code
        self._timestamp = timestamp_ms
        self.max_timestamp = timestamp_ms + reach_ms
        self._producer = (-1, -1, -1)
        self._buffer: bytearray | None = None

    def record_count(self) -> int:
        """Return the number of its records."""
        return self._count

    def size(self) -> int:
        """Bytes of the whole batch."""
        return _HEADER.size + len(self._records)

    def closed(self) -> bool:
        """Nothing can be added."""
        return True

    def close(self) -> None:
        """It is closed."""

    def stamp(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        """Set its producer, and its first record's sequence number."""
        self._producer = (producer_id, producer_epoch, base_sequence)

    def encoded(self) -> bytearray:
        """Return the bytes that go out; the same ones when a batch is sent again."""
        if self._buffer is None:
            size = self.size()
            buffer = bytearray(size)
            _HEADER.pack_into(
                buffer, 0,
                0, size - _LENGTH_FROM, -1, 2, 0,
                self._code, self._count - 1, self._timestamp, self.max_timestamp,
                *self._producer, self._count,
            )  # fmt: skip
            buffer[_HEADER.size :] = self._records
            with memoryview(buffer) as whole:
                _CRC.pack_into(buffer, _CRC_AT, calc_crc32c(whole[_CHECKED_FROM:]))
            self._buffer = buffer
        return self._buffer

    # as aiokafka calls them
    _set_producer_state = stamp
    _build = encoded
