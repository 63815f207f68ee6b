"""Reader of the topic ``cancellations``, in a thread of its own: all partitions, without a consumer group.

So an executor knows the cancellations of a partition of ticks before it is assigned that partition. At the start it
reads the newest records before it begins any tick.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, InvalidInput, Transient
from everwatch.encoding.cancellation_records import Cancellation, Key, decode_cancellation
from everwatch.executor.cancelled_monitors import MOST_KEPT
from everwatch.executor.tick_records import bytes_of
from everwatch.kafka.access_errors import read_of, refused
from everwatch.kafka.clients import new_consumer
from everwatch.kafka.consumer_groups import executors_group
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.topics import Topics
from everwatch.observability.log_throttle import Quiet

log = logging.getLogger(__name__)

_BATCH = 1_000
_CONSUME_S = 0.1
# the topic has a record a removal: nothing is to be fetched ahead
_PREFETCH = {"queued.min.messages": 1_000, "queued.max.messages.kbytes": 4_096}

Cancellations = list[tuple[Key, Cancellation]]


class CancellationReader:
    """Reads cancellations. ``ended`` is done when the thread is: with None after ``finish``, else with the error.

    ``caught_up`` is set when all is read that the topic held at the start.
    """

    def __init__(self, settings: Settings, bootstrap_servers: str, clock: Clock) -> None:
        self._settings = settings
        self._bootstrap_servers = bootstrap_servers
        self._topic = Topics.of(settings).cancellations
        self._quiet = Quiet(clock)
        self._stopping = threading.Event()
        self.caught_up: Future[None] = Future()
        self.ended: Future[None] = Future()

    def start(self, deliver: Callable[[Cancellations], None]) -> None:
        """Begin to read; ``deliver`` is called with what is new, in the thread."""
        threading.Thread(target=self._run, args=(deliver,), name=self._topic, daemon=True).start()

    async def finish(self, timeout_s: float) -> None:
        """End the thread; wait for at most ``timeout_s`` until it has."""
        self._stopping.set()
        ended = asyncio.wrap_future(self.ended)
        await asyncio.wait({ended}, timeout=timeout_s)
        if ended.done():
            ended.exception()  # whoever waits for ``ended`` raises it

    def _run(self, deliver: Callable[[Cancellations], None]) -> None:
        try:
            self._follow(deliver)
        except KafkaException as error:
            self.ended.set_exception(self._unavailable(error.args[0]))
        except BaseException as error:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _follow(self, deliver: Callable[[Cancellations], None]) -> None:
        consumer = new_consumer(
            self._settings,
            self._bootstrap_servers,
            executors_group(self._settings),
            **_PREFETCH,
            **{"enable.partition.eof": True},
        )
        try:
            partitions = range(self._settings.partitions)
            consumer.assign([self._begin(consumer, number) for number in partitions])
            behind = set(partitions)
            while not self._stopping.is_set():
                found = self._take(consumer, behind)
                if found:
                    deliver(found)
                if not behind and not self.caught_up.done():
                    self.caught_up.set_result(None)
        finally:
            consumer.close()

    def _begin(self, consumer: Consumer, number: int) -> TopicPartition:
        """Where to begin: no more is read than is kept."""
        held = bounds(consumer, self._topic, number)
        most = max(1, MOST_KEPT // self._settings.partitions)
        return TopicPartition(self._topic, number, max(held.start, held.stop - most))

    def _take(self, consumer: Consumer, behind: set[int]) -> Cancellations:
        found: Cancellations = []
        for message in consumer.consume(_BATCH, _CONSUME_S):
            error = message.error()
            if error is None:
                try:
                    found.append(decode_cancellation(bytes_of(message.key()), bytes_of(message.value())))
                except InvalidInput as wrong:
                    if self._quiet.may_say("wrong"):
                        log.warning("a record of topic %s is ignored (logged once a minute): %s", self._topic, wrong)
            elif error.code() == KafkaError._PARTITION_EOF:
                behind.discard(message.partition() or 0)
            elif error.fatal() or refused(error, read_of(self._topic)) is not None:
                raise KafkaException(error)
            elif self._quiet.may_say(error.code()):
                log.warning("Kafka: %s; still trying", error.str())
        return found

    def _unavailable(self, error: KafkaError) -> Transient:
        return refused(error, read_of(self._topic)) or BrokerUnavailable(
            f"Kafka: topic {self._topic} cannot be read ({error.str()})."
        )
