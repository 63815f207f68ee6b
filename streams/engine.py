"""The engine of a worker: the order of start, rebalance and stop.

Faust decides who owns which partition and keeps the table, its changelog and its standbys. What this module adds is
the order of things: when a partition has been recovered its timetable is built, then its lanes are read and its ticks
go out; when it is revoked, lanes stop first, then changes, then sweeps.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Set
from contextlib import asynccontextmanager, closing
from functools import cached_property, partial
from typing import Any

import faust
from confluent_kafka import Consumer, KafkaException, Producer
from mode import Service

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import AccessError, BrokerUnavailable, ChangelogLost, RecordsUnreadable
from everwatch.core.process_memory import give_back
from everwatch.kafka.access_errors import refused
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.batch_producer import BatchSender
from everwatch.kafka.clients import Clients
from everwatch.kafka.compression import codec_named
from everwatch.kafka.dead_letter_writer import DeadLetters
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.progress import Noted, read_progress
from everwatch.kafka.topics import Topics, largest_batch, topic_id
from everwatch.kafka.unreadable_batches import PROBING
from everwatch.kinds.execution.config_secrets import config_secrets
from everwatch.observability.metrics import ASSIGNED, PRODUCER_QUEUE, REBALANCES
from everwatch.plans.plans_file import PlansFile
from everwatch.processes.periodic import Periodic
from everwatch.rules.changelog_marks import UNREADABLE_REMEDY, Mark
from streams.agents.feedback import Feedback
from streams.agents.inputs import Inputs
from streams.agents.isolation import Isolated
from streams.agents.manual_runs import ManualRuns
from streams.agents.monitor_changes import MonitorChanges
from streams.agents.registration import Registration
from streams.agents.signals import Signals
from streams.metrics import REBALANCE
from streams.outputs.all_outputs import Outputs
from streams.outputs.dead_letters import RejectedInputs
from streams.outputs.replies import Replies
from streams.outputs.transitions import Transitions
from streams.state.owned_partitions import OwnedPartitions, Planner
from streams.state.partition_logs import PartitionLogs, PartitionLost
from streams.state.table_examination import TableExaminer
from streams.state.unit_of_work import Writer, new_monitors_table
from streams.ticking.agenda_runner import AgendaRunner
from streams.ticking.due_index_loader import PAUSE_S, DueIndexLoader
from streams.ticking.emitter import Emitter
from streams.ticking.inline_evaluator import InlineEvaluator
from streams.transport.batch_consumer import BatchConsumer

logger = logging.getLogger(__name__)
TABLE = "monitors"
PATIENCE_S = 3.0
GIVEN_BACK_EVERY_S = 15.0
WAKE_EVERY_S = 0.5
PLANS_LOOKED_AT_EVERY_S = 1.0
CHANGELOG_LOOKED_AT_EVERY_S = 10.0
UNREADABLE_LOOKED_AT_EVERY_S = 30.0
REJOIN_AFTER_S = 1.0
# a worker is not ready while a partition of its own has emitted nothing for longer
BEHIND_MS = 10_000
NAMED_AT_MOST = 5
# a rebalance waits for a member that died for one session timeout; ticks go on for so many without an assignment
SESSIONS = 2
# a stop takes these one after the other, and must be over within ten seconds
LAST_PATIENCE_S = 1.0
FLUSH_S = 1.0


class Engine(Service):
    """What lives as long as the worker: producers, lanes, partitions, the timer."""

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        clients: Clients,
        clock: Clock,
        member: str,
        rebuild_changelog: bool,
    ) -> None:
        super().__init__()
        self._member = member
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._ready = asyncio.Event()
        self._app = app
        self._broken = False
        self.refusal: AccessError | None = None
        self.refused = asyncio.Event()
        self._era = 0
        self._switch = asyncio.Lock()
        self._plans = PlansFile(settings.plans_file) if settings.plans_file else None
        topics = self._topics = Topics.of(settings)
        self.logs = PartitionLogs(
            self._new_log_producer, topics, settings.partitions, self._lost, self._mark_of, self._undecodable_of
        )
        self._catching_up: asyncio.Future[None] | None = None
        self._rejoining = False
        # set while a rebalance is under way: gives up when it does not end
        self._rebalance: asyncio.TimerHandle | None = None
        # since when partitions of this worker may be without an owner; 0: they are not
        self._rebalancing_since_s = 0.0
        self._may_change = False
        self._opening: asyncio.Task[None] | None = None
        # partitions whose changelog has records that this worker lacks and cannot read
        self._unreadable: frozenset[int] = frozenset()
        # how far ticks were emitted when partitions were caught up with, ms
        self._progress_found: dict[int, int] = {}
        self.table = new_monitors_table(
            app, TABLE, settings.partitions, self.assigned, self.opened, self._usable_as_standby
        )
        self.table.store.new_consumer = self._new_recovery_consumer
        new_prober = self.table.store.new_prober = self._new_changelog_prober if rebuild_changelog else None
        self.examiner = TableExaminer(
            topics.monitors_changelog,
            member,
            lambda: self.table.store,
            lambda isolation: self._new_tail_consumer(topics.monitors_changelog, isolation),
            self._changelog_id,
            self._read_noted,
            rebuild_changelog,
            new_prober,
        )
        self._packing = codec_named(settings.compression)
        within_s = settings.first_check_within_s
        self._planner = Planner(self._packing, clock, first_check_within_ms=None if within_s < 0 else within_s * 1_000)
        self.partitions = OwnedPartitions(self._planner, self._progress, lambda: self.table.store)
        # the order within a topic is kept, so each has a handler of its own
        self.isolated = {
            topic: Isolated(topic, handle, lambda: self._refusals, clock)
            for topic, handle in (
                (topics.signups, lambda records: self.registration.sign_up(records)),
                (topics.commands, lambda records: self.registration.command(records)),
                (topics.signals, lambda records: self.signal_taker.take(records)),
                (topics.results, lambda records: self.feedback.judge(records)),
            )
        }
        # an agent takes a topic's batches from its channel
        self.channels = {topic: app.channel(maxsize=1) for topic in self.isolated}
        self._lanes = [self._lane(topic, channel) for topic, channel in self.channels.items()]

    async def on_start(self) -> None:
        """Connect the producers and put the parts together."""
        settings, topics, clock = self._settings, self._topics, self._clock
        self._outbox = Outbox(self._clients.producer(), lambda error: self.end(error))
        self._sender = BatchSender(self._clients.batch_producer)
        await self._sender.start()
        self._planner.largest_batch = await asyncio.to_thread(largest_batch, self._admin, topics.all_ticks)
        self._writer = Writer(self.table, self._outbox, self.logs, self.partitions, self.partitions.calm)
        replies = Replies(self._outbox, topics, clock, settings.output_format)
        refusals = self._refusals = RejectedInputs(
            DeadLetters(self._outbox, topics, clock, "worker"), replies, self._outbox
        )
        transitions = Transitions(self._outbox, topics, settings.output_format)
        secrets = config_secrets(settings)
        inline = InlineEvaluator(
            lambda: self.table.store, self._outbox, self._packing, topics, clock, settings.output_format, secrets
        )
        outputs = Outputs(self._outbox, transitions, replies, refusals)
        inputs = Inputs(refusals, clock, secrets, self._plans)
        manual_runs = ManualRuns(self._outbox, topics, inputs.produced_at, inline.judge_now)
        changes = MonitorChanges(inputs, outputs, manual_runs, clock)
        self.registration = Registration(self._writer, self._planner, outputs, inputs, changes, clock)
        self.signal_taker = Signals(self._writer, refusals, replies, self._outbox, clock, secrets)
        self.feedback = Feedback(self._writer, self._planner, transitions, refusals, settings.tasks_kept_s * 1_000)
        delayed = DueIndexLoader(self.partitions, self._planner, lambda: self.table.store)
        wakes = AgendaRunner(self.partitions, self._planner, self._writer, lambda: self.table.store, transitions, clock)
        await self.add_runtime_dependency(
            Emitter(
                self.partitions,
                self._sender,
                self._packing,
                self._outbox,
                self.logs,
                topics,
                clock,
                inline,
                delayed,
                settings.sweep_ms,
            )
        )
        self._repeat(delayed.load_ahead, PAUSE_S)
        self._repeat(partial(self._run_agendas, wakes), WAKE_EVERY_S)
        self._repeat(partial(asyncio.to_thread, give_back), GIVEN_BACK_EVERY_S, at_once=False)
        self._repeat(self._compare_changelog_id, CHANGELOG_LOOKED_AT_EVERY_S, at_once=False)
        if self._plans is not None:
            # in a thread: a large file takes a moment to judge, in which ticks would be late
            self._repeat(partial(asyncio.to_thread, self._plans.look), PLANS_LOOKED_AT_EVERY_S, at_once=False)
        self._ready.set()

    async def on_stop(self) -> None:
        """Let go of everything, in order; what was accepted is durable or will be read again."""
        if not self._ready.is_set():
            return
        self._end_rebalance()
        await self.close(LAST_PATIENCE_S)
        await asyncio.gather(*(lane.stop() for lane in self._lanes))
        await self.logs.close(FLUSH_S)
        left = await self._outbox.close(FLUSH_S)
        await _within(FLUSH_S, self._sender.stop())
        if left:
            logger.warning("%d records could not be sent before the end", left)

    async def pause(self, patience_s: float = PATIENCE_S) -> None:
        """A rebalance begins: nothing is changed until it is over, and ticks go on.

        Nobody else is given a partition before this worker is told its own, so its ticks need not stop; should it be
        told nothing, it gives up when its session must be over.
        """
        async with self._changes_stopped(patience_s) as are_stopped:
            if not are_stopped:
                self._let_go()
        self._end_rebalance()
        self._rebalancing_since_s = self._rebalancing_since_s or self._clock.monotonic_s()
        REBALANCES.labels("revoked").inc()
        patience_s = SESSIONS * self._settings.session_timeout_ms / 1000
        self._rebalance = asyncio.get_running_loop().call_later(patience_s, self._give_up)

    async def assigned(self, numbers: set[int], generation: int) -> None:
        """The rebalance has given these partitions to this worker: give up the others, and begin to open these.

        Faust's recovery, which is for standbys, goes on beside that.
        """
        async with self._switch:
            gone = self.partitions.owned - (numbers if self.logs.is_next(generation) else set())
            if not await _within(PATIENCE_S, self._give_away(gone)):
                # nothing of those that stay is under way: changes have stopped
                logger.warning("of partitions %s the broker has not acknowledged everything in time", sorted(gone))
        self.logs.fence(numbers, generation)
        self._end_rebalance()
        REBALANCES.labels("assigned").inc()
        self._opening = asyncio.create_task(self._open(numbers, self._era))

    def _end_rebalance(self) -> None:
        if self._rebalance is not None:
            self._rebalance.cancel()
        self._rebalance = None

    async def _give_away(self, numbers: set[int]) -> None:
        async def closed(number: int, emitted_to: int) -> None:
            # a sweep that was under way does not note by itself how far it came
            self.logs.note(number, emitted_to)
            await self.logs.flush({number})

        await self.partitions.close(numbers, closed)

    def _let_go(self) -> None:
        self.partitions.abandon()
        self.logs.renew()
        logger.warning("partitions are let go although the broker has not acknowledged everything")

    def _give_up(self) -> None:
        if self.partitions.owned:
            self.partitions.abandon()
            logger.warning("the rebalance does not end; ticks stop until it does")

    def _count_rebalance(self) -> None:
        if self._rebalancing_since_s:
            REBALANCE.observe(self._clock.monotonic_s() - self._rebalancing_since_s)
        self._rebalancing_since_s = 0.0

    def why_not_open(self) -> str:
        """Say why this worker does not hold its partitions; empty if it does, or has none as there are more workers."""
        if self._may_change or self._rebalance is not None:
            return ""
        if self._opening is None:
            return "no partitions have been assigned yet"
        return "the partitions that were assigned are being recovered"

    def why_behind(self) -> str:
        """Name the partitions that have emitted nothing for a while; empty if there are none."""
        now = self._clock.now_ms()
        late = {each.number: now - each.emitted_to for each in self.partitions if now - each.emitted_to > BEHIND_MS}
        if not late:
            return ""
        named = ", ".join(f"{number} ({ms // 1000} s)" for number, ms in sorted(late.items())[:NAMED_AT_MOST])
        return f"{len(late)} partitions are behind: {named}"

    def measure(self) -> None:
        """Set the gauges of what is held and waits to be sent."""
        if self._ready.is_set():
            ASSIGNED.labels(self._topics.monitors_changelog).set(len(self.partitions.owned))
            PRODUCER_QUEUE.set(self._outbox.queued)

    async def opened(self) -> None:
        """Wait until the partitions that were assigned last are open. Raises what keeps them from being opened."""
        if self._opening is not None:
            await asyncio.shield(self._opening)

    async def _open(self, numbers: set[int], era: int) -> None:
        """These partitions are this worker's now: read what the local table lacks of new ones, and begin.

        Waits for a broker that is away.
        """
        await self._ready.wait()
        opened = caught_up = self._rejoining = False
        while era == self._era and not self.should_stop:
            try:
                caught_up = caught_up or await self._catch_up(numbers, era)
                async with self._switch:
                    if era != self._era or not caught_up:
                        return
                    readable = numbers - self._unreadable
                    self._may_change = opened = opened or await self.partitions.open(readable)
                # without the lock: a broker that takes long to say where a topic is acknowledged keeps no hand-over
                # waiting, and no other topic
                if opened:
                    self._count_rebalance()
                    await self._open_lanes(readable, era)
                if self._unreadable:
                    self.add_future(self._look_again(self._unreadable, era))
                return
            except PartitionLost:
                return  # assigned anew meanwhile
            except (AccessError, BrokerUnavailable, KafkaException) as error:
                denied = refused(error.args[0]) if isinstance(error, KafkaException) else error
                if isinstance(denied, AccessError):
                    self.end(denied)
                    return
                logger.warning("partitions cannot be opened yet: %s", error)
                await self.sleep(1.0)

    async def _open_lanes(self, numbers: set[int], era: int) -> None:
        """Begin to read every topic that can be read; raises what keeps others from being read."""

        async def open_lane(lane: BatchConsumer) -> None:
            if era == self._era and not lane.is_open:
                await lane.open(numbers)

        outcomes = await asyncio.gather(*map(open_lane, self._lanes), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _look_again(self, numbers: Set[int], era: int) -> None:
        """Wait until the changelog of partitions can be read, from another replica perhaps; then have all opened."""
        while era == self._era and not self.should_stop:
            await self.sleep(UNREADABLE_LOOKED_AT_EVERY_S)
            try:
                if era == self._era and await self._catch_up(set(numbers), era) and not self._unreadable:
                    self._rejoining = True
                    await self._join_again(era)
                    return
            except PartitionLost:
                return  # assigned anew meanwhile
            except AccessError as error:
                self.end(error)
                return
            except (BrokerUnavailable, KafkaException) as error:
                logger.warning("the changelog of partitions %s cannot be read yet: %s", sorted(numbers), error)

    async def _catch_up(self, numbers: set[int], era: int) -> bool:
        """Bring the local table to where the changelog is, when nobody else can write it; False if interrupted."""
        await self.logs.fenced(numbers)
        if era != self._era:
            return False  # a rebalance has begun, which cancels what was under way and nothing that begins now
        missing = numbers - self.partitions.owned
        self._unreadable = frozenset()
        if not missing:
            return True
        reading = self._catching_up = asyncio.create_task(self._bring_up_to_date(missing))
        await asyncio.wait([reading])
        if reading.cancelled():
            return False
        reading.result()
        return True

    async def _bring_up_to_date(self, missing: set[int]) -> None:
        findings = await self.examiner.examine(missing)
        await self.examiner.mend(findings, self.logs.write, self.logs.note_owner)
        self._progress_found = {finding.number: finding.noted.emitted_to for finding in findings}
        try:
            await self.table.store.catch_up(self._topics.monitors_changelog, missing)
        except RecordsUnreadable as error:
            # all others are caught up with, and are not to wait for these
            self._unreadable = frozenset(error.offsets)
            logger.error("%s The partition stays closed. %s", error, UNREADABLE_REMEDY)

    async def close(self, patience_s: float = PATIENCE_S) -> None:
        """The end: nothing is this worker's any more.

        Takes a few seconds at most: what the broker has not acknowledged by then is read again by the next owner.
        """
        async with self._changes_stopped(patience_s) as are_stopped:
            if not are_stopped or not await _within(patience_s, self._give_away(self.partitions.owned)):
                self._let_go()

    @asynccontextmanager
    async def _changes_stopped(self, patience_s: float) -> AsyncIterator[bool]:
        """Stop reading inputs, and opening what is being opened; whether what was under way is over in time."""
        self._era += 1
        self._may_change = False
        self.partitions.invalidate()
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.wait([self._catching_up])
            # what it was cancelled in would keep databases open
            self._catching_up = None
        if self._opening is not None and self._opening.done() and not self._opening.cancelled():
            self._opening.exception()  # whatever it was, it comes again when partitions are assigned
        async with self._switch:
            await asyncio.gather(*(lane.close(patience_s) for lane in self._lanes))
            are_stopped = await _within(patience_s, self._writer.idle())
            if self._broken or self.crashed or self._app.crashed:
                # what is in memory may not be what is durable: timetables are not to be put away
                self.partitions.abandon()
            yield are_stopped

    def _lost(self, number: int) -> None:
        """The broker takes nothing more of a partition's owner: another worker has it, or none.

        Everything is given up at once and read anew from the changelog when it is assigned again: a unit of work that
        concerned the lost partition may be durable in others and is not in their local tables.
        """
        if self._rebalance is not None:
            # its new owner was told first; what this worker keeps, it is told in a moment
            self.partitions.abandon({number})
            return
        self.partitions.abandon()
        self.logs.renew()
        if not self._rejoining:
            self._rejoining = True
            logger.warning(
                "partition %d has another owner; this worker gives up its partitions and joins again", number
            )
            self.add_future(self._join_again(self._era))

    async def _join_again(self, era: int) -> None:
        # a worker that has lost its session finds out by itself, as a rule within this time
        await self.sleep(REJOIN_AFTER_S)
        if era == self._era and not self.should_stop:
            await self._app.consumer.subscribe({name for channel in self._app.topics for name in channel.topics})

    def end(self, error: BaseException) -> None:
        """Something cannot go on: the worker ends, and whoever takes over starts from what is durable."""
        self._broken = True
        if isinstance(error, AccessError):
            # nothing of ours is wrong: a clean stop, and then the sentence
            self.refusal = self.refusal or error
            self.refused.set()
            return
        self.add_future(self.crash(error))

    def _new_recovery_consumer(self) -> Consumer:
        return self._new_tail_consumer(self._topics.monitors_changelog)

    def _new_tail_consumer(self, topic: str, isolation: str = "read_committed") -> Consumer:
        group = f"{self._settings.application}-worker-{topic}"
        # only workers write these topics, and much of them is read at once; at the end, where this consumer learns that
        # it is the end, the broker is not to wait for more
        bulk: dict[str, object] = {
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
            "fetch.max.bytes": 16 * 1024 * 1024,
            "max.partition.fetch.bytes": 1024 * 1024,
            "isolation.level": isolation,
        }
        return self._clients.consumer(group, **bulk)

    def _new_changelog_prober(self) -> Consumer:
        group = f"{self._settings.application}-worker-{self._topics.monitors_changelog}"
        return self._clients.consumer(group, **PROBING)

    async def _usable_as_standby(self, numbers: set[int]) -> set[int]:
        try:
            return await self.examiner.usable_as_standby(numbers)
        except BrokerUnavailable as error:
            logger.warning("standby copies are left as they are until the next rebalance: %s", error)
        except AccessError as error:
            self.end(error)
        return set()

    @cached_property
    def _admin(self) -> Admin:
        return self._clients.admin()

    def _changelog_id(self) -> str:
        return topic_id(self._admin, self._topics.monitors_changelog)

    def _mark_of(self, number: int, emitted_to: int) -> Mark | None:
        """The mark of a table whose ticks are emitted so far, which is kept beside it, too."""
        store = self.table.store
        store.note_emitted(number, emitted_to)
        mark = store.mark_of(number) or Mark(store.changelog_id, -1)
        return mark._replace(member=self._member) if mark.topic_id else None

    def _undecodable_of(self, number: int) -> int:
        return self.table.store.undecodable.count(number)

    def _new_log_producer(self, number: int) -> Producer:
        transactional_id = f"{self._topics.monitors_changelog}-{number}"
        return self._clients.transactional_producer(transactional_id)

    def _lane(self, topic: str, channel: Any) -> BatchConsumer:
        group = f"{self._settings.application}-worker-{topic}"
        # a trickle is gathered by the broker: to ask for each record by itself costs more than to handle it
        gathering = {"fetch.min.bytes": 512 * 1024, "fetch.wait.max.ms": 250}
        # of commands there are few, and somebody waits for each
        fetching = {} if topic == self._topics.commands else gathering
        return BatchConsumer(
            topic,
            lambda **more: self._clients.consumer(group, **fetching | more),
            channel,
            lambda unreadable: self._refusals.keep_unreadable(unreadable),
            self.end,
            self._clock,
            # earlier workers read commands in Faust's group
            self._new_group_consumer if topic == self._topics.commands else None,
        )

    def _new_group_consumer(self) -> Consumer:
        return self._clients.consumer(self._settings.application)

    def _repeat(self, work: Callable[[], Awaitable[object]], every_s: float, *, at_once: bool = True) -> None:
        """Repeat ``work`` while the engine lives; what it raises ends the worker."""
        self.add_future(Periodic(work, every_s, self.end, at_once=at_once).run())

    async def _run_agendas(self, wakes: AgendaRunner) -> None:
        if self._may_change:
            await wakes.look()

    async def _compare_changelog_id(self) -> None:
        """End when the changelog is made anew: what is written from then on would be all that a successor finds."""
        try:
            found, known = await asyncio.to_thread(self._changelog_id), self.table.store.changelog_id
        except BrokerUnavailable:
            return
        if found and known and found != known:
            raise ChangelogLost(
                f"The changelog {self._topics.monitors_changelog} was made anew while this worker ran. It ends; started"
                " again, it compares its tables with the changelog."
            )

    async def _progress(self, numbers: Iterable[int]) -> dict[int, int]:
        return {number: self._progress_found[number] for number in numbers}

    async def _read_noted(self, numbers: Iterable[int]) -> dict[int, Noted]:
        def read() -> dict[int, Noted]:
            with closing(self._new_tail_consumer(self._topics.progress)) as consumer:
                return read_progress(consumer, self._topics.progress, numbers)

        return await asyncio.to_thread(read)


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Whether ``work`` ended in time; it is cancelled if not."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True
