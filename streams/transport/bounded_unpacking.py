"""Bound on the memory that aiokafka takes for a record batch that it unpacks: by itself it unpacks whatever comes.

librdkafka has such a bound for zstd alone (``receive.message.max.bytes``); this is the same one, for all codecs whose
batches can be hundreds of times larger than they came.
"""

import sys
from collections.abc import Callable

import cramjam
from aiokafka.record import default_records

from everwatch.kafka.clients import MEMORY

LARGEST_BYTES = int(str(MEMORY["receive.message.max.bytes"]))
# most batches unpack to less than so many times what they came as
_USUAL_RATIO = 16
_CODECS = {"gzip_decode": cramjam.gzip, "lz4_decode": cramjam.lz4, "zstd_decode": cramjam.zstd}


def bound_unpacking() -> None:
    """Have aiokafka refuse batches that unpack to more than LARGEST_BYTES, in this process."""
    # compiled or not, it looks its codecs up by these names
    module = sys.modules[default_records.DefaultRecordBatch.__module__]
    for name, codec in _CODECS.items():
        assert hasattr(module, name)
        setattr(module, name, _bounded(codec.decompress_into))


def _bounded(unpack_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes], bytes]:
    def unpack(payload: bytes) -> bytes:
        """Return what a payload unpacks to. Raises DecompressionError if that is too much, or cannot be done."""
        size = _USUAL_RATIO * len(payload)
        while True:
            room = bytearray(min(size, LARGEST_BYTES))
            try:
                return bytes(memoryview(room)[: unpack_into(payload, room)])
            except cramjam.DecompressionError:
                if size >= LARGEST_BYTES:
                    raise
            size *= _USUAL_RATIO

    return unpack
