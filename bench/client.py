"""A Kafka client small enough to be no bottleneck: offsets and raw record batches over one blocking socket.

It speaks to the one embedded broker in the clear: ListOffsets 1, OffsetFetch 1 and Fetch 11 of the Kafka protocol
(https://kafka.apache.org/protocol). Independent of the clients that the worker uses.
"""

import select
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from threading import Event
from types import TracebackType
from typing import Any, NamedTuple, Self

from bench.batches import batch_headers, records_of
from bench.errors import Unmeasured

_FETCH, _LIST_OFFSETS, _OFFSET_FETCH = (1, 11), (2, 1), (9, 1)
_LATEST = -1
_MOST_BYTES = 64 * 1024 * 1024
_MOST_BYTES_A_PARTITION = 16 * 1024 * 1024
_ANSWER_WITHIN_S = 30.0
# unknown topic or partition, no leader yet, not the leader yet: a topic's first moments
_PASSING = frozenset({3, 5, 6})
_PATIENCE, _RETRY_S = 600, 0.1

Position = tuple[str, int]


class Fetched(NamedTuple):
    """Bytes that a fetch returned of one partition: whole batches, and perhaps the beginning of another."""

    topic: str
    partition: int
    data: memoryview


class KafkaClient:
    """One connection to a broker. Raises Unmeasured when the broker refuses or is gone."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._socket = _connected(bootstrap_servers)
        self._correlation = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ends(self, topic: str, partitions: int) -> list[int]:
        """The end offset of each partition; waits while a new topic has no leader."""
        asked = b"".join(struct.pack(">iq", number, _LATEST) for number in range(partitions))
        body = struct.pack(">ii", -1, 1) + _text(topic) + struct.pack(">i", partitions) + asked
        for _ in range(_PATIENCE):
            found = self._ends(body, topic, partitions)
            if found is not None:
                return found
            Event().wait(_RETRY_S)
        raise Unmeasured(f"Topic {topic} has partitions without a leader.")

    def _ends(self, body: bytes, topic: str, partitions: int) -> list[int] | None:
        answer = self._ask(_LIST_OFFSETS, body)
        found = [0] * partitions
        passing = False
        for _ in range(answer.integer(4)):
            answer.text()
            for _ in range(answer.integer(4)):
                number, error = answer.integer(4), answer.integer(2)
                passing |= _refused_for_now(error, f"partition {number} of {topic}")
                answer.integer(8)
                found[number] = answer.integer(8)
        return None if passing else found

    def committed(self, group: str, topic: str, partitions: int) -> list[int]:
        """The offset that the consumer group has acknowledged on each partition, 0 where none."""
        asked = struct.pack(f">i{partitions}i", partitions, *range(partitions))
        answer = self._ask(_OFFSET_FETCH, _text(group) + struct.pack(">i", 1) + _text(topic) + asked)
        found = [0] * partitions
        for _ in range(answer.integer(4)):
            answer.text()
            for _ in range(answer.integer(4)):
                number = answer.integer(4)
                found[number] = max(0, answer.integer(8))
                answer.text()
                answer.integer(2)
        return found

    def fetch(self, positions: Mapping[Position, int], *, wait_ms: int) -> Iterator[Fetched]:
        """Fetch records at these offsets as soon as there are any; nothing after ``wait_ms``."""
        by_topic: dict[str, list[bytes]] = {}
        for (topic, number), offset in positions.items():
            asked = struct.pack(">iiqqi", number, -1, offset, -1, _MOST_BYTES_A_PARTITION)
            by_topic.setdefault(topic, []).append(asked)
        topics = b"".join(
            _text(topic) + struct.pack(">i", len(asked)) + b"".join(asked) for topic, asked in by_topic.items()
        )
        head = struct.pack(">iiiibiii", -1, wait_ms, 1, _MOST_BYTES, 0, 0, -1, len(by_topic))
        answer = self._ask(_FETCH, head + topics + struct.pack(">i", 0) + _text(""))
        answer.integer(4)
        _refused_for_now(answer.integer(2), "a fetch")
        answer.integer(4)
        for _ in range(answer.integer(4)):
            topic = answer.text()
            for _ in range(answer.integer(4)):
                number, error = answer.integer(4), answer.integer(2)
                passing = _refused_for_now(error, f"partition {number} of {topic}")
                answer.skip(24)
                answer.skip(16 * max(0, answer.integer(4)))
                answer.integer(4)
                data = answer.bytes()
                if data and not passing:
                    yield Fetched(topic, number, data)

    def records(self, topic: str, begin: Sequence[int], end: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """All records between these offsets, each with its partition: (partition, record)."""
        at = {(topic, number): offset for number, offset in enumerate(begin) if offset < end[number]}
        while at:
            progressed = False
            for fetched in self.fetch(at, wait_ms=5_000):
                number = fetched.partition
                offsets = range(begin[number], end[number])
                for header in batch_headers(fetched.data):
                    if (topic, number) not in at:
                        break
                    records = records_of(bytes(fetched.data[header.start : header.stop]))
                    yield from ((number, record) for record in records if record.offset in offsets)
                    progressed = True
                    at[topic, number] = header.last_offset + 1
                    if at[topic, number] >= end[number]:
                        del at[topic, number]
            if not progressed:
                raise Unmeasured(f"Topic {topic} could not be read to its end.")

    def _ask(self, what: tuple[int, int], body: bytes) -> "_Answer":
        self._correlation += 1
        request = struct.pack(">hhi", *what, self._correlation) + _text("everwatch-bench") + body
        try:
            self._call_again_if_hung_up()
            self._socket.sendall(struct.pack(">i", len(request)) + request)
            size = struct.unpack(">i", self._receive(4))[0]
            answer = _Answer(self._receive(size))
        except OSError as error:
            raise Unmeasured(f"The broker hung up or did not answer within {_ANSWER_WITHIN_S:g} s: {error}.") from None
        answer.integer(4)
        return answer

    def _call_again_if_hung_up(self) -> None:
        # as a broker does after ten minutes without a request; nothing is under way, so what can be read is the end
        if select.select([self._socket], [], [], 0)[0]:
            self._socket.close()
            self._socket = _connected(self._bootstrap_servers)

    def _receive(self, size: int) -> memoryview:
        data = memoryview(bytearray(size))
        got = 0
        while got < size:
            more = self._socket.recv_into(data[got:])
            if not more:
                raise ConnectionResetError("the connection ended")
            got += more
        return data


def _connected(bootstrap_servers: str) -> socket.socket:
    host, _, port = bootstrap_servers.split(",")[0].rpartition(":")
    try:
        connection = socket.create_connection((host, int(port)), timeout=_ANSWER_WITHIN_S)
    except OSError as error:
        raise Unmeasured(f"The broker at {bootstrap_servers} cannot be reached: {error}.") from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class _Answer:
    """The bytes of an answer, read from the front."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def skip(self, size: int) -> None:
        self._at += size

    def integer(self, size: int) -> int:
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big", signed=True)

    def text(self) -> str:
        size = max(0, self.integer(2))
        self._at += size
        return bytes(self._data[self._at - size : self._at]).decode()

    def bytes(self) -> memoryview:
        size = max(0, self.integer(4))
        self._at += size
        return self._data[self._at - size : self._at]


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def _refused_for_now(error: int, what: str) -> bool:
    """Tell whether the broker's error is transient. Raises Unmeasured if it is not."""
    if error and error not in _PASSING:
        raise Unmeasured(f"The broker refused {what} with error code {error}.")
    return error in _PASSING
