"""Follows topics from a point on, all partitions and without a consumer group, in a thread of its own."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import AccessError, BrokerUnavailable
from everwatch.kafka.access_errors import raise_refused
from everwatch.kafka.clients import Clients, log_error
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.deleted_topics import DeletedTopics
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.topic_administration import expect_topic
from everwatch.kafka.unreadable_batches import Sieve
from everwatch.observability.log_throttle import LogThrottle

logger = logging.getLogger(__name__)
_AT_ONCE = 1_000
_TAKE_S = 0.25
_PROMPT = {"fetch.wait.max.ms": 100, "fetch.error.backoff.ms": 100}
# what comes within this time of a record is handed over with it: a reply waits no longer for those behind it
_REST_S = 0.005
# a look for a topic that was deleted takes a new client
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
OnRecords = Callable[[Sequence[Record]], None]


class Start(StrEnum):
    """Start of following a topic: its first record, or behind its last one."""

    BEGINNING = "beginning"
    END = "end"


class Follower:
    """Hands every record of some topics to a callback, in the order of each partition.

    ``on_records`` is called in the follower's thread; when it raises, its records are handed over one by one, and one
    that fails alone is logged, once a minute, and skipped. The follower waits while the broker is unavailable or a
    topic is deleted. Create it in a thread: it asks the broker.
    """

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        clock: Clock,
        topics: Mapping[str, Start],
        on_records: OnRecords,
    ) -> None:
        """Look up where the topics begin and end. Raises BrokerUnavailable, AccessError."""
        self._on_records = on_records
        self._log_throttle = LogThrottle(clock)
        self._stop = threading.Event()
        # held while the consumer is in use: it must not be closed then
        self._using = threading.Lock()
        self._clients, self._clock = clients, clock
        self._group = f"{settings.application}-following-{settings.instance}"
        self._topics = frozenset(topics)
        self._deleted = DeletedTopics()
        # topics that were deleted while they were followed, when to look for them again, and the pause after that
        self._away: set[str] = set()
        self._look_again_s, self._pause_s = 0.0, SHORTEST_PAUSE_S
        self._consumer, self._sieve = self._opened()
        self._left: dict[tuple[str, int], int] = {}
        self.starts: dict[tuple[str, int], int] = {}
        """The offset of the first record of each partition that is handed over."""
        try:
            admin = clients.admin()
            assigned: list[TopicPartition] = []
            for topic, start in topics.items():
                for number in range(expect_topic(admin, settings, topic)):
                    held = bounds(self._consumer, topic, number)
                    if start is Start.BEGINNING and held:
                        self._left[topic, number] = held.stop
                    offset = held.start if start is Start.BEGINNING else held.stop
                    self.starts[topic, number] = offset
                    assigned.append(TopicPartition(topic, number, offset))
            self._consumer.assign(assigned)
        except BaseException:
            self._consumer.close()
            raise
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def _opened(self) -> tuple[Consumer, Sieve]:
        new_consumer, group = self._clients.consumer, self._group
        consumer = new_consumer(group, error_cb=self._on_error, **_PROMPT)
        return consumer, Sieve(consumer, partial(new_consumer, group), self._clock)

    def _on_error(self, error: KafkaError) -> None:
        self._deleted.note(error)
        log_error(error)

    def read_up(self, patience_s: float) -> None:
        """Hand over all that the topics held when this was created. Raises BrokerUnavailable, AccessError."""
        for _ in range(int(patience_s / _TAKE_S)):
            if not self._left:
                return
            with self._using:
                if self._stop.is_set():
                    return  # the code that waits for the rest has been stopped, too
                self._take()
                # what was never committed leaves a gap at the end, which the consumer passes over
                for place in self._consumer.position(self._consumer.assignment()):
                    if place.offset >= self._left.get((place.topic, place.partition), place.offset + 1):
                        del self._left[place.topic, place.partition]
        raise BrokerUnavailable(f"Kafka does not give the rest of {', '.join(sorted({t for t, _ in self._left}))}.")

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    async def close(self) -> None:
        """Stop following; what reads up in another thread stops with it."""
        self._stop.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
        else:
            await asyncio.to_thread(self._close)

    def _follow(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._take()
                    self._away |= self._deleted.take(self._topics).keys()
                    if self._away and self._clock.monotonic_s() >= self._look_again_s:
                        self._open_anew()
                except (AccessError, BrokerUnavailable, KafkaException) as error:
                    if self._log_throttle.may_log("broker"):
                        logger.warning("%s", error)
                    self._stop.wait(_TAKE_S)
        finally:
            self._close()

    def _open_anew(self) -> None:
        """Follow topics that were deleted from their beginning, once they are there again, and all others on.

        Raises KafkaException as long as one is not there; it is looked for more and more rarely.
        """
        self._look_again_s = self._clock.monotonic_s() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        places = self._consumer.position(self._consumer.assignment())
        consumer, sieve = self._opened()
        try:
            for place in places:
                if place.topic in self._away:
                    place.offset, _ = consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), 5)
                    # until its first record is read nothing else says where this one stands
                    self.starts[place.topic, place.partition] = place.offset
                elif place.offset < 0:
                    place.offset = self.starts[place.topic, place.partition]
            consumer.assign(places)
        except BaseException:
            consumer.close()
            raise
        logger.warning("topics %s were made anew, and are read from their beginning", sorted(self._away))
        self._away.clear()
        self._look_again_s, self._pause_s = 0.0, SHORTEST_PAUSE_S
        self._consumer.close()
        self._consumer, self._sieve = consumer, sieve

    def _close(self) -> None:
        with self._using:
            self._consumer.close()

    def _take(self) -> None:
        sifted = self._sieve.take(_AT_ONCE, _TAKE_S, _REST_S)
        # the consumer stands behind it, and says so only once it has read a record there
        for each in sifted.unreadable:
            if each.end >= self._left.get((each.topic, each.partition), each.end + 1):
                del self._left[each.topic, each.partition]
        if sifted.errors:
            raise_refused(sifted.errors, sifted.errors[0].topic() or "")
        if not sifted.records:
            return
        self._hand_over([Record.of(message) for message in sifted.records])

    def _hand_over(self, records: Sequence[Record]) -> None:
        try:
            self._on_records(records)
        except Exception:
            if len(records) > 1:
                # one that fails must not take the others with it
                for record in records:
                    self._hand_over([record])
            elif self._log_throttle.may_log("records"):
                place = f"{records[0].topic}, partition {records[0].partition}, offset {records[0].offset}"
                logger.exception("%s could not be handed over (logged once a minute)", place)
