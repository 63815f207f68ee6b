"""Kafka consumers of ticks, one for each topic: fetch ticks, pause when enough wait, commit what is done.

Each consumer has a thread of its own. Work goes to the event loop in batches; acknowledgements come back through a
queue. ``acknowledge``, ``stop_taking`` and ``finish`` may be called from other threads; everything else happens in the
consumer's thread, so nothing needs a lock.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, Transient
from everwatch.executor.assignment import STANDSTILL_S, HeldPartition, Taken
from everwatch.executor.backlog import LATE_MS
from everwatch.executor.metrics import LAG, WAITING
from everwatch.kafka.access_errors import read_by, read_of, refused
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumer_groups import executors_group
from everwatch.kafka.partition_bounds import ends
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import PROBING, Sieve, Unreadable
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.metrics import ASSIGNED, REBALANCES

log = logging.getLogger(__name__)

_BATCH = 500
_CONSUME_S = 0.02
_END_S = 1.0
_COMMIT_EVERY_S = 1.0
_REVOKE_WAIT_S = 3.0
_LAST_COMMIT_S = 1.5

# Bounds on what librdkafka fetches ahead: its defaults (100,000 records, 64 MB) are far more than an executor
# runs before the next fetch arrives, and are fetched again after each pause.
# All partitions of a consumer share one queue: while it is full, none is fetched, and each is looked at again only
# after this backoff, which is a second by default.
_PREFETCH = {"queued.min.messages": 2_000, "queued.max.messages.kbytes": 16_384, "fetch.queue.backoff.ms": 20}

# Ticks are read ahead of what is begun, so that users whose ticks come later on the topic get their share too; but they
# take memory, about 2 KB each.
_MOST_PARKED = 20_000
# Of one partition half of that at most, and once so many wait only its share: one keeps no other one waiting.
# A partition with late ticks is read to its end before these are begun, for so long at most.
_CATCH_UP_S = 5.0
# What is finished behind the oldest tick that is not is run again by the next owner of a partition: so many at most.
_MOST_AGAIN = 100_000

# A member learns of a rebalance by its next heartbeat; until then the partitions that move have no owner.
_HEARTBEAT_MS = 1_000

# Errors that waiting does not mend: an operator has to act.
_HOPELESS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "a tick topic does not exist: run 'everwatch topics create'",
    KafkaError._UNKNOWN_TOPIC: "a tick topic does not exist: run 'everwatch topics create'",
}

Deliver = Callable[[list[Taken]], None]
Refuse = Callable[[HeldPartition, Unreadable], None]


class TickConsumers:
    """Fetches the ticks of all priorities.

    Each topic has a consumer, and all of them are members of one group. One consumer of three topics would get its
    partitions of all topics together: with the cooperative-sticky assignor, a second executor could get every
    partition of one topic and none of another. So each topic is balanced by itself, within one partition, and the
    offsets are those of the group as ever.
    """

    def __init__(self, settings: Settings, clients: Clients, clock: Clock) -> None:
        topics = Topics.of(settings).all_ticks
        self._consumers = {topic: TickConsumer(topic, settings, clients, clock) for topic in topics}

    @property
    def ended(self) -> list[Future[None]]:
        """Of each consumer a future that is done when its thread is: with None after ``finish``, else with the error.

        The error is a BrokerUnavailable or an AccessError.
        """
        return [consumer.ended for consumer in self._consumers.values()]

    def measure(self) -> None:
        """Set the gauges of what is held and waits."""
        for consumer in self._consumers.values():
            consumer.measure()

    def why_not_assigned(self) -> str:
        """Name the topics of which the group has given this executor no answer yet; empty once it has for all."""
        missing = [topic for topic, consumer in self._consumers.items() if not consumer.is_member]
        return f"not in the consumer group yet for {', '.join(missing)}" if missing else ""

    def start(self, deliver: Deliver, refuse: Refuse) -> None:
        """Begin to fetch ticks: ``deliver`` is called with each batch, ``refuse`` with offsets that cannot be read.

        Both in the consumers' threads. Of such offsets the last one is to be acknowledged.
        """
        for consumer in self._consumers.values():
            consumer.start(deliver, refuse)

    def acknowledge(self, held: HeldPartition, offset: int) -> None:
        """Note that the result of the record at ``offset`` is on the broker. From any thread."""
        self._consumers[held.topic].acknowledge(held, offset)

    def stop_taking(self) -> None:
        """Fetch no more ticks, but stay in the group and commit what gets done. From any thread."""
        for consumer in self._consumers.values():
            consumer.stop_taking()

    async def finish(self, timeout_s: float) -> bool:
        """Commit, leave the group and end the threads; False if that takes longer than ``timeout_s``."""
        return all(await asyncio.gather(*(consumer.finish(timeout_s) for consumer in self._consumers.values())))


class TickConsumer:
    """Fetches the ticks of one topic and hands them on with the partition they were fetched from.

    ``ended`` is done when the thread is: with None after ``finish``, else with the error (Transient).
    """

    def __init__(self, topic: str, settings: Settings, clients: Clients, clock: Clock) -> None:
        self._topic = topic
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._enough = 2 * settings.max_in_flight + _BATCH
        self._room_again = settings.max_in_flight
        self._quiet = LogThrottle(clock)
        self._held: dict[int, HeldPartition] = {}
        # nothing is read; and of which partitions not
        self._is_full = False
        self._paused: set[int] = set()
        self._acknowledged: SimpleQueue[tuple[HeldPartition, int]] = SimpleQueue()
        self._stopping = threading.Event()
        self._finishing = threading.Event()
        self._committing = False
        self._commit_due_s = 0.0
        self._looked_s = 0.0
        self._hopeless: KafkaError | None = None
        self._sieve: Sieve | None = None
        # whether the group has assigned partitions to this member, or none, as there are more members than partitions
        self.is_member = False
        self.ended: Future[None] = Future()

    def start(self, deliver: Deliver, refuse: Refuse) -> None:
        """Begin to take ticks, as ``TickConsumers.start`` says."""
        threading.Thread(target=self._run, args=(deliver, refuse), name=self._topic, daemon=True).start()

    def acknowledge(self, held: HeldPartition, offset: int) -> None:
        """What came of the record at ``offset`` is on the broker. From any thread."""
        self._acknowledged.put((held, offset))

    def stop_taking(self) -> None:
        """Take no more ticks, but stay in the group, and commit what gets done. From any thread."""
        self._stopping.set()

    async def finish(self, timeout_s: float) -> bool:
        """Commit, leave the group and end the thread; False if that takes longer than ``timeout_s``."""
        self._stopping.set()
        self._finishing.set()
        ended = asyncio.wrap_future(self.ended)
        await asyncio.wait({ended}, timeout=timeout_s)
        if ended.done():
            ended.exception()  # whoever waits for ``ended`` raises it
        return ended.done()

    def measure(self) -> None:
        """Set the gauges of what is held and waits. From any thread."""
        partitions = list(self._held.values())
        now = self._clock.now_ms()
        lags = (now - held.read_to_ms for held in partitions if held.is_unread and held.read_to >= 0)
        ASSIGNED.labels(self._topic).set(len(partitions))
        WAITING.labels(self._topic).set(sum(held.parked for held in partitions))
        LAG.labels(self._topic).set(max(lags, default=0) / 1000)

    def _run(self, deliver: Deliver, refuse: Refuse) -> None:
        try:
            self._consume_until_finished(deliver, refuse)
        except KafkaException as error:
            self.ended.set_exception(self._unavailable(error.args[0]))
        except BaseException as error:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _new_consumer(self, **more: object) -> Consumer:
        group = executors_group(self._settings)
        return self._clients.consumer(group, error_cb=self._on_error, **more)

    def _consume_until_finished(self, deliver: Deliver, refuse: Refuse) -> None:
        consumer = self._new_consumer(
            on_commit=self._on_commit,
            **_PREFETCH,
            **{"heartbeat.interval.ms": min(_HEARTBEAT_MS, self._settings.session_timeout_ms // 3)},
        )
        try:
            consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._finishing.is_set():
                batch, unreadable = self._take(consumer)
                if self._catch_up(consumer) or batch:
                    deliver(batch)
                for held, each in unreadable:
                    refuse(held, each)
                self._settle()
                self._balance(consumer)
                self._commit_when_due(consumer)
            self._commit_at_last(consumer)
        finally:
            consumer.close()

    # --- taking -----------------------------------------------------------------------------------------------------

    def _take(self, consumer: Consumer) -> tuple[list[Taken], list[tuple[HeldPartition, Unreadable]]]:
        self._sieve = self._sieve or Sieve(consumer, lambda: self._new_consumer(**PROBING), self._clock)
        messages, unreadable, others = self._sieve.sift(consumer.consume(_BATCH, _CONSUME_S))
        for message in others:
            if (error := message.error()) is not None:
                self._on_error(error)
        if self._hopeless is not None:
            raise self._unavailable(self._hopeless)
        if unreadable:
            return self._begun_in_order(messages, unreadable)
        return [each for message in messages if (each := self._began(message)) is not None], []

    def _begun_in_order(
        self, messages: list[Message], unreadable: list[Unreadable]
    ) -> tuple[list[Taken], list[tuple[HeldPartition, Unreadable]]]:
        """The same with what cannot be read in between: a partition's offsets begin in their order, or not at all."""
        batch: list[Taken] = []
        passed: list[tuple[HeldPartition, Unreadable]] = []
        following = sorted(unreadable, key=lambda each: each.first)
        for message in [*sorted(messages, key=lambda each: each.offset() or 0), None]:
            while following and (message is None or following[0].first < (message.offset() or 0)):
                each = following.pop(0)
                held = self._held.get(each.partition)
                if held is not None and not self._stopping.is_set() and held.watermark.begin(each.end - 1):
                    held.read_to = each.end - 1
                    passed.append((held, each))
            if message is not None and (taken := self._began(message)) is not None:
                batch.append(taken)
        return batch, passed

    def _began(self, message: Message) -> Taken | None:
        """A tick that is to be run; None if its partition is another's, or it was taken before."""
        held, offset = self._held.get(message.partition() or 0), message.offset()
        if held is None or offset is None or self._stopping.is_set() or not held.watermark.begin(offset):
            return None
        held.read_to, held.read_to_ms = offset, message.timestamp()[1]
        return held, message

    def _catch_up(self, consumer: Consumer) -> bool:
        """Note which partitions have late ticks and more to read; whether one has caught up or is not waited for."""
        late_before_ms = self._clock.now_ms() - LATE_MS
        now_s = self._clock.monotonic_s()
        if self._looked_s and now_s - self._looked_s > STANDSTILL_S:
            self._go_on_after_standstill(consumer)
            # asking the broker takes a while, which is no standstill
            now_s = self._clock.monotonic_s()
        self._looked_s = now_s
        has_changed = False
        for held in self._held.values():
            nothing_new = held.read_to < 0 or (held.looked_to == held.read_to and not held.is_behind)
            if not nothing_new:
                held.looked_to = held.read_to
                is_behind = self._is_behind(consumer, held, late_before_ms, now_s)
                has_changed |= held.is_behind and not is_behind
                held.is_behind = is_behind
            # last: whoever sees it sees the rest, too
            held.looked_s = now_s
        return has_changed

    def _is_behind(self, consumer: Consumer, held: HeldPartition, late_before_ms: int, now_s: float) -> bool:
        held.is_unread = held.read_to_ms < late_before_ms and not self._is_at_end(consumer, held)
        if not held.is_unread:
            held.behind_since_s = 0.0
            return False
        held.behind_since_s = held.behind_since_s or now_s
        # one that is paused until the event loop has taken over what was read goes on in a moment
        is_full = held.partition in self._paused and held.parked >= self._share
        return not is_full and now_s - held.behind_since_s < _CATCH_UP_S

    def _go_on_after_standstill(self, consumer: Consumer) -> None:
        """The process stood still: a late tick waits until its partition is read to where it ends now."""
        found: dict[int, int] = {}
        if self._held:
            with suppress(KafkaException):
                found = ends(consumer, self._topic, self._held, _END_S)
        for number, held in self._held.items():
            # one that was behind already had no time to catch up meanwhile
            held.behind_since_s = 0.0
            # what the last fetch said is from before, and what was read then may not be all any more
            held.end = found.get(number, held.end)
            held.looked_to = -1

    @property
    def _share(self) -> int:
        """How many ticks of a partition may wait where much waits already."""
        return _MOST_PARKED // 2 // max(len(self._held), 1)

    def _is_at_end(self, consumer: Consumer, held: HeldPartition) -> bool:
        """Whether all is read that the last fetch said there was."""
        _, high = consumer.get_watermark_offsets(held.at(), cached=True)
        return held.read_to + 1 >= max(high, held.end) and high >= 0

    def _balance(self, consumer: Consumer) -> None:
        """Pause partitions of which enough ticks wait, resume where there is room; polling goes on meanwhile.

        All of them while what runs, or is on its way to the event loop, is enough. One alone while more than
        ``_MOST_AGAIN`` of its ticks were begun behind its oldest one, or while more of it waits than it may take of the
        memory: as much as there is until half of that is taken, then its share of the other half.
        """
        partitions = self._held.values()
        parked = sum(held.parked for held in partitions)
        outstanding = sum(held.watermark.outstanding for held in partitions) - parked
        self._is_full = outstanding > self._room_again if self._is_full else outstanding >= self._enough
        share = self._share
        wanted = set()
        for held in partitions:
            # what is paused goes on at half of that
            half = 2 if held.partition in self._paused else 1
            spans = held.watermark.span >= _MOST_AGAIN // half
            is_crowded = parked >= _MOST_PARKED // 2 // half and held.parked >= share // half
            if self._is_full or self._stopping.is_set() or spans or is_crowded:
                wanted.add(held.partition)
        self._pause(consumer, wanted)

    def _pause(self, consumer: Consumer, wanted: set[int]) -> None:
        """Pause these partitions, and resume all others."""
        paused, self._paused = self._paused & self._held.keys(), wanted
        if begin := [self._held[number].at() for number in sorted(wanted - paused)]:
            consumer.pause(begin)
        if end := [self._held[number].at() for number in sorted(paused - wanted)]:
            consumer.resume(end)

    def _on_error(self, error: KafkaError) -> None:
        # called inside consume(), too, where an exception would be lost on the way through C
        if error.fatal() or error.code() in _HOPELESS or refused(error) is not None:
            self._hopeless = error
        elif self._quiet.may_say(error.code()):
            log.warning("Kafka: %s; still trying", error.str())

    def _unavailable(self, error: KafkaError) -> Transient:
        rights = read_of(self._topic), read_by(executors_group(self._settings))
        what = _HOPELESS.get(error.code(), "the consumer cannot go on")
        return refused(error, *rights) or BrokerUnavailable(f"Kafka: {what} ({error.str()}).")

    # --- committing -------------------------------------------------------------------------------------------------

    def _settle(self, wait_s: float = 0) -> None:
        """Work off the acknowledgements; with ``wait_s``, wait so long for the first one."""
        try:
            held, offset = self._acknowledged.get(block=wait_s > 0, timeout=wait_s or None)
            while True:
                if held.watermark.finish(offset):
                    held.finished += 1
                held, offset = self._acknowledged.get_nowait()
        except Empty:
            return

    def _commit_when_due(self, consumer: Consumer) -> None:
        now_s = self._clock.monotonic_s()
        if now_s >= self._commit_due_s and not self._committing:
            self._commit_due_s = now_s + _COMMIT_EVERY_S
            self._commit(consumer, self._held.values())

    def _commit(self, consumer: Consumer, partitions: Iterable[HeldPartition]) -> bool:
        """Begin to commit what is new; False if there is nothing."""
        offsets = _uncommitted(partitions)
        if offsets:
            consumer.commit(offsets=offsets, asynchronous=True)
            self._committing = True
        return bool(offsets)

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        self._committing = False
        for offset in offsets:
            failure = error or offset.error
            held = self._held.get(offset.partition)
            if failure is not None and held is not None:
                held.committed = None
                if self._quiet.may_say(("commit", failure.code())):
                    log.warning("offsets could not be committed, trying again: %s", failure.str())

    def _commit_at_last(self, consumer: Consumer) -> None:
        deadline_s = self._clock.monotonic_s() + _LAST_COMMIT_S
        while self._clock.monotonic_s() < deadline_s:
            self._settle()
            if not self._committing and not self._commit(consumer, self._held.values()):
                return
            # serves the commit's callback; partitions are paused
            consumer.poll(0.02)

    # --- rebalancing ------------------------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for part in partitions:
            self._held[part.partition] = HeldPartition(part.topic, part.partition)
        consumer.incremental_assign(partitions)
        self.is_member = True
        REBALANCES.labels("assigned").inc()
        if self._is_full or self._stopping.is_set():
            self._paused |= {part.partition for part in partitions}
            consumer.pause(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        leaving = self._let_go(partitions)
        REBALANCES.labels("revoked").inc()
        # what is under way would be run twice: give it a moment to end
        began_s = self._clock.monotonic_s()
        deadline_s = began_s + (0 if self._finishing.is_set() else _REVOKE_WAIT_S)
        self._settle()
        while any(held.busy for held in leaving) and self._clock.monotonic_s() < deadline_s:
            self._settle(wait_s=0.05)
        # this wait is no standstill, after which the partitions that stay would wait for another second
        self._looked_s += min(self._clock.monotonic_s() - began_s, _REVOKE_WAIT_S)
        offsets = _uncommitted(leaving)
        # at the end ``_commit_at_last`` has done so; a second try could block for longer than a stop may take
        if offsets and not self._finishing.is_set():
            try:
                consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                log.warning("offsets of revoked partitions could not be committed: %s", error.args[0].str())
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # somebody else has them already: a commit now would undo theirs
        self.is_member = False
        REBALANCES.labels("lost").inc()
        self._let_go(partitions)
        consumer.incremental_unassign(partitions)

    def _let_go(self, partitions: list[TopicPartition]) -> list[HeldPartition]:
        found = (self._held.pop(part.partition, None) for part in partitions)
        leaving = [held for held in found if held is not None]
        for held in leaving:
            held.revoked = True
        return leaving


def _uncommitted(partitions: Iterable[HeldPartition]) -> list[TopicPartition]:
    """The offsets to commit; they count as committed from here on, until a callback says otherwise."""
    offsets = []
    for held in partitions:
        low = held.watermark.low
        if low is not None and low != held.committed:
            held.committed = low
            offsets.append(held.at(low))
    return offsets
