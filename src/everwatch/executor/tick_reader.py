"""Ticks of one topic as its consumer's thread reads them: fetch, pause when enough wait, commit finished offsets.

``acknowledge`` may be called from any thread. Everything else happens in the consumer's thread, so there is no lock.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import Transient
from everwatch.executor.assignment import DEFAULT_LIMITS, HeldPartition, ReaderLimits, Taken, uncommitted
from everwatch.executor.backlog import LATE_MS
from everwatch.executor.consumer_errors import is_hopeless, unavailable
from everwatch.executor.metrics import LAG, WAITING
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumer_groups import executors_group
from everwatch.kafka.partition_bounds import ends
from everwatch.kafka.unreadable_batches import Sieve, Unreadable
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.metrics import ASSIGNED
from everwatch.observability.rebalances import Rebalances

log = logging.getLogger(__name__)

_BATCH = 500
_CONSUME_S = 0.02
_END_S = 1.0
_COMMIT_EVERY_S = 1.0
_LAST_COMMIT_S = 1.5

# librdkafka fetches so much ahead; its defaults (100,000 records, 64 MB) are far more than an executor runs before the
# next fetch. All partitions share a queue; while it is full, each is looked at again after this backoff (default: 1 s).
PREFETCH = {"queued.min.messages": 2_000, "queued.max.messages.kbytes": 16_384, "fetch.queue.backoff.ms": 20}

# Longest time for which a partition with late ticks is read to its end before these are begun.
CATCH_UP_S = 5.0

# A member learns of a rebalance by its next heartbeat; until then the partitions that move have no owner.
_HEARTBEAT_MS = 1_000

Deliver = Callable[[list[Taken]], None]
Refuse = Callable[[HeldPartition, Unreadable], None]


class TickReader:
    """Fetches the ticks of one topic: its assigned, paused and committed partitions.

    Its thread repeats ``take``, ``note_late_partitions``, ``settle``, ``balance`` and ``commit_when_due`` in this
    order, and calls ``commit_at_last`` in the end. librdkafka calls ``on_assign``, ``on_revoke``, ``on_lost``,
    ``on_commit`` and ``on_error`` within ``take``. ``stopping``: nothing more is taken; ``finishing``: the
    thread is to end.
    """

    def __init__(
        self, topic: str, settings: Settings, clients: Clients, clock: Clock, limits: ReaderLimits = DEFAULT_LIMITS
    ) -> None:
        self.limits = limits
        self._topic = topic
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._enough = 2 * settings.max_in_flight + _BATCH
        self._room_again = settings.max_in_flight
        self._log_throttle, self._rebalances = LogThrottle(clock), Rebalances(topic, clock)
        self.held: dict[int, HeldPartition] = {}
        # nothing is read; and of which partitions not
        self._is_full = False
        self._paused: set[int] = set()
        self._acknowledged: SimpleQueue[tuple[HeldPartition, int]] = SimpleQueue()
        self.stopping = threading.Event()
        self.finishing = threading.Event()
        self._committing = False
        self._commit_due_s = 0.0
        self._looked_s = 0.0
        self._hopeless: KafkaError | None = None
        self._sieve: Sieve | None = None
        self.is_member = False
        """Tell whether the group has assigned partitions to this member, or none, as there are more members."""

    def acknowledge(self, held: HeldPartition, offset: int) -> None:
        """Note that the result of the record at ``offset`` is on the broker. From any thread."""
        self._acknowledged.put((held, offset))

    def measure(self) -> None:
        """Set the gauges of assigned partitions and waiting ticks. From any thread."""
        partitions = list(self.held.values())
        now = self._clock.now_ms()
        lags = (now - held.read_to_ms for held in partitions if held.is_unread and held.read_to >= 0)
        ASSIGNED.labels(self._topic).set(len(partitions))
        WAITING.labels(self._topic).set(sum(held.parked for held in partitions))
        LAG.labels(self._topic).set(max(lags, default=0) / 1000)

    def new_member(self) -> Consumer:
        """Make the consumer that fetches the ticks."""
        return self._new_consumer(
            on_commit=self.on_commit,
            **PREFETCH,
            **{"heartbeat.interval.ms": min(_HEARTBEAT_MS, self._settings.session_timeout_ms // 3)},
        )

    def subscribe(self, consumer: Consumer) -> None:
        """Join the group."""
        consumer.subscribe([self._topic], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_lost)

    def _new_consumer(self, **more: object) -> Consumer:
        group = executors_group(self._settings, self._settings.region)
        return self._clients.consumer(group, error_cb=self.on_error, **more)

    # --- taking -----------------------------------------------------------------------------------------------------

    def take(self, consumer: Consumer) -> tuple[list[Taken], list[tuple[HeldPartition, Unreadable]]]:
        """Fetch ticks to run, and offsets that cannot be read, in the order of each partition. Raises Transient."""
        if self._sieve is None:
            self._sieve = Sieve(consumer, self._new_consumer, self._clock, is_paused=lambda at: at[1] in self._paused)
        messages, unreadable, others = self._sieve.sift(consumer.consume(_BATCH, _CONSUME_S))
        for message in others:
            if (error := message.error()) is not None:
                self.on_error(error)
        if self._hopeless is not None:
            raise self.unavailable(self._hopeless)
        if unreadable:
            return self._begun_in_order(messages, unreadable)
        return [each for message in messages if (each := self._began(message)) is not None], []

    def _begun_in_order(
        self, messages: list[Message], unreadable: list[Unreadable]
    ) -> tuple[list[Taken], list[tuple[HeldPartition, Unreadable]]]:
        """The same with unreadable batches in between: a partition's offsets begin in their order, or not at all."""
        batch: list[Taken] = []
        passed: list[tuple[HeldPartition, Unreadable]] = []
        following = sorted(unreadable, key=lambda each: each.first)
        for message in [*sorted(messages, key=lambda each: each.offset() or 0), None]:
            while following and (message is None or following[0].first < (message.offset() or 0)):
                each = following.pop(0)
                held = self.held.get(each.partition)
                if held is not None and not self.stopping.is_set() and held.watermark.begin(each.end - 1):
                    held.read_to = each.end - 1
                    passed.append((held, each))
            if message is not None and (taken := self._began(message)) is not None:
                batch.append(taken)
        return batch, passed

    def _began(self, message: Message) -> Taken | None:
        """A tick that is to be run; None if its partition is another's, or it was taken before."""
        held, offset = self.held.get(message.partition() or 0), message.offset()
        if held is None or offset is None or self.stopping.is_set() or not held.watermark.begin(offset):
            return None
        held.read_to, held.read_to_ms = offset, message.timestamp()[1]
        return held, message

    def note_late_partitions(self, consumer: Consumer) -> bool:
        """Note which partitions have late ticks and more to read; whether one has caught up or is not waited for."""
        late_before_ms = self._clock.now_ms() - LATE_MS
        now_s = self._clock.monotonic_s()
        if self._looked_s and now_s - self._looked_s > self.limits.standstill_s:
            self._go_on_after_standstill(consumer)
            # asking the broker takes a while, which is no standstill
            now_s = self._clock.monotonic_s()
        self._looked_s = now_s
        has_changed = False
        for held in self.held.values():
            nothing_new = held.read_to < 0 or (held.looked_to == held.read_to and not held.is_behind)
            if not nothing_new:
                held.looked_to = held.read_to
                is_behind = self._is_behind(consumer, held, late_before_ms, now_s)
                has_changed |= held.is_behind and not is_behind
                held.is_behind = is_behind
            # set last: a reader that sees it sees the rest, too
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
        return not is_full and now_s - held.behind_since_s < CATCH_UP_S

    def _go_on_after_standstill(self, consumer: Consumer) -> None:
        """The process stood still: a late tick waits until its partition is read to where it ends now."""
        found: dict[int, int] = {}
        if self.held:
            with suppress(KafkaException):
                found = ends(consumer, self._topic, self.held, _END_S)
        for number, held in self.held.items():
            # one that was behind already had no time to catch up meanwhile
            held.behind_since_s = 0.0
            # what the last fetch said is from before, and what was read then may not be all any more
            held.end = found.get(number, held.end)
            held.looked_to = -1

    @property
    def _share(self) -> int:
        """Return the number of ticks of a partition that may wait when much waits already."""
        # of one partition at most half, and only its share once that many wait: no partition delays another
        return self.limits.parked // 2 // max(len(self.held), 1)

    def _is_at_end(self, consumer: Consumer, held: HeldPartition) -> bool:
        """Tell whether all is read that the last fetch said there was."""
        _, high = consumer.get_watermark_offsets(held.at(), cached=True)
        return held.read_to + 1 >= max(high, held.end) and high >= 0

    def balance(self, consumer: Consumer) -> None:
        """Pause partitions of which enough ticks wait, resume where there is room; polling goes on meanwhile.

        All of them while what runs, or is on its way to the event loop, is enough. One alone while more than
        ``again`` of its ticks were begun behind its oldest one, or while more of it waits than it may take of the
        memory: as much as there is until half of that is taken, then its share of the other half.
        """
        partitions = self.held.values()
        parked = sum(held.parked for held in partitions)
        outstanding = sum(held.watermark.outstanding for held in partitions) - parked
        self._is_full = outstanding > self._room_again if self._is_full else outstanding >= self._enough
        share = self._share
        wanted = set()
        for held in partitions:
            # what is paused goes on at half of that
            half = 2 if held.partition in self._paused else 1
            spans = held.watermark.span >= self.limits.again // half
            is_crowded = parked >= self.limits.parked // 2 // half and held.parked >= share // half
            if self._is_full or self.stopping.is_set() or spans or is_crowded:
                wanted.add(held.partition)
        self._pause(consumer, wanted)

    def _pause(self, consumer: Consumer, wanted: set[int]) -> None:
        """Pause these partitions, and resume all others."""
        paused, self._paused = self._paused & self.held.keys(), wanted
        if begin := [self.held[number].at() for number in sorted(wanted - paused)]:
            consumer.pause(begin)
        if end := [self.held[number].at() for number in sorted(paused - wanted)]:
            consumer.resume(end)

    def on_error(self, error: KafkaError) -> None:
        """Note an error of the client: one that waiting does not mend is raised by ``take``."""
        # called inside consume(), too, where an exception would be lost on the way through C
        if is_hopeless(error):
            self._hopeless = error
        elif self._log_throttle.may_log(error.code()):
            log.warning("Kafka: %s; still trying", error.str())

    def unavailable(self, error: KafkaError) -> Transient:
        """Return the error to end with."""
        return unavailable(error, self._topic, executors_group(self._settings, self._settings.region))

    # --- committing -------------------------------------------------------------------------------------------------

    def settle(self, wait_s: float = 0) -> None:
        """Work off the acknowledgements; with ``wait_s``, wait this long for the first one."""
        try:
            held, offset = self._acknowledged.get(block=wait_s > 0, timeout=wait_s or None)
            while True:
                if held.watermark.finish(offset):
                    held.finished += 1
                held, offset = self._acknowledged.get_nowait()
        except Empty:
            return

    def commit_when_due(self, consumer: Consumer) -> None:
        """Begin to commit finished offsets, once a second."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._commit_due_s and not self._committing:
            self._commit_due_s = now_s + _COMMIT_EVERY_S
            self._commit(consumer, self.held.values())

    def _commit(self, consumer: Consumer, partitions: Iterable[HeldPartition]) -> bool:
        """Begin to commit new offsets; False if there are none."""
        offsets = uncommitted(partitions)
        if offsets:
            consumer.commit(offsets=offsets, asynchronous=True)
            self._committing = True
        return bool(offsets)

    def on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Note how a commit ended; what failed is committed again."""
        self._committing = False
        for offset in offsets:
            failure = error or offset.error
            held = self.held.get(offset.partition)
            if failure is not None and held is not None:
                held.committed = None
                if self._log_throttle.may_log(("commit", failure.code())):
                    log.warning("offsets could not be committed, trying again: %s", failure.str())

    def commit_at_last(self, consumer: Consumer) -> None:
        """Commit finished offsets before the group is left."""
        deadline_s = self._clock.monotonic_s() + _LAST_COMMIT_S
        while self._clock.monotonic_s() < deadline_s:
            self.settle()
            if not self._committing and not self._commit(consumer, self.held.values()):
                return
            # serves the commit's callback; partitions are paused
            consumer.poll(0.02)

    # --- rebalancing ------------------------------------------------------------------------------------------------

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Hold these partitions."""
        for part in partitions:
            self.held[part.partition] = HeldPartition(part.topic, part.partition)
        consumer.incremental_assign(partitions)
        self.is_member = True
        self._rebalances.assigned()
        if self._is_full or self.stopping.is_set():
            self._paused |= {part.partition for part in partitions}
            consumer.pause(partitions)

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give partitions up, once running checks are durable or ``revoke_wait_s`` is over; commit finished offsets."""
        leaving = self._let_go(partitions)
        self._rebalances.revoked()
        # what is under way would be run twice: give it a moment to end
        began_s = self._clock.monotonic_s()
        deadline_s = began_s + (0 if self.finishing.is_set() else self.limits.revoke_wait_s)
        self.settle()
        while any(held.busy for held in leaving) and self._clock.monotonic_s() < deadline_s:
            self.settle(wait_s=0.05)
        # this wait is no standstill, after which the partitions that stay would wait for another second
        self._looked_s += min(self._clock.monotonic_s() - began_s, self.limits.revoke_wait_s)
        offsets = uncommitted(leaving)
        # at the end ``commit_at_last`` has done so; a second try could block for longer than a stop may take
        if offsets and not self.finishing.is_set():
            try:
                consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                log.warning("offsets of revoked partitions could not be committed: %s", error.args[0].str())
        consumer.incremental_unassign(partitions)

    def on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give these partitions up: another member has them, whose commits a commit now would undo."""
        self.is_member = False
        self._rebalances.lost()
        self._let_go(partitions)
        consumer.incremental_unassign(partitions)

    def _let_go(self, partitions: list[TopicPartition]) -> list[HeldPartition]:
        found = (self.held.pop(part.partition, None) for part in partitions)
        leaving = [held for held in found if held is not None]
        for held in leaving:
            held.revoked = True
        return leaving
