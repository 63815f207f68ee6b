"""The independent reader: a process of its own that notes when each record batch arrives, and what its header says.

It decodes no record while the load runs, so that it is no bottleneck; a batch whose records have different timestamps
is kept and decoded at the end. Arrival is when the batch is here in full, so the reader's own delay counts as lateness.
"""

import multiprocessing
import signal
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from bench.batches import batch_headers, is_sound, records_of
from bench.client import KafkaClient, Position
from bench.errors import Unmeasured

ANSWER_WITHIN_S = 120.0
_FIELDS = 5
# lets batches gather, so that the reader takes little of a core that the worker needs; it counts as lateness
_PAUSE_S = 0.002
_MOST_KEPT_BYTES = 512 * 1024 * 1024


@dataclass
class Reading:
    """Records that were read. ``rows`` is flat: arrival (ms), topic number, partition, instant (ms), count, and so on.

    ``positions`` are where reading ended, ``unsound`` batches had a wrong CRC, ``cpu_s`` is the
    reader's own, in ``seconds`` of time.
    """

    topics: list[str]
    rows: "array[int]" = field(default_factory=lambda: array("q"))
    positions: dict[Position, int] = field(default_factory=dict)
    batches: int = 0
    bytes_read: int = 0
    unsound: int = 0
    cpu_s: float = 0.0
    seconds: float = 0.0

    def add(self, arrival: int, topic: str, partition: int, instant: int, count: int) -> None:
        """Note ``count`` records."""
        self.rows.extend((arrival, self.topics.index(topic), partition, instant, count))

    def arrivals(self, topic: str) -> Iterator[tuple[int, int, int, int]]:
        """(arrival, partition, instant, count) of all that was read of the topic."""
        rows, wanted = iter(self.rows), self.topics.index(topic)
        for arrival, number, partition, instant, count in zip(*[rows] * _FIELDS, strict=True):
            if number == wanted:
                yield arrival, partition, instant, count


class Reader:
    """A reader that runs; ``stop()`` ends it and gives what it read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def stop(self) -> Reading:
        """Return the records read so far. Raises Unmeasured."""
        self._connection.send(None)
        return _answer_of(self._connection)


@contextmanager
def reading(bootstrap_servers: str, positions: Mapping[Position, int]) -> Iterator[Reader]:
    """Read these partitions from these offsets on; reading has begun when this returns."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (bootstrap_servers, dict(positions), theirs)
    process = context.Process(target=_run, args=arguments, daemon=True, name="bench-reader")
    process.start()
    theirs.close()
    try:
        _answer_of(ours)
        yield Reader(ours)
    finally:
        ours.close()
        process.terminate()
        process.join()


def _answer_of(connection: Connection) -> Reading:
    try:
        answer = connection.recv() if connection.poll(ANSWER_WITHIN_S) else "The reader did not answer."
    except EOFError:
        answer = "The reader ended by itself."
    if isinstance(answer, Reading):
        return answer
    raise Unmeasured(str(answer))


def _run(bootstrap_servers: str, positions: dict[Position, int], connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        with KafkaClient(bootstrap_servers) as client:
            connection.send(Reading([]))
            connection.send(_read(client, positions, connection))
    except Unmeasured as error:
        connection.send(str(error))
    except (EOFError, BrokenPipeError):
        return  # the reader has been stopped


def _read(client: KafkaClient, positions: dict[Position, int], connection: Connection) -> Reading:
    topics = sorted({topic for topic, _ in positions})
    read = Reading(topics, positions=positions)
    mixed: list[tuple[int, str, int, bytes]] = []
    kept_bytes = 0
    cpu_s, began_s = time.process_time(), time.monotonic()
    while not connection.poll():
        time.sleep(_PAUSE_S)
        for fetched in client.fetch(positions, wait_ms=200):
            arrival = time.time_ns() // 1_000_000
            data, position = fetched.data, (fetched.topic, fetched.partition)
            for header in batch_headers(data):
                if header.last_offset < positions[position]:
                    continue
                positions[position] = header.last_offset + 1
                read.batches += 1
                read.bytes_read += header.stop - header.start
                read.unsound += not is_sound(data, header)
                if header.control:
                    continue
                if header.base_timestamp == header.max_timestamp:
                    read.add(arrival, fetched.topic, fetched.partition, header.base_timestamp, header.records)
                    continue
                kept = arrival, fetched.topic, fetched.partition, bytes(data[header.start : header.stop])
                kept_bytes += len(kept[3])
                mixed.append(kept)
                if kept_bytes > _MOST_KEPT_BYTES:
                    kept_bytes = _unfold(read, mixed)
    connection.recv()
    read.cpu_s, read.seconds = time.process_time() - cpu_s, time.monotonic() - began_s
    _unfold(read, mixed)
    return read


def _unfold(read: Reading, mixed: list[tuple[int, str, int, bytes]]) -> int:
    """Note the records of kept batches one instant at a time; gives the bytes that are kept now."""
    for arrival, topic, partition, batch in mixed:
        for instant, count in Counter(record.timestamp for record in records_of(batch)).items():
            read.add(arrival, topic, partition, instant, count)
    mixed.clear()
    return 0
