"""Compression codecs of Kafka's message format, set for speed rather than size."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass

import cramjam
from aiokafka import codec


@dataclass(frozen=True)
class Codec:
    """One compression: its number in a batch's attributes, and both directions."""

    code: int
    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]


def codec_named(name: str) -> Codec:
    """The compression that the setting ``compression`` names."""
    return _CODECS[name]


def _lz4_pack(data: bytes) -> bytes:
    # Kafka wants independent blocks (KIP-57); a chunk is packed again whenever it changes, so speed is worth more
    compressor = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
    compressor.compress(data)
    return bytes(compressor.finish())


def _zstd_pack(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data, level=1))


_CODECS = {
    "none": Codec(0, bytes, bytes),
    "gzip": Codec(1, lambda data: gzip.compress(data, 1, mtime=0), gzip.decompress),
    "snappy": Codec(2, codec.snappy_encode, lambda data: bytes(codec.snappy_decode(data))),
    "lz4": Codec(3, _lz4_pack, lambda data: bytes(cramjam.lz4.decompress(data))),
    "zstd": Codec(4, _zstd_pack, lambda data: bytes(cramjam.zstd.decompress(data))),
}
