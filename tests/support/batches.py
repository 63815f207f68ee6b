"""Record batches as no honest client makes them, sent as they are."""

import asyncio
from collections.abc import Iterable
from functools import cache

import cramjam
from aiokafka import AIOKafkaProducer
from aiokafka.codec import snappy_encode
from aiokafka.errors import KafkaError

from everwatch.kafka.stamped_batch import StampedBatch

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_CHUNK = 1024 * 1024
_STREAMS = {
    "gzip": cramjam.gzip.Compressor,
    # Kafka reads independent blocks only (KIP-57)
    "lz4": lambda: cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False),
    "zstd": cramjam.zstd.Compressor,
}


def varint(number: int) -> bytes:
    """A zigzag varint, as in records."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def packed(pieces: Iterable[bytes], codec: str) -> bytes:
    """Pieces compressed as one stream, as Kafka reads it; but for snappy it is never in memory as a whole."""
    if codec in ("none", "snappy"):
        whole = b"".join(pieces)
        return snappy_encode(whole) if codec == "snappy" else whole
    compressor = _STREAMS[codec]()
    for piece in pieces:
        compressor.compress(piece)
    return bytes(compressor.finish())


def record(offset_delta: int, key: bytes, value: Iterable[bytes], length: int) -> Iterable[bytes]:
    """A record whose value of ``length`` bytes comes in pieces."""
    head = b"\0" + varint(0) + varint(offset_delta) + varint(len(key)) + key + varint(length)
    yield varint(len(head) + length + 1) + head
    yield from value
    yield b"\0"


def zeros(length: int) -> Iterable[bytes]:
    """So many zero bytes, in pieces."""
    for _ in range(length // _CHUNK):
        yield bytes(_CHUNK)
    yield bytes(length % _CHUNK)


def bomb(codec: str, size: int, timestamp_ms: int, key: bytes = b"bomb", honest: int = 0) -> StampedBatch:
    """A batch with a record that unpacks to ``size`` zeros, behind ``honest`` small ones."""
    return StampedBatch(_packed_bomb(codec, size, key, honest), honest + 1, CODECS[codec], timestamp_ms, 0)


@cache
def _packed_bomb(codec: str, size: int, key: bytes, honest: int) -> bytes:
    def records() -> Iterable[bytes]:
        for number in range(honest):
            yield from record(number, key, [b"{}"], 2)
        yield from record(honest, key, zeros(size), size)

    return packed(records(), codec)


def send_batches(bootstrap_servers: str, batches: Iterable[tuple[str, int, StampedBatch]]) -> list[int | None]:
    """Send batches to (topic, partition); gives the first offset of each, None for one that the broker refused."""
    return asyncio.run(_send(bootstrap_servers, batches))


async def _send(bootstrap_servers: str, batches: Iterable[tuple[str, int, StampedBatch]]) -> list[int | None]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", max_request_size=8 * _CHUNK)
    await producer.start()
    offsets: list[int | None] = []
    try:
        for topic, partition, batch in batches:
            try:
                sent = await producer.send_batch(batch, topic, partition=partition)
                offsets.append((await sent).offset)
            except KafkaError:  # for its size, or its content
                offsets.append(None)
    finally:
        await producer.stop()
    return offsets
