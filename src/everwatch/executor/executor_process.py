"""The executor process: ticks in, results out."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from confluent_kafka import KafkaException

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, Transient
from everwatch.core.process_memory import expect_batches
from everwatch.encoding.presence_notes import NOTED_EVERY_S
from everwatch.executor.assignment import HeldPartition, Taken
from everwatch.executor.callable_pool import budgets_of, open_callables
from everwatch.executor.cancellation_reader import CancellationReader, Cancellations
from everwatch.executor.check_runner import CheckOutputs, Checks
from everwatch.executor.metrics import SLOTS
from everwatch.executor.presence import Presence
from everwatch.executor.result_sender import ResultSender
from everwatch.executor.tick_consumers import TickConsumers
from everwatch.executor.trials import Taken as TakenTrial
from everwatch.executor.trials import TrialReader, Trials
from everwatch.kafka.clients import Clients
from everwatch.kafka.event_publisher import open_publisher
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.unreadable_batches import Unreadable
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.network.egress import outgoing_of
from everwatch.network.guard import Guard
from everwatch.observability.metrics import PRODUCER_QUEUE
from everwatch.processes import Process
from everwatch.processes.open_files import allow_many_files
from everwatch.processes.periodic import Periodic
from everwatch.tracing.tracer import open_tracer

log = logging.getLogger(__name__)

# together less than ten seconds, which is how long a stop may take
_IN_FLIGHT_S = 5.0
_DELIVERY_S = 1.5
_LEAVE_S = 2.0
_FLUSH_S = 0.2
_FOLLOW_S = 0.5
# a topic that cannot be read must not keep an executor from its ticks
_CAUGHT_UP_S = 20.0
_UNDELIVERED_EVERY_S = 1.0


class Executor(Process):
    """Takes ticks, runs their kinds and sends the results.

    Waits for an unavailable broker. ``start`` raises SettingsError for a topic that monitors must not be allowed
    to write to. ``run`` raises BrokerUnavailable for what waiting does not mend: a topic that is missing or not
    allowed, or results that could not be delivered for ten minutes.
    """

    name = "executor"

    def __init__(self, settings: Settings, clients: Clients, clock: Clock, executor_id: str | None = None) -> None:
        super().__init__(settings, clock)
        self._clients = clients
        self._executor_id = executor_id or settings.instance
        self._opened = AsyncExitStack()
        self._started = False
        self._cancellations = CancellationReader(settings, clients, clock)
        self._ticks = TickConsumers(settings, clients, clock)
        self._trial_reader = TrialReader(settings, clients, clock)
        self.health.expect("cancellations", self._cancellations.why_not_read)
        self.health.expect("assignment", self._ticks.why_not_assigned)

    async def start(self) -> None:
        """Make the clients and the parts, and begin to read cancellations."""
        settings, clock = self.settings, self.clock
        expect_batches()
        allow_many_files()
        loop = asyncio.get_running_loop()
        try:
            self._outbox = Outbox(self._clients.producer())
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Kafka: no client can be made of these settings ({error.args[0].str()})."
            ) from None
        self._opened.push_async_callback(self._outbox.close, _FLUSH_S)
        publisher = await self._opened.enter_async_context(open_publisher(settings, self._clients))
        callables = await self._opened.enter_async_context(
            open_callables(clock, settings.python_processes, settings.python_memory_mb, budgets_of(settings))
        )
        context = await self._opened.enter_async_context(
            open_run_context(
                clock, Guard(settings.allow_networks), publisher, callables, outgoing=outgoing_of(settings)
            )
        )
        tracer = await self._opened.enter_async_context(open_tracer(self.name, self._executor_id))
        SLOTS.set(settings.max_in_flight)
        checks = self._checks = Checks(
            settings,
            context,
            CheckOutputs(
                self._outbox,
                self._ticks.acknowledge,
                ResultSender(settings, self._outbox, clock, self._executor_id, tracer),
            ),
            self._cancellations.read_to_now,
        )

        def cancel(cancelling: Cancellations) -> None:
            loop.call_soon_threadsafe(checks.cancel, cancelling)

        self._cancellations.start(cancel)
        self._opened.push_async_callback(self._cancellations.finish, _FOLLOW_S)
        trials = Trials(settings, context, self._outbox, self._executor_id)
        self._opened.push_async_callback(trials.close)
        self._trial_reader.start(lambda taken: _hand_over(loop, trials, taken))
        self._opened.push_async_callback(self._trial_reader.finish, _FOLLOW_S)

    async def run(self) -> None:
        """Run checks until the process stops."""
        # no tick is begun before it is known what is cancelled
        if await _is_caught_up(self.stopping, self._cancellations):
            self._take_ticks()
            presence = Presence(self.settings, self._outbox, self.clock, self._executor_id)
            noting = self.begin("presence", Periodic(presence.note, NOTED_EVERY_S).run())
            await _until_stopped(self.stopping, self._ticks, self._checks, self._outbox, self._cancellations)
            noting.cancel()
            presence.leave()

    async def stop(self) -> None:
        """Let checks end, make results durable, commit offsets, leave the groups."""
        try:
            if self._started:
                await _stop(self._ticks, self._checks, self._outbox)
        finally:
            await self._opened.aclose()

    def measure(self) -> None:
        """Set the gauges of checks, ticks and results."""
        if self._started:
            self._checks.measure()
            self._ticks.measure()
            PRODUCER_QUEUE.set(self._outbox.queued)

    def _take_ticks(self) -> None:
        loop = asyncio.get_running_loop()
        checks = self._checks

        def deliver(batch: list[Taken]) -> None:
            loop.call_soon_threadsafe(checks.accept, batch)

        def refuse(held: HeldPartition, unreadable: Unreadable) -> None:
            loop.call_soon_threadsafe(checks.pass_over, held, unreadable)

        self._ticks.start(deliver, refuse)
        self._started = True


def _hand_over(loop: asyncio.AbstractEventLoop, trials: Trials, taken: Sequence[TakenTrial]) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(trials.accept, taken)


async def _is_caught_up(stop: asyncio.Event, cancellations: CancellationReader) -> bool:
    """Wait until all cancellations are known, or for ``_CAUGHT_UP_S``; False if a stop comes first.

    Raises Transient.
    """
    stopped = asyncio.create_task(stop.wait())
    ended = asyncio.wrap_future(cancellations.ended)
    # an error that ends it later is raised where its end is awaited
    ended.add_done_callback(lambda future: future.cancelled() or future.exception())
    watched: set[asyncio.Future[Any]] = {stopped, ended, asyncio.wrap_future(cancellations.caught_up)}
    try:
        done, _ = await asyncio.wait(watched, timeout=_CAUGHT_UP_S, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
        if not done:
            log.warning("cancellations could not be read within %g s; what was cancelled before may run", _CAUGHT_UP_S)
        return not stopped.done()
    finally:
        stopped.cancel()


async def _until_stopped(
    stop: asyncio.Event, ticks: TickConsumers, checks: Checks, outbox: Outbox, cancellations: CancellationReader
) -> None:
    stopped = asyncio.create_task(stop.wait())
    undelivered = asyncio.create_task(Periodic(outbox.delivered, _UNDELIVERED_EVERY_S).run())
    ended = [*ticks.ended, cancellations.ended]
    watched: set[asyncio.Future[Any]] = {stopped, undelivered, checks.failed, *map(asyncio.wrap_future, ended)}
    try:
        done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            future.result()
    finally:
        stopped.cancel()
        undelivered.cancel()


async def _stop(ticks: TickConsumers, checks: Checks, outbox: Outbox) -> None:
    # 1. nothing new  2. what is under way ends, or is left to the next executor  3. results durable  4. offsets
    ticks.stop_taking()
    given_up = await checks.drain(_IN_FLIGHT_S)
    if given_up:
        log.info("%d checks were still running and are left to another executor", given_up)
    with suppress(TimeoutError, Transient):
        async with asyncio.timeout(_DELIVERY_S):
            await outbox.delivered()
    if not await ticks.finish(_LEAVE_S):
        log.warning("the broker does not let this executor leave its group; it will notice by itself")
