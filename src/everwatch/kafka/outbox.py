"""Sending records so that one can wait until they are durable."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from everwatch.errors import BrokerUnavailable

Headers = list[tuple[str, bytes]]
OnDelivered = Callable[[Message], None]


class Outbox:
    """A librdkafka producer with a barrier: ``delivered()`` returns when all that was sent before is on the broker.

    ``send`` may be called from the event loop only; delivery callbacks run in the outbox's own thread.
    A record that could not be delivered fails every later ``delivered()``: the process should end, and whoever takes
    over starts from what is durable.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._failure: str | None = None
        # records reach different brokers and partitions in any order, so counting all of them would not tell whether
        # the first ones are there: they are counted by the stretch between two barriers that they were sent in
        self._stretches = [_Stretch()]
        self._ended = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
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
    ) -> None:
        """Queue one record; ``on_delivered`` is called in another thread once the broker has it.

        What the producer refuses outright (a record that is too large) is raised here and not waited for.
        """
        stretch = self._stretches[-1]
        stretch.sent += 1
        extra: dict[str, Any] = {"headers": headers} if headers else {}
        while True:
            try:
                self._producer.produce(
                    topic,
                    value=value,
                    key=key,
                    partition=partition,
                    timestamp=timestamp_ms,
                    on_delivery=self._callback(stretch, on_delivered),
                    **extra,
                )
                return
            except BufferError:
                # the queue is full: the broker is slower than we are, so the caller has to wait for it
                self._producer.poll(0.05)
            except BaseException:
                stretch.sent -= 1
                raise

    async def delivered(self) -> None:
        """Wait until everything sent so far is durable. Raises BrokerUnavailable when something could not be sent."""
        with self._lock:
            if self._stretches[-1].sent:
                self._stretches.append(_Stretch())
            self._count_ended()
            if self._failure is None and len(self._stretches) == 1:
                return
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append((self._ended + len(self._stretches) - 1, waiter))
        self._wake()
        await waiter

    @property
    def pending(self) -> int:
        """Records sent and not yet durable."""
        return sum(stretch.sent - stretch.done for stretch in list(self._stretches))

    async def close(self, timeout_s: float = 8) -> int:
        """Send what is queued for at most ``timeout_s`` and stop; gives the number of records left behind."""
        left = await asyncio.to_thread(self._producer.flush, timeout_s)
        self._closed.set()
        await asyncio.to_thread(self._thread.join)
        return int(left)

    def _callback(
        self, stretch: "_Stretch", on_delivered: OnDelivered | None
    ) -> Callable[[KafkaError | None, Message], None]:
        def counted(error: KafkaError | None, message: Message) -> None:
            failure = error and f"A record for topic {message.topic()} could not be delivered: {error.str()}."
            if error is None and on_delivered is not None:
                try:
                    on_delivered(message)
                except Exception as problem:
                    # raised here, it would end the outbox's thread, and every barrier would wait for ever
                    failure = f"What follows the delivery of a record for topic {message.topic()} failed: {problem!r}."
            with self._lock:
                stretch.done += 1
                self._failure = self._failure or failure
                look = stretch.done == stretch.sent or self._failure is not None
            if look and self._waiting:
                self._wake()

        return counted

    def _count_ended(self) -> None:
        """Drop finished stretches from the front; the last one stays open."""
        while len(self._stretches) > 1 and self._stretches[0].done == self._stretches[0].sent:
            self._stretches.pop(0)
            self._ended += 1

    def _wake(self) -> None:
        with self._lock:
            self._count_ended()
            failure = self._failure
            ready = [future for ended, future in self._waiting if failure is not None or ended <= self._ended]
            self._waiting = [waiting for waiting in self._waiting if waiting[1] not in ready]
        if ready and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_release, ready, failure)

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.1)


class _Stretch:
    """How many records were sent between two barriers, and how many of them are on the broker."""

    __slots__ = ("done", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.done = 0


def _release(waiters: list[asyncio.Future[None]], failure: str | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(BrokerUnavailable(failure))
