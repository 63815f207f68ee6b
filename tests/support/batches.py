"""Record batches as no honest client makes them, sent as they are."""

import asyncio
from collections.abc import Iterable

import cramjam
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from everwatch.kafka.stamped_batch import StampedBatch

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_CHUNK = 1024 * 1024


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
    """Pieces compressed as one stream, which is never in memory as a whole."""
    if codec == "none":
        return b"".join(pieces)
    module = {"gzip": cramjam.gzip, "snappy": cramjam.snappy, "lz4": cramjam.lz4, "zstd": cramjam.zstd}[codec]
    compressor = module.Compressor()
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

    def records() -> Iterable[bytes]:
        for number in range(honest):
            yield from record(number, key, [b"{}"], 2)
        yield from record(honest, key, zeros(size), size)

    return StampedBatch(packed(records(), codec), honest + 1, CODECS[codec], timestamp_ms, 0)


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
