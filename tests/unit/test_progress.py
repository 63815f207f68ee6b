"""Progress, read from a topic that other producers may have written to."""

from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from everwatch.kafka.progress import Noted, read_progress
from everwatch.rules.changelog_marks import Mark

UNREADABLE = b"a batch that cannot be unpacked"


class Message:
    def __init__(
        self, offset: int, value: bytes | None, headers: dict[str, bytes], error: int | None = None, at: int = 0
    ) -> None:
        self._offset, self._value, self._headers = offset, value, headers
        self._at = at
        self._error = None if error is None else KafkaError(error)

    def topic(self) -> str:
        return "progress"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, self._at

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

    def __init__(self, log: list[tuple[bytes | None, dict[str, bytes]]], written_at: int = 0) -> None:
        self._log = log
        self._written_at = written_at
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
        found = [Message(offset, *self._log[offset], at=self._written_at) for offset in range(at, len(self._log))]
        for place, message in enumerate(found):
            if message.value() == UNREADABLE:
                # reported once, and nothing behind it comes
                return [*found[:place], Message(message.offset(), None, {}, KafkaError._BAD_COMPRESSION)]
        return [*found, Message(len(self._log), None, {}, KafkaError._PARTITION_EOF)]

    def pause(self, _: object) -> None: ...

    def resume(self, _: object) -> None: ...

    def unassign(self) -> None: ...


def noted(*log: tuple[bytes | None, dict[str, bytes]], written_at: int = 0) -> tuple[dict[int, Noted], Client]:
    client: Any = Client(list(log), written_at)
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


def test_a_batch_that_cannot_be_read_hides_nothing_behind_it_and_nothing_before_it() -> None:
    bomb: tuple[bytes, dict[str, bytes]] = (UNREADABLE, {})
    some: list[tuple[bytes, dict[str, bytes]]] = [(b"%d" % instant, {}) for instant in range(1_000, 1_300)]
    # whatever follows it is found: the worker that has just been killed may have written little or much
    for behind in range(80):
        written = [*some, bomb, *[(b"%d" % instant, {}) for instant in range(2_000, 2_000 + behind)]]
        assert noted(*written)[0] == {0: Noted(1_999 + behind if behind else 1_299, None)}
    assert noted(*some, bomb, (b"2000", {}), bomb, bomb)[0] == {0: Noted(1_299, None)}
    assert noted(bomb, bomb)[0] == {}
    assert noted(bomb, *[(b"x", {})] * 1_000, (b"1800", {}))[0] == {0: Noted(1_800, None)}


def test_an_instant_that_no_worker_can_have_reached_counts_as_no_record() -> None:
    ahead = 1_800_000_000_000
    notes: list[tuple[bytes, dict[str, bytes]]] = [(b"%d" % (ahead + 3_600_000), {}), (b"9" * 15, {})]
    assert noted((b"%d" % ahead, {}), *notes, written_at=ahead - 1)[0] == {0: Noted(ahead, None, noted_at=ahead - 1)}
