"""The parts of a worker, and the order in which they start and stop.

Faust decides which worker owns which partition (``ownership`` has what follows from that), opens the databases of the
table, and reads the changelog for standbys. ``events`` says which part handles what another one reports.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import faust
from mode import Service

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import AccessError, BrokerUnavailable, ChangelogLost
from everwatch.core.process_memory import give_back
from everwatch.kafka.batch_producer import BatchSender
from everwatch.kafka.clients import Clients
from everwatch.kafka.compression import codec_named
from everwatch.kafka.dead_letter_writer import DeadLetters
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics
from everwatch.kinds.execution.config_secrets import ConfigSecrets, config_secrets
from everwatch.kinds.execution.result_builder import ResultBuilder
from everwatch.model import INLINE_EXECUTOR
from everwatch.observability.metrics import ASSIGNED, PRODUCER_QUEUE
from everwatch.plans.plans_file import PlansFile
from everwatch.processes.periodic import Periodic
from streams.agents.feedback import Feedback
from streams.agents.input_admission import InputAdmission
from streams.agents.isolation import PoisonIsolation
from streams.agents.manual_runs import ManualRuns
from streams.agents.monitor_changes import MonitorChanges
from streams.agents.registration import Registration
from streams.agents.signals import SignalTaker
from streams.events import InputHandlers, WorkerEvents
from streams.options import WorkerOptions
from streams.outputs.all_outputs import Outputs
from streams.outputs.refused_inputs import RefusedInputs
from streams.outputs.replies import Replies
from streams.outputs.transitions import Transitions
from streams.outputs.worker_results import WorkerResults
from streams.ownership import Ownership, PartitionParts, within
from streams.result_application import ResultApplication
from streams.state.fenced_writers import FencedWriters
from streams.state.monitors_table import new_monitors_table
from streams.state.owned_partitions import OwnedPartitions
from streams.state.table_examination import TableExaminer
from streams.state.table_measures import measure_databases, measure_standbys
from streams.state.table_notes import TableNotes
from streams.state.timetable_planner import TimetablePlanner
from streams.state.unit_of_work import UnitsOfWork
from streams.ticking.agenda_runner import AgendaRunner
from streams.ticking.due_index_loader import PAUSE_S, DueIndexLoader
from streams.ticking.emitter import Emitter, Reports, TickSending
from streams.ticking.inline_evaluator import InlineEvaluator
from streams.ticking.skipped_ticks import SkippedTicks
from streams.transport.batch_consumer import BatchConsumer, InputTopic
from streams.transport.worker_clients import WorkerClients

logger = logging.getLogger(__name__)
TABLE = "monitors"
GIVEN_BACK_EVERY_S = 15.0
PLANS_LOOKED_AT_EVERY_S = 1.0
# a stop takes these one after the other, and must be over within ten seconds
LAST_PATIENCE_S = 1.0
FLUSH_S = 1.0


class Engine(Service):
    """The parts of a worker, and the order in which they start and stop.

    They are made in two steps. Faust's table and the batch consumers must exist before the app starts; whatever sends
    needs connected clients, and is made by ``on_start``. ``WorkerEvents`` stands between the two.
    """

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        clients: Clients,
        clock: Clock,
        member: str,
        options: WorkerOptions,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._clock = clock
        self._options = options
        self._app = app
        self.ready = asyncio.Event()
        self._has_failed = False
        self.access_error: AccessError | None = None
        self.access_denied = asyncio.Event()
        self.plans = PlansFile(settings.plans_file, settings.regions) if settings.plans_file else None
        topics = self._topics = Topics.of(settings)
        made = self._clients = WorkerClients(settings, clients)
        events = self.events = WorkerEvents()
        events.engine = self
        self.table = new_monitors_table(
            app, TABLE, settings.partitions, events.assigned, events.recovered, self._usable_as_standby
        )
        store = self._store = self.table.store
        store.clock = clock
        store.write_batch = options.write_batch
        store.new_consumer = made.changelog
        store.new_prober = made.changelog_prober if options.rebuild_changelog else None
        self.examiner = TableExaminer(topics.monitors_changelog, member, self._store, made, options)
        self._packing = codec_named(settings.compression)
        within_s = settings.first_check_within_s
        self.planner = TimetablePlanner(
            self._packing,
            clock,
            first_check_within_ms=None if within_s < 0 else within_s * 1_000,
            new_timetable=options.new_timetable,
        )
        self.partitions = OwnedPartitions(self.planner, store)
        self.writers = FencedWriters(
            made.fenced_producer, topics, settings.partitions, events.lost, TableNotes(store, self.partitions, member)
        )
        # the order within a topic is kept, so each topic has a ``PoisonIsolation`` of its own
        handle_by_topic = {
            topics.signups: events.signups,
            topics.commands: events.commands,
            topics.signals: events.signals,
            topics.results: events.results,
        }
        self.isolations = {
            topic: PoisonIsolation(topic, handle, events.refused_inputs, clock)
            for topic, handle in handle_by_topic.items()
        }
        # an agent takes a topic's batches from its channel
        self.channels = {topic: app.channel(maxsize=1) for topic in self.isolations}
        self.batch_consumers = [self._new_batch_consumer(topic, channel) for topic, channel in self.channels.items()]
        self.ownership = events.ownership = Ownership(
            self,
            PartitionParts(self.partitions, self.writers, self.examiner, self.batch_consumers, self._store),
            settings,
            clock,
            options,
        )

    async def on_start(self) -> None:
        """Connect the producers and make the parts that send."""
        settings, topics, clock = self._settings, self._topics, self._clock
        self.outbox = Outbox(self._clients.producer(), self.events.failed)
        self._sender = BatchSender(self._clients.batch_producer)
        await self._sender.start()
        self.planner.largest_batch = await asyncio.to_thread(self._clients.largest_tick_batch)
        self.units = UnitsOfWork(
            self._store, self.outbox, self.writers, self.partitions, self.partitions.wait_until_sweeps_are_on_time
        )
        outputs = self._new_outputs()
        secrets = config_secrets(settings)
        builder = ResultBuilder(INLINE_EXECUTOR, settings.output_format, clock)
        results = WorkerResults(self.outbox, topics, builder)
        inline = InlineEvaluator(self._store, results, self._packing, secrets)
        skipped = SkippedTicks(results, self._packing)
        due_loader = DueIndexLoader(self.partitions, self.planner, self._store)
        result_application = ResultApplication(outputs.transitions, clock.now_ms, settings.tasks_kept_s * 1_000)
        self.events.handlers = self._new_handlers(outputs, secrets, results, inline, result_application)
        agendas = AgendaRunner(self.partitions, self.planner, self.units, self._store, result_application, clock)
        sending = TickSending(self._sender, self._packing, self.outbox, self.writers, topics)
        await self.add_runtime_dependency(
            Emitter(self.partitions, due_loader, Reports(inline, skipped), sending, clock, settings.sweep_ms)
        )
        self._repeat(due_loader.load_ahead, PAUSE_S)
        self._repeat(partial(self._run_agendas, agendas), self._options.agendas_every_s)
        self._repeat(partial(asyncio.to_thread, give_back), GIVEN_BACK_EVERY_S, at_once=False)
        self._repeat(self._compare_changelog_id, self._options.changelog_id_every_s, at_once=False)
        if self.plans is not None:
            # in a thread: a large file takes a moment to judge, in which ticks would be late
            self._repeat(partial(asyncio.to_thread, self.plans.look), PLANS_LOOKED_AT_EVERY_S, at_once=False)
        self.ready.set()

    async def on_stop(self) -> None:
        """Close all parts in order; accepted inputs are durable or will be read again."""
        if not self.ready.is_set():
            return
        self.ownership.stop_give_up_timer()
        await self.ownership.close(LAST_PATIENCE_S)
        await asyncio.gather(*(each.close() for each in self.batch_consumers))
        await self.writers.close(FLUSH_S)
        left = await self.outbox.close(FLUSH_S)
        await within(FLUSH_S, self._sender.stop())
        if left:
            logger.warning("%d records could not be sent before the end", left)

    def _new_outputs(self) -> Outputs:
        """Make the outputs beside ticks."""
        topics, clock, output_format = self._topics, self._clock, self._settings.output_format
        replies = Replies(self.outbox, topics, clock, output_format)
        dead_letters = DeadLetters(self.outbox, topics, clock, "worker")
        refused = RefusedInputs(dead_letters, replies, self.outbox)
        return Outputs(self.outbox, Transitions(topics, output_format), replies, refused)

    def _new_handlers(
        self,
        outputs: Outputs,
        secrets: ConfigSecrets,
        results: WorkerResults,
        inline: InlineEvaluator,
        result_application: ResultApplication,
    ) -> InputHandlers:
        """Make the objects whose methods handle inputs."""
        outbox, _, replies, refused = outputs
        clock = self._clock
        admission = InputAdmission(refused, clock, secrets, self.plans, self._settings.regions)
        manual_runs = ManualRuns(outbox, self._topics, admission.produced_at, results, inline.evaluate_now)
        changes = MonitorChanges(admission, outputs, manual_runs, clock)
        return InputHandlers(
            Registration(self.units, self.planner, outputs, admission, changes, clock),
            SignalTaker(self.units, refused, replies, outbox, clock, secrets),
            Feedback(self.units, self.planner, result_application, refused),
            refused,
        )

    @property
    def is_broken(self) -> bool:
        """Tell whether a part has failed: memory and durable state may differ."""
        return self._has_failed or self.crashed or self._app.crashed

    async def idle(self) -> None:
        """Wait until no unit of work is under way."""
        await self.units.idle()

    async def join_group(self) -> None:
        """Have the group assign partitions anew."""
        await self._app.consumer.subscribe({name for channel in self._app.topics for name in channel.topics})

    def measure(self) -> None:
        """Set the gauges of assigned partitions and queued records."""
        if self.ready.is_set():
            ASSIGNED.labels(self._topics.monitors_changelog).set(len(self.partitions.owned))
            PRODUCER_QUEUE.set(self.outbox.queued)
            measure_standbys(self._app.tables, self._app.consumer)
            measure_databases(self._store)

    def end(self, error: BaseException) -> None:
        """End the worker, as a part cannot go on. The next owner of its partitions starts from the durable state."""
        self._has_failed = True
        if isinstance(error, AccessError):
            # nothing of ours is wrong: a clean stop, and then the sentence
            self.access_error = self.access_error or error
            self.access_denied.set()
            return
        self.add_future(self.crash(error))

    async def _usable_as_standby(self, numbers: set[int]) -> set[int]:
        try:
            return await self.examiner.usable_as_standby(numbers)
        except BrokerUnavailable as error:
            logger.warning("standby copies are left as they are until the next rebalance: %s", error)
        except AccessError as error:
            self.end(error)
        return set()

    def _new_batch_consumer(self, topic: str, channel: Any) -> BatchConsumer:
        return BatchConsumer(
            InputTopic(
                topic,
                partial(self._clients.inputs, topic),
                self._clients.former_commands if topic == self._topics.commands else None,
            ),
            channel,
            self.events.unreadable,
            self.events.failed,
            self._clock,
            self._options.retry_s,
        )

    def _repeat(self, work: Callable[[], Awaitable[object]], every_s: float, *, at_once: bool = True) -> None:
        """Repeat ``work`` while the engine lives; what it raises ends the worker."""
        self.add_future(Periodic(work, every_s, self.events.failed, at_once=at_once).run())

    async def _run_agendas(self, agendas: AgendaRunner) -> None:
        if self.ownership.may_change:
            await agendas.run_due()

    async def _compare_changelog_id(self) -> None:
        """End the worker when its changelog was created anew: a successor would find later records only."""
        try:
            found, known = await asyncio.to_thread(self._clients.changelog_id), self._store.changelog_id
        except BrokerUnavailable:
            return
        if found and known and found != known:
            raise ChangelogLost(
                f"The changelog {self._topics.monitors_changelog} was made anew while this worker ran. It ends; started"
                " again, it compares its tables with the changelog."
            )
