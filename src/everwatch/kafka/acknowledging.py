"""Sends single records from an event loop, each acknowledged by itself, many at a time."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from everwatch.core.errors import AccessError, BrokerUnavailable, EverwatchError, RecordRefused, is_retryable
from everwatch.core.settled_together import SettledTogether
from everwatch.kafka.access_errors import refused, write_to
from everwatch.observability.metrics import PRODUCER_ERRORS

logger = logging.getLogger(__name__)
_CLOSE_S = 2.0
_POLL_S = 0.1
_FATAL = KafkaError._FATAL
_OF_ITS_KEY = -1
_OF_THEIR_KEYS: Mapping[int, int] = MappingProxyType({})
ToSend = tuple[str, bytes, bytes | None]
"""Topic, key and value of a record."""


_Group = SettledTogether[EverwatchError]
_Settled = tuple[_Group, int, EverwatchError | None]


class AcknowledgingProducer:
    """Returns from ``send`` when all in-sync replicas have the record, or raises why they have not.

    Delivery reports are handed to the event loop in batches, so that a record costs little. A producer that has failed
    for good is replaced: the records that were under way fail, later ones do not.
    """

    def __init__(self, new_producer: Callable[[], Producer]) -> None:
        """``new_producer``: one whose ``delivery.timeout.ms`` is as long as a caller waits."""
        self._new_producer = new_producer
        self._producer = new_producer()
        self._loop = asyncio.get_running_loop()
        self._settled: deque[_Settled] = deque()
        self._lock = threading.Lock()
        self._is_broken = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="acknowledging", daemon=True)
        self._thread.start()

    async def send(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Send one record. Raises BrokerUnavailable, AccessError, and RecordRefused for one that is too large."""
        await self.send_all([(topic, key, value)])

    async def send_all(self, records: Sequence[ToSend]) -> None:
        """Send records in this order; returns when all are acknowledged. Raises what ``send`` does."""
        for failure in await self.send_each(records):
            if failure is not None:
                raise failure

    async def send_each(
        self, records: Sequence[ToSend], partitions: Mapping[int, int] = _OF_THEIR_KEYS
    ) -> list[EverwatchError | None]:
        """Send records in this order, and give why each is not acknowledged: None if it is.

        ``partitions``: of the records at these places; the others go to those of their keys.
        """
        if not records:
            return []
        group: _Group = SettledTogether(len(records), self._loop.create_future())
        for place, (topic, key, value) in enumerate(records):
            number = partitions.get(place, _OF_ITS_KEY)
            failure = self._begin(group, place, (topic, key, value), number)
            if failure is not None:
                group.settle(place, failure)
        await group.all_settled
        return group.outcomes

    def _begin(self, group: _Group, place: int, record: ToSend, partition: int) -> EverwatchError | None:
        """Queue one record of a group; gives why it cannot be."""
        topic, key, value = record

        def report(error: KafkaError | None, _: Message) -> None:
            self._settled.append((group, place, None if error is None else self._failure(error, topic)))

        try:
            with self._lock:
                self._producer.produce(topic, value=value, key=key, partition=partition, on_delivery=report)
        except BufferError:
            return BrokerUnavailable("Kafka is slower than what is sent to it; too much is waiting already.")
        except KafkaException as error:
            return self._failure(error.args[0], topic)
        return None

    async def close(self) -> None:
        """Send the queued records, for a moment, and stop."""
        await asyncio.to_thread(self._producer.flush, _CLOSE_S)
        self._closed.set()
        await asyncio.to_thread(self._thread.join)

    def _failure(self, error: KafkaError, topic: str) -> EverwatchError:
        if error.fatal() or error.code() == _FATAL:
            self._is_broken = True
        PRODUCER_ERRORS.labels(topic).inc()
        if not is_retryable(KafkaException(error)):
            return RecordRefused(f"Kafka does not take a record for topic {topic}: {error.str()}.")
        denied: AccessError | None = refused(error, write_to(topic))
        return denied or BrokerUnavailable(f"Kafka did not take a record for topic {topic}: {error.str()}.")

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_POLL_S)
            if self._settled and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._release)
            if self._is_broken:
                self._replace()

    def _replace(self) -> None:
        logger.warning("a producer has failed for good and is replaced")
        with self._lock:
            old, self._producer = self._producer, self._new_producer()
            self._is_broken = False
        old.purge()
        old.flush(_CLOSE_S)

    def _release(self) -> None:
        settled = self._settled
        while settled:
            group, place, failure = settled.popleft()
            group.settle(place, failure)
