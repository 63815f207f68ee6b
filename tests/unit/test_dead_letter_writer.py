"""Dead letters: what is kept of a refused record, however large it is."""

from hashlib import sha256
from typing import Any

import pytest
from prometheus_client import REGISTRY

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput, Unhandled
from everwatch.kafka.clients import LARGEST_RECORD_BYTES
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.dead_letter_writer import DeadLetters
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Unreadable

TOPICS = Topics.of(Settings())
NOW = 1_800_000_000_000
# what a record has besides key, value and headers
FRAME_BYTES = 4_096


class Outbox:
    """Remembers what is sent."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}

    def send(self, topic: str, **record: Any) -> None:
        self.sent = {"topic": topic, **record}


def letter(key: bytes | None, value: bytes | None, error: InvalidInput | None = None) -> dict[str, Any]:
    """The dead letter of a record."""
    outbox = Outbox()
    dead_letters = DeadLetters(outbox, TOPICS, SettableClock(NOW), "worker")  # type: ignore[arg-type]
    dead_letters.put(Record("signups", 2, 7, 1, key, value), error or InvalidInput("it is wrong", "$.at"))
    return outbox.sent | {"said": {name: data.decode() for name, data in outbox.sent["headers"]}}


def size(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> int:
    return len(key or b"") + len(value or b"") + sum(len(name) + len(data) for name, data in headers)


def test_a_small_record_is_kept_as_it_was() -> None:
    kept = letter(b"ann", b"{}")
    assert (kept["topic"], kept["partition"], kept["key"], kept["value"]) == ("dead-letters", 2, b"ann", b"{}")
    assert kept["said"] == {
        "reason": "it is wrong",
        "path": "$.at",
        "code": "invalid",
        "source_topic": "signups",
        "source_partition": "2",
        "source_offset": "7",
        "source_timestamp": "1",
        "refused_at": str(NOW),
        "refused_by": "worker",
    }
    assert kept["shorter"]() is None


@pytest.mark.parametrize(("key", "value"), [(None, None), (b"", b""), (b"ann", None)])
def test_what_is_not_there_stays_so(key: bytes | None, value: bytes | None) -> None:
    kept = letter(key, value)
    assert (kept["key"], kept["value"]) == (key, value)


@pytest.mark.parametrize(
    ("key", "value", "cut"),
    [
        (b"k" * 3_000_000, b"{}", "key"),
        (b"ann", b"v" * 3_000_000, "value"),
        (b"k" * 3_000_000, b"v" * 3_000_000, "key,value"),
        (b"k" * 3_000_000, None, "key"),
    ],
)
def test_a_large_record_is_cut_to_what_a_record_may_have_and_says_what_it_was(
    key: bytes, value: bytes | None, cut: str
) -> None:
    kept = letter(key, value)
    for part in ((kept["key"], kept["value"], kept["headers"]), kept["shorter"]()):
        assert size(*part) + FRAME_BYTES < LARGEST_RECORD_BYTES
        said = {name: data.decode() for name, data in part[2]}
        assert said["cut"] == cut
        assert (said["key_length"], said["key_sha256"]) == (str(len(key)), sha256(key).hexdigest())
        if value is None:
            assert part[1] is None
        else:
            assert (said["value_length"], said["value_sha256"]) == (str(len(value)), sha256(value).hexdigest())
            assert value.startswith(part[1])
        assert key.startswith(part[0])
    assert size(*kept["shorter"]()) < size(kept["key"], kept["value"], kept["headers"]) / 10


def test_a_reason_that_quotes_what_was_sent_is_short_and_always_text() -> None:
    said = letter(b"ann", b"", InvalidInput(f"there is no field {'x' * 500_000!r}", f"$.{'x' * 500_000}"))["said"]
    assert len(said["reason"]) < 1_100
    assert len(said["path"]) < 1_100
    assert letter(b"ann", b"", InvalidInput("half a \ud83d"))["said"]["reason"] == r"half a \ud83d"


def test_a_record_that_nothing_is_known_to_be_wrong_with_says_how_it_failed() -> None:
    said = letter(b"ann", b"", Unhandled(OverflowError("int too big to convert")))["said"]
    assert said["reason"] == "it could not be handled: OverflowError: int too big to convert"
    assert said["code"] == "unhandled"


class SlowOutbox:
    """Remembers what is sent, and delivers when it is told to."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.is_full = False

    def send(self, topic: str, **record: Any) -> None:
        if self.is_full:
            raise BufferError
        self.sent.append(record)

    def deliver(self) -> None:
        for record in self.sent:
            record["on_delivered"](None)


@pytest.fixture
def outbox() -> SlowOutbox:
    return SlowOutbox()


@pytest.fixture
def dead_letters(outbox: SlowOutbox) -> DeadLetters:
    return DeadLetters(outbox, TOPICS, SettableClock(NOW), "worker")  # type: ignore[arg-type]


def test_a_record_that_is_refused_again_has_one_letter_and_whoever_waits_for_it_is_told(
    outbox: SlowOutbox, dead_letters: DeadLetters
) -> None:
    told: list[str] = []

    def refuse(name: str, value: bytes = b"{") -> None:
        dead_letters.put(Record("signups", 2, 7, 1, b"ann", value), InvalidInput("no"), lambda: told.append(name))

    refuse("first")
    refuse("under way")
    assert (len(outbox.sent), told) == (1, [])
    outbox.deliver()
    assert told == ["first", "under way"]
    refuse("later")
    assert (len(outbox.sent), told[2:]) == (1, ["later"])
    # of a topic that was made anew
    refuse("another record", b"}")
    assert len(outbox.sent) == 2


def test_a_batch_that_is_passed_over_again_has_one_letter(outbox: SlowOutbox, dead_letters: DeadLetters) -> None:
    for _ in range(2):
        dead_letters.put_unreadable(Unreadable("signups", 2, 7, 9, "bad"))
    dead_letters.put_unreadable(Unreadable("signups", 2, 9, 10, "bad"))
    assert len(outbox.sent) == 2


def test_what_is_counted_is_letters_and_not_how_often_they_were_asked_for(dead_letters: DeadLetters) -> None:
    record = Record("counted", 2, 7, 1, b"ann", b"{")
    for _ in range(3):
        dead_letters.put(record, InvalidInput("no"))
        dead_letters.put_unreadable(Unreadable("counted", 2, 8, 9, "bad"))
    counted = [
        REGISTRY.get_sample_value("everwatch_dead_letters_total", {"topic": "counted", "code": code})
        for code in ("invalid", "unreadable")
    ]
    assert counted == [1, 1]


def test_a_letter_that_the_producer_did_not_take_is_written_when_it_is_asked_for_again(
    outbox: SlowOutbox, dead_letters: DeadLetters
) -> None:
    record = Record("signups", 2, 7, 1, b"ann", b"{")
    outbox.is_full = True
    with pytest.raises(BufferError):
        dead_letters.put(record, InvalidInput("no"))
    outbox.is_full = False
    dead_letters.put(record, InvalidInput("no"))
    assert len(outbox.sent) == 1
