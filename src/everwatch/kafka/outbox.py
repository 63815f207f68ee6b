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
        self._sent = 0
        self._done = 0
        self._failure: str | None = None
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
        """Queue one record; ``on_delivered`` is called in another thread once the broker has it."""
        self._sent += 1
        extra: dict[str, Any] = {"headers": headers} if headers else {}
        while True:
            try:
                self._producer.produce(
                    topic,
                    value=value,
                    key=key,
                    partition=partition,
                    timestamp=timestamp_ms,
                    on_delivery=self._callback(on_delivered),
                    **extra,
                )
                return
            except BufferError:
                # the queue is full: the broker is slower than we are, so the caller has to wait for it
                self._producer.poll(0.05)

    async def delivered(self) -> None:
        """Wait until everything sent so far is durable. Raises BrokerUnavailable when something could not be sent."""
        with self._lock:
            if self._failure is None and self._done >= self._sent:
                return
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append((self._sent, waiter))
        self._wake()
        await waiter

    @property
    def pending(self) -> int:
        """Records sent and not yet durable."""
        return self._sent - self._done

    async def close(self, timeout_s: float = 8) -> int:
        """Send what is queued for at most ``timeout_s`` and stop; gives the number of records left behind."""
        left = await asyncio.to_thread(self._producer.flush, timeout_s)
        self._closed.set()
        await asyncio.to_thread(self._thread.join)
        return int(left)

    def _callback(self, on_delivered: OnDelivered | None) -> Callable[[KafkaError | None, Message], None]:
        if on_delivered is None:
            return self._count

        def counted(error: KafkaError | None, message: Message) -> None:
            if error is None:
                on_delivered(message)
            self._count(error, message)

        return counted

    def _count(self, error: KafkaError | None, message: Message) -> None:
        with self._lock:
            self._done += 1
            if error is not None and self._failure is None:
                self._failure = f"A record for topic {message.topic()} could not be delivered: {error.str()}."
        # waiters are few (one a batch), so looking costs nothing
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            ready = [w for w in self._waiting if self._failure is not None or w[0] <= self._done]
            if not ready:
                return
            self._waiting = [w for w in self._waiting if w not in ready]
            failure = self._failure
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_release, [future for _, future in ready], failure)

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.1)


def _release(waiters: list[asyncio.Future[None]], failure: str | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(BrokerUnavailable(failure))
