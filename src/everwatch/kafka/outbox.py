"""Sending records so that one can wait until they are durable."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from everwatch.core.errors import BrokerUnavailable, EverwatchError
from everwatch.kafka.access_errors import refused, write_to
from everwatch.kafka.full_queue import produce
from everwatch.observability.metrics import PRODUCER_ERRORS

Headers = list[tuple[str, bytes]]
OnDelivered = Callable[[Message], None]
Shorter = tuple[bytes | None, bytes | None, Headers]
"""Key, value and headers of a record."""
QUEUE_ENOUGH = 200_000
# what a broker refuses a record for, whenever it is sent: its size, its timestamp
_SIZE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
# the last one is that of the other records of a batch in which one was refused: in that batch they fail each time
_RECORD_REFUSED = _SIZE | {
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError._INVALID_DIFFERENT_RECORD,
}


class Substitute(NamedTuple):
    """A record that is sent in the place of one that the broker refuses, to the same partition of ``topic``."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


SubstituteFor = Callable[[KafkaError], Substitute | None]


class Outbox:
    """A librdkafka producer with a barrier: ``delivered()`` returns when all that was sent before is on the broker.

    ``send`` may be called from the event loop only; delivery callbacks run in the outbox's own thread.
    A record that could not be delivered fails every later ``delivered()``: the process should end, and its successor
    starts from what is durable. ``on_failed`` is called with the error, in the event loop. A successor that reads the
    same input would fail at a record that the broker refuses for its own sake: records that a topic may refuse so while
    it takes others are sent with ``shorter`` or ``instead``.
    """

    def __init__(
        self,
        producer: Producer,
        on_failed: Callable[[EverwatchError], None] | None = None,
        queue_enough: int = QUEUE_ENOUGH,
    ) -> None:
        self._queue_enough = queue_enough
        self._producer = producer
        self._on_failed = on_failed
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._failure: EverwatchError | None = None
        self._groups: defaultdict[Hashable, _Group] = defaultdict(_Group)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="outbox", daemon=True)
        self._thread.start()

    def send(
        self,
        topic: str,
        *,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int = 0,
        headers: Headers | None = None,
        on_delivered: OnDelivered | None = None,
        group: Hashable = None,
        shorter: Callable[[], Shorter | None] | None = None,
        instead: Callable[[str], Substitute | None] | None = None,
        may_be_lost: bool = False,
    ) -> None:
        """Queue one record; ``on_delivered`` is called in another thread once the broker has it.

        ``shorter`` is asked, in that thread, for what to send in its place should the broker refuse it for its size;
        ``instead``, with the reason, should the broker refuse it, or another record of its batch, for its size or its
        timestamp. A record that the producer refuses outright (too large) raises here and is not waited for.
        ``may_be_lost``: if it cannot be delivered, no ``delivered()`` fails for that.
        """
        gathered = self._groups[group]
        stretch = gathered.stretches[-1]
        stretch.sent += 1
        extra: dict[str, Any] = {"headers": headers} if headers else {}
        substitute: SubstituteFor | None = None
        if shorter is not None:
            substitute = partial(_shorter_one, topic, shorter)
        elif instead is not None:
            substitute = partial(_one_instead, instead)
        try:
            produce(
                self._producer,
                topic,
                value=value,
                key=key,
                partition=partition,
                timestamp=timestamp_ms,
                on_delivery=self._callback(gathered, stretch, on_delivered, partition, substitute, may_be_lost),
                **extra,
            )
        except BaseException:
            stretch.sent -= 1
            raise

    async def delivered(self, group: Hashable = None) -> None:
        """Wait until everything sent so far with this ``group`` is durable.

        Raises BrokerUnavailable when something could not be sent, AccessError when it may not be.
        """
        gathered = self._groups[group]
        with self._lock:
            if gathered.stretches[-1].sent:
                gathered.stretches.append(_Stretch())
            gathered.count_ended()
            if self._failure is None and len(gathered.stretches) == 1:
                return
            waiter: asyncio.Future[None] = self._loop.create_future()
            gathered.waiting.append((gathered.ended + len(gathered.stretches) - 1, waiter))
        self._wake(gathered)
        await waiter

    @property
    def queued(self) -> int:
        """Records that the broker has not acknowledged yet."""
        return len(self._producer)

    async def room(self) -> None:
        """Wait until the queue is far from full; for callers that send many records between two barriers."""
        while len(self._producer) > self._queue_enough:  # noqa: ASYNC110 - librdkafka has no callback for a queue that shrinks
            await asyncio.sleep(0.02)

    async def close(self, timeout_s: float = 8) -> int:
        """Send the queued records for at most ``timeout_s`` and stop; gives the number of records left behind."""
        left = await asyncio.to_thread(self._producer.flush, timeout_s)
        self._closed.set()
        await asyncio.to_thread(self._thread.join)
        return int(left)

    def _callback(
        self,
        gathered: "_Group",
        stretch: "_Stretch",
        on_delivered: OnDelivered | None,
        partition: int,
        substitute: SubstituteFor | None,
        may_be_lost: bool = False,
    ) -> Callable[[KafkaError | None, Message], None]:
        def counted(error: KafkaError | None, message: Message) -> None:
            failure: EverwatchError | None = None
            if (
                error is not None
                and substitute is not None
                and self._send_substitute(partition, substitute, error, again)
            ):
                return
            if error is not None:
                PRODUCER_ERRORS.labels(message.topic() or "").inc()
                failure = None if may_be_lost else _undelivered(error, message)
            elif on_delivered is not None:
                try:
                    on_delivered(message)
                except Exception as problem:
                    # raised here, it would end the outbox's thread, and every barrier would wait forever
                    failure = BrokerUnavailable(
                        f"What follows the delivery of a record for topic {message.topic()} failed: {problem!r}."
                    )
            if failure is not None:
                # before it counts as done: no barrier may open for what failed
                self._fail(failure)
            with self._lock:
                stretch.done += 1
                look = stretch.done == stretch.sent
            if look and gathered.waiting:
                self._wake(gathered)

        again = counted if substitute is None else self._callback(gathered, stretch, on_delivered, partition, None)
        return counted

    def _send_substitute(
        self,
        partition: int,
        substitute: SubstituteFor,
        error: KafkaError,
        counted: Callable[[KafkaError | None, Message], None],
    ) -> bool:
        record = substitute(error)
        if record is None:
            return False
        topic, key, value, headers = record
        try:
            given: Any = headers
            self._producer.produce(topic, value=value, key=key, partition=partition, headers=given, on_delivery=counted)
        except (BufferError, KafkaException):
            return False
        return True

    def _fail(self, failure: EverwatchError) -> None:
        with self._lock:
            is_first = self._failure is None
            self._failure = self._failure or failure
        if is_first and self._on_failed is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_failed, failure)
        for group in list(self._groups.values()):
            self._wake(group)

    def _wake(self, gathered: "_Group") -> None:
        with self._lock:
            gathered.count_ended()
            failure = self._failure
            ready = [future for ended, future in gathered.waiting if failure is not None or ended <= gathered.ended]
            gathered.waiting = [waiting for waiting in gathered.waiting if waiting[1] not in ready]
        if ready and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_release, ready, failure)

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.1)


class _Group:
    """Records that are waited for together, counted by the stretch between two barriers that they were sent in.

    Records reach different brokers and partitions in any order, so counting all of them would not tell whether the
    first ones are there.
    """

    __slots__ = ("ended", "stretches", "waiting")

    def __init__(self) -> None:
        self.stretches = [_Stretch()]
        self.ended = 0
        self.waiting: list[tuple[int, asyncio.Future[None]]] = []

    def count_ended(self) -> None:
        """Drop finished stretches from the front; the last one stays open."""
        while len(self.stretches) > 1 and self.stretches[0].done == self.stretches[0].sent:
            self.stretches.pop(0)
            self.ended += 1


class _Stretch:
    """Count of the records sent between two barriers, and of those acknowledged."""

    __slots__ = ("done", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.done = 0


def _shorter_one(topic: str, shorter: Callable[[], Shorter | None], error: KafkaError) -> Substitute | None:
    record = shorter() if error.code() in _SIZE else None
    return None if record is None else Substitute(topic, *record)


def _one_instead(instead: Callable[[str], Substitute | None], error: KafkaError) -> Substitute | None:
    return instead(error.str()) if error.code() in _RECORD_REFUSED else None


def _undelivered(error: KafkaError, message: Message) -> EverwatchError:
    topic = message.topic() or ""
    said = f"A record for topic {topic} could not be delivered: {error.str()}."
    return refused(error, write_to(topic)) or BrokerUnavailable(said)


def _release(waiters: list[asyncio.Future[None]], failure: EverwatchError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(failure)
