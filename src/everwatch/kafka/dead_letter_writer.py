"""The one writer of dead letters: refused records with their reason and origin."""

import threading
from collections.abc import Callable, Hashable
from functools import partial
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

from confluent_kafka import Message

from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.outbox import Headers, OnDelivered, Outbox, Shorter
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Unreadable
from everwatch.observability.metrics import DEAD_LETTERS

# a kind of another package may refuse with a code of its own, which must not become a series
_CODES = frozenset(RefusalCode)

# about 20 MB; more than there are records in the batches that a process has under way
MOST_REMEMBERED = 50_000


class Room(NamedTuple):
    """Bytes of a refused record that are kept: of its key, and of key and value together."""

    key: int
    both: int


# what came compressed may be larger than any record that we send
ROOM = Room(500_000, 1_500_000)
# where the topic was made with a smaller max.message.bytes than ours
LITTLE_ROOM = Room(8_000, 32_000)


class _Written:
    """The newest ``MOST_REMEMBERED`` letters that were requested, so that none is written twice. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # of each the waiters for its delivery; None once it is delivered
        self._known: dict[Hashable, list[Callable[[], None]] | None] = {}

    def begin(self, letter: Hashable, on_delivered: Callable[[], None] | None) -> OnDelivered | None:
        """Return the delivery callback of a letter; None if the letter was requested before."""
        told = [on_delivered] if on_delivered is not None else []
        with self._lock:
            if letter not in self._known:
                self._known[letter] = told
                if len(self._known) > MOST_REMEMBERED:
                    del self._known[next(iter(self._known))]
                return partial(self._delivered, letter, told)
            waiting = self._known[letter]
            if waiting is not None:
                waiting += told
                return None
        for tell in told:
            tell()
        return None

    def forget(self, letter: Hashable) -> None:
        """Note that the producer did not take the letter."""
        with self._lock:
            self._known.pop(letter, None)

    def _delivered(self, letter: Hashable, waiting: list[Callable[[], None]], _message: Message) -> None:
        with self._lock:
            if letter in self._known:
                self._known[letter] = None
        for tell in waiting:
            tell()


class _Content(NamedTuple):
    """A letter, and the shorter one for a topic that does not take it for its size."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    shorter: Callable[[], Shorter | None] | None = None


class DeadLetters:
    """Puts refused records on the topic ``dead-letters``, in the partition that they came from.

    A record that is refused once more by the same process (its batch is retried, or its partition came back before its
    offset was committed) has its letter already: no other one is written.

    ``process``: the process that refuses (``worker``, ``executor``, ``sink``, ``notifier``); two processes that read a
    record may each refuse it.
    """

    def __init__(self, outbox: Outbox, topics: Topics, clock: Clock, process: str) -> None:
        self._outbox = outbox
        self._topic = topics.dead_letters
        self._clock = clock
        self._process = process.encode()
        self._written = _Written()

    def put(self, source: Record, error: InvalidInput, on_delivered: Callable[[], None] | None = None) -> None:
        """Queue one; it is durable when the outbox has delivered it. ``on_delivered`` may be called in another thread.

        Should the topic not take it for its size, a shorter one is sent in its place.
        """
        headers = [
            *self._headers(error, source.topic, source.partition, source.offset),
            ("source_timestamp", str(source.timestamp_ms).encode()),
        ]
        # a topic that is made anew has the same offsets once more, and other records
        content = crc32(source.key or b""), crc32(source.value or b"")
        letter = source.topic, source.partition, source.offset, source.timestamp_ms, *content
        key, value, cut = _fitted(source, ROOM)

        def shorter() -> Shorter | None:
            short_key, short_value, more = _fitted(source, LITTLE_ROOM)
            return (short_key, short_value, headers + more) if more else None

        if self._send(letter, on_delivered, _Content(source.partition, key, value, headers + cut, shorter)):
            _count(source.topic, error)

    def put_unreadable(self, each: Unreadable, on_delivered: Callable[[], None] | None = None) -> None:
        """Queue one letter for a batch that cannot be read: its offsets and the reason, and nothing of its records.

        ``source_offset`` is the first of the offsets, ``source_last_offset`` the last.
        """
        headers = [
            *self._headers(each.refusal, each.topic, each.partition, each.first),
            ("source_last_offset", str(each.end - 1).encode()),
            ("cut", b"key,value"),
        ]
        if self._send(each[:4], on_delivered, _Content(each.partition, None, None, headers)):
            _count(each.topic, each.refusal)

    def _send(self, letter: Hashable, on_delivered: Callable[[], None] | None, content: "_Content") -> bool:
        """Queue a letter; False if it was asked for before."""
        delivered = self._written.begin(letter, on_delivered)
        if delivered is None:
            return False
        try:
            self._outbox.send(
                self._topic,
                **content._asdict(),
                on_delivered=delivered,
            )
        except BaseException:
            self._written.forget(letter)
            raise
        return True

    def _headers(self, error: InvalidInput, topic: str, partition: int, offset: int) -> Headers:
        return [
            ("reason", _bytes(error.reason)),
            ("path", _bytes(error.path)),
            ("code", _bytes(error.code)),
            ("source_topic", topic.encode()),
            ("source_partition", str(partition).encode()),
            ("source_offset", str(offset).encode()),
            ("refused_at", str(self._clock.now_ms()).encode()),
            ("refused_by", self._process),
        ]


def _count(topic: str, error: InvalidInput) -> None:
    DEAD_LETTERS.labels(topic, error.code if error.code in _CODES else RefusalCode.INVALID).inc()


def _fitted(source: Record, room: Room) -> tuple[bytes | None, bytes | None, Headers]:
    """As much of key and value as there is room for, and the headers that name the missing parts."""
    key, value = source.key, source.value
    kept_key = key[: room.key] if key else key
    left = room.both - len(kept_key or b"")
    kept_value = value[:left] if value else value
    cut = [
        name
        for name, whole, kept in (("key", key, kept_key), ("value", value, kept_value))
        if len(whole or b"") > len(kept or b"")
    ]
    if not cut:
        return key, value, []
    headers: Headers = [("cut", ",".join(cut).encode())]
    for name, whole in (("key", key), ("value", value)):
        if whole is not None:
            headers += [
                (f"{name}_length", str(len(whole)).encode()),
                (f"{name}_sha256", sha256(whole).hexdigest().encode()),
            ]
    return kept_key, kept_value, headers


def _bytes(text: str) -> bytes:
    # a kind of another package may give a name that is not text
    return text.encode(errors="backslashreplace")
