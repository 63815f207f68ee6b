"""Reader of the topic ``cancellations``, in a thread of its own: all partitions, without a consumer group.

So an executor knows the cancellations of a partition of ticks before it is assigned that partition. At the start it
reads the newest records before it begins any tick. A batch that cannot be read is passed over: what it cancelled runs.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from everwatch.core.bounds import BROKER_AHEAD_MS
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, InvalidInput, Transient
from everwatch.encoding.cancellation_records import Cancellation, Key, decode_cancellation
from everwatch.encoding.codec import check_not_ahead
from everwatch.executor.cancelled_monitors import MOST_KEPT
from everwatch.executor.tick_records import bytes_of
from everwatch.kafka.access_errors import read_of, refused
from everwatch.kafka.clients import Clients, log_error
from everwatch.kafka.consumer_groups import executors_group
from everwatch.kafka.deleted_topics import DeletedTopics
from everwatch.kafka.partition_bounds import bounds, ends
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Sieve, Sifted
from everwatch.observability.log_throttle import LogThrottle

log = logging.getLogger(__name__)

_BATCH = 1_000
_CONSUME_S = 0.1
RETRY_S = 1.0
# an answer that comes later than it is waited for only delays the next: a busy broker gets its time
_END_S = 4.0
# the topic has a record a removal: nothing is to be fetched ahead
_PREFETCH = {"queued.min.messages": 1_000, "queued.max.messages.kbytes": 4_096}

Cancellations = list[tuple[Key, Cancellation]]


class CancellationReader:
    """Reads cancellations. ``ended`` is done when the thread is: with None after ``finish``, else with the error.

    ``caught_up`` is set when all is read that the topic held at the start. A topic that cannot be read now is logged
    once a minute and tried again; known cancellations apply meanwhile. Only a missing right is an end.
    """

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        clock: Clock,
        most_kept: int = MOST_KEPT,
        retry_s: float = RETRY_S,
    ) -> None:
        """``most_kept``: no more is read at the start. ``retry_s``: pause after a topic could not be read."""
        self._most_kept = most_kept
        self._retry_s = retry_s
        self._settings = settings
        self._clients = clients
        self._topic = Topics.of(settings).cancellations
        self._clock = clock
        self._log_throttle = LogThrottle(clock)
        self._stopping = threading.Event()
        self._asked: SimpleQueue[Future[None]] = SimpleQueue()
        # callers that wait for the topic's end, and those that wait until it is reached
        self._unanswered: list[Future[None]] = []
        self._waiting: list[tuple[Future[None], dict[int, int]]] = []
        # the offset that is read next, by partition
        self._next: dict[int, int] = {}
        self._deleted = DeletedTopics()
        self.caught_up: Future[None] = Future()
        self.ended: Future[None] = Future()

    def start(self, deliver: Callable[[Cancellations], None]) -> None:
        """Begin to read; ``deliver`` is called with new cancellations, in the thread."""
        threading.Thread(target=self._run, args=(deliver,), name=self._topic, daemon=True).start()

    def read_to_now(self) -> Future[None]:
        """A future that is done when all is delivered that the topic holds now; from any thread.

        While the broker does not answer it is not done: wait for it with a limit.
        """
        asked: Future[None] = Future()
        self._asked.put(asked)
        return asked

    def why_not_read(self) -> str:
        """Return why cancellations from before the start are not known yet; empty once they are."""
        return "" if self.caught_up.done() else f"topic {self._topic} is not read to its end yet"

    async def finish(self, timeout_s: float) -> None:
        """End the thread; wait for at most ``timeout_s`` until it has."""
        self._stopping.set()
        ended = asyncio.wrap_future(self.ended)
        await asyncio.wait({ended}, timeout=timeout_s)
        if ended.done():
            ended.exception()  # the code that waits for ``ended`` raises it

    def _run(self, deliver: Callable[[Cancellations], None]) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._follow(deliver)
                except (BrokerUnavailable, KafkaException) as error:
                    problem = self._unavailable(error.args[0]) if isinstance(error, KafkaException) else error
                    if not isinstance(problem, BrokerUnavailable):
                        raise problem from None
                    if self._log_throttle.may_log("unavailable"):
                        log.warning("%s Still trying; ticks go on with the cancellations that are known.", problem)
                    self._stopping.wait(self._retry_s)
        except BaseException as error:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _follow(self, deliver: Callable[[Cancellations], None]) -> None:
        group = executors_group(self._settings, self._settings.region)
        consumer = self._clients.consumer(group, error_cb=self._on_error, **_PREFETCH, **{"enable.partition.eof": True})
        sieve = Sieve(consumer, partial(self._clients.consumer, group), self._clock)
        try:
            partitions = range(self._settings.partitions)
            consumer.assign([self._begin(consumer, number) for number in partitions])
            behind = set(partitions)
            while not self._stopping.is_set():
                found = self._take(sieve.sift(consumer.consume(_BATCH, _CONSUME_S)), behind)
                if found:
                    deliver(found)
                if not behind and not self.caught_up.done():
                    self.caught_up.set_result(None)
                self._answer(consumer)
                for error in self._deleted.take({self._topic}).values():
                    # a new consumer reads what there is, once the topic is there again
                    self._next.clear()
                    raise KafkaException(error)
        finally:
            consumer.close()

    def _on_error(self, error: KafkaError) -> None:
        self._deleted.note(error)
        log_error(error)

    def _begin(self, consumer: Consumer, number: int) -> TopicPartition:
        """Return the offsets to begin at: no more is read than is kept, and nothing twice."""
        held = bounds(consumer, self._topic, number)
        most = max(1, self._most_kept // self._settings.partitions)
        begin = max(held.start, held.stop - most, self._next.get(number, 0))
        return TopicPartition(self._topic, number, min(begin, held.stop))

    def _take(self, sifted: Sifted, behind: set[int]) -> Cancellations:
        found: Cancellations = []
        latest = self._clock.now_ms() + BROKER_AHEAD_MS
        for message in sifted.records:
            self._next[message.partition() or 0] = (message.offset() or 0) + 1
            try:
                key, cancellation = decode_cancellation(bytes_of(message.key()), bytes_of(message.value()))
                # a worker cancels what it has emitted; a cancellation years ahead would drop all ticks of its monitor
                check_not_ahead(cancellation.until, latest, "$.until")
                found.append((key, cancellation))
            except InvalidInput as wrong:
                if self._log_throttle.may_log("wrong"):
                    log.warning("a record of topic %s is ignored (logged once a minute): %s", self._topic, wrong)
        for each in sifted.unreadable:
            self._next[each.partition] = each.end
        for message in sifted.errors:
            error, number = message.error(), message.partition() or 0
            if error is None:
                continue
            if error.code() == KafkaError._PARTITION_EOF:
                # marks of transactions take offsets, too
                self._next[number] = message.offset() or 0
                behind.discard(number)
            elif error.fatal() or refused(error, read_of(self._topic)) is not None:
                raise KafkaException(error)
            elif self._log_throttle.may_log(error.code()):
                log.warning("Kafka: %s; still trying", error.str())
        return found

    def _answer(self, consumer: Consumer) -> None:
        """Find out where the topic ends for callers that have asked, and wake those whose end is reached."""
        with suppress(Empty):
            while True:
                self._unanswered.append(self._asked.get_nowait())
        if self._unanswered:
            with suppress(KafkaException):  # a broker that does not answer is asked again
                found = ends(consumer, self._topic, range(self._settings.partitions), _END_S)
                self._waiting += [(asked, found) for asked in self._unanswered]
                self._unanswered = []
        for asked, wanted in list(self._waiting):
            if all(self._next.get(number, 0) >= end for number, end in wanted.items()):
                self._waiting.remove((asked, wanted))
                if not asked.cancelled():
                    asked.set_result(None)

    def _unavailable(self, error: KafkaError) -> Transient:
        return refused(error, read_of(self._topic)) or BrokerUnavailable(
            f"Kafka: topic {self._topic} cannot be read ({error.str()})."
        )
