"""Progress, read from a topic that other producers may have written to."""

from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from everwatch.kafka.progress import Noted, read_progress
from everwatch.rules.changelog_marks import Mark


class Message:
    def __init__(self, offset: int, value: bytes | None, headers: dict[str, bytes], error: int | None = None) -> None:
        self._offset, self._value, self._headers = offset, value, headers
        self._error = None if error is None else KafkaError(error)

    def topic(self) -> str:
        return "progress"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def key(self) -> bytes:
        return b"0"

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self._headers.items())

    def error(self) -> KafkaError | None:
        return self._error


class Client:
    """A consumer of the one partition that reports its end."""

    def __init__(self, log: list[tuple[bytes | None, dict[str, bytes]]]) -> None:
        self._log = log
        self._at: int | None = None
        self.begun_at: list[int] = []

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, len(self._log)

    def assign(self, positions: list[TopicPartition]) -> None:
        (position,) = positions
        self._at = position.offset
        self.begun_at.append(position.offset)

    def consume(self, most: int, timeout: float) -> list[Message]:
        at, self._at = self._at, None
        if at is None:
            return []
        found = [Message(offset, *self._log[offset]) for offset in range(at, len(self._log))]
        return [*found, Message(len(self._log), None, {}, KafkaError._PARTITION_EOF)]

    def pause(self, _: object) -> None: ...

    def resume(self, _: object) -> None: ...

    def unassign(self) -> None: ...


def noted(*log: tuple[bytes | None, dict[str, bytes]]) -> tuple[dict[int, Noted], Client]:
    client: Any = Client(list(log))
    return read_progress(client, "progress", [0]), client


def test_what_is_no_instant_counts_as_no_record() -> None:
    mark = Mark("id", 7, 3, "me")
    right: tuple[bytes, dict[str, bytes]] = (b"1800", {"changelog": mark.encode(), "undecodable": b"2"})
    wrong: list[tuple[bytes | None, dict[str, bytes]]] = [
        (value, {}) for value in (b"no number", b"-5", b"1e3", None, b"", b"9" * 5_000, "\u0661".encode())
    ]
    assert noted((b"1700", {}), right, *wrong)[0] == {0: Noted(1_800, mark, 2)}
    assert noted(*wrong)[0] == {}
    assert noted()[0] == {}


def test_a_flood_of_what_is_no_instant_is_read_past() -> None:
    found, client = noted((b"1800", {}), *[(b"x", {})] * 1_000)
    assert found == {0: Noted(1_800, None)}
    assert client.begun_at == [901, 0]
