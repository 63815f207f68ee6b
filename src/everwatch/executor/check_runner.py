"""Checks from a tick's record to a result on its way. Lives on the event loop.

A tick passes these methods of ``Checks``: ``accept`` takes its record, ``_admit`` puts it into its monitor's backlog,
``_put`` queues the monitor, ``_start_waiting`` gives it a slot, ``_start`` asks ``_choose`` for its next tick (there
cancelled ticks and those beyond their grace are skipped) and parks it if its host has enough to do (``_on_turn`` and
``_start_at`` go on from there), ``_begin`` starts ``_check``, and ``_ended`` frees the slot.

All in one file: it moves a tick between backlog, queue, host limit and slot, which are modules of their own; every
method here changes two of these at once.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from confluent_kafka import Message

from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput, Unhandled, is_retryable
from everwatch.executor.assignment import HeldPartition, Taken
from everwatch.executor.backlog import Backlog, Backlogs, QueuePlace, WaitingTick
from everwatch.executor.cancellation_reader import Cancellations
from everwatch.executor.cancelled_monitors import CancelledMonitors, CancelledUpto
from everwatch.executor.host_rate_limiter import HostRateLimiter
from everwatch.executor.metrics import IN_FLIGHT, LIMITED_TARGETS, SkipCause, count_check, count_skipped
from everwatch.executor.overlap import Running, RunningTick, reason_of_skip
from everwatch.executor.priority_queues import Queues, Slot
from everwatch.executor.reachability import Reachability, reaches
from everwatch.executor.result_sender import ResultSender
from everwatch.executor.standstill import CANCELLATIONS_WITHIN_S, LOOK_EVERY_S, Standstill
from everwatch.executor.tick_records import tick_of
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.dead_letter_writer import DeadLetters
from everwatch.kafka.outbox import OnDelivered, Outbox
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Unreadable
from everwatch.kinds.callable_interface import CALLABLE_TARGET
from everwatch.kinds.execution.config_secrets import config_secrets
from everwatch.kinds.execution.kind_runner import LONGEST_WAIT_S, Job, job_of, run_job, target_of
from everwatch.kinds.protocol import RunContext
from everwatch.model import Priority, Tick
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled
from everwatch.schedule.duration import describe_duration

log = logging.getLogger(__name__)


class CheckLimits(NamedTuple):
    """Limits that are no settings; ``look_every_s`` and ``cancellations_within_s`` are those of ``Standstill``.

    ``crowded``: where more ticks wait, only the newest late tick of a monitor is kept. A consumer lets twice as many
    wait. ``longest_wait_s``: for how long a kind that keeps time itself may wait before it begins.
    """

    crowded: int = 10_000
    look_every_s: float = LOOK_EVERY_S
    cancellations_within_s: float = CANCELLATIONS_WITHIN_S
    longest_wait_s: float = LONGEST_WAIT_S


DEFAULT_LIMITS = CheckLimits()

Acknowledge = Callable[[HeldPartition, int], None]
TickBacklog = Backlog[Taken]
TickRun = RunningTick[Taken, TickBacklog]


class _Turn(NamedTuple):
    """Something to start: one of the monitors that wait for a host."""

    host: str
    backlog: TickBacklog


class CheckOutputs(NamedTuple):
    """``acknowledge`` is called, in another thread, when the outcome of a record is on the broker."""

    outbox: Outbox
    acknowledge: Acknowledge
    results: ResultSender


class Checks:
    """Runs at most ``max_in_flight`` checks at once, in the order of ``Queues``; what waits costs no task.

    Ticks wait by monitor, see ``Backlog``: the freshest is begun first, and what has waited longer than its grace is
    skipped. A late tick is not begun while its partition has more to read, where a fresher one may be.

    A tick that was due while its monitor's tick before ran is not run, unless it may overlap: its result says
    ``skipped``. One that was due earlier, and comes late, is run when that has ended.

    A monitor whose host has enough to do waits without a slot, and the time of its check has not begun.

    ``failed`` gets an exception when results cannot be handed over at all: the executor should end then.
    """

    def __init__(
        self,
        settings: Settings,
        context: RunContext,
        outputs: CheckOutputs,
        read_cancellations: Callable[[], Future[None]],
        limits: CheckLimits = DEFAULT_LIMITS,
    ) -> None:
        self._crowded = limits.crowded
        self._longest_wait_s = limits.longest_wait_s
        self._context = context
        self._clock = context.clock
        self._acknowledge = outputs.acknowledge
        topics = Topics.of(settings)
        self._dead_letters = DeadLetters(outputs.outbox, topics, self._clock, "executor")
        self._reachability = Reachability()
        self._reporting = outputs.results
        self._priorities = {topics.ticks_for(priority, settings.region): priority for priority in Priority}
        self._secrets = config_secrets(settings)
        self._backlogs: Backlogs[Taken] = Backlogs()
        self._waiting = 0
        self._cancelled = CancelledMonitors()
        # late ones of partitions that are being read
        self._catching_up: dict[HeldPartition, dict[int, TickBacklog]] = {}
        self._queues: Queues[TickBacklog | _Turn] = Queues(settings.max_in_flight)
        # a few of one callable may wait for a process; what is more takes no slot
        of_a_callable = 2 * settings.python_processes
        self._host_limiter: HostRateLimiter[TickBacklog] = HostRateLimiter(
            settings.target_in_flight,
            settings.target_per_s,
            self._on_turn,
            lambda target: of_a_callable if target.startswith(CALLABLE_TARGET) else 0,
        )
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at_s: float | None = None
        self.running: Running[Taken, TickBacklog] = Running()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log_throttle = LogThrottle(context.clock)
        self._draining = False
        self._loop = asyncio.get_running_loop()
        self._standstill = Standstill(
            self._clock,
            read_cancellations,
            lambda: self.accept([]),
            limits.look_every_s,
            limits.cancellations_within_s,
        )
        self.failed: asyncio.Future[None] = self._loop.create_future()

    def accept(self, batch: list[Taken]) -> None:
        """Take over a batch of records; each is started as soon as there is room.

        An empty batch says that something has changed about the partitions.
        """
        now = self._clock.now_ms()
        for taken in batch:
            try:
                self._admit(taken, now)
            except Exception as error:
                try:
                    self._refuse(taken, error)
                except Exception as problem:  # the event loop would lose it
                    self._fail(problem)
                    return
        for held in [held for held in self._catching_up if held.revoked or not self._standstill.is_behind(held)]:
            for backlog in self._catching_up.pop(held).values():
                self._put(backlog)
        self._start_waiting()

    def pass_over(self, held: HeldPartition, unreadable: Unreadable) -> None:
        """Record ticks that cannot be read, and acknowledge the last of their offsets once that is durable."""
        if not held.revoked:
            held.started += 1
            self._dead_letters.put_unreadable(unreadable, partial(self._acknowledge, held, unreadable.end - 1))

    def cancel(self, cancelling: Cancellations) -> None:
        """Note paused and deleted monitors: their ticks that wait, or are still to come, are not begun."""
        now = self._clock.now_ms()
        for key, cancellation in cancelling:
            self._cancelled.note(key, cancellation, now)

    def measure(self) -> None:
        """Set the gauges of what runs."""
        IN_FLIGHT.set(len(self._tasks))
        LIMITED_TARGETS.set(len(self._host_limiter))

    async def drain(self, timeout_s: float) -> int:
        """Start nothing more, wait for at most ``timeout_s``, then give up; returns how many checks were given up."""
        self._draining = True
        self._standstill.close()
        self._queues.clear()
        self._host_limiter.clear()
        self._set_alarm()
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(set(self._tasks), timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=0.5)
        return len(late)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _admit(self, taken: Taken, now: int) -> None:
        """Let the tick of a record wait, unless it is not to be run at all."""
        held, message = taken
        if held.revoked:  # its new owner runs it
            return
        try:
            tick = tick_of(message)
        except InvalidInput as error:
            self._bury(taken, error)
            return
        if not self.running.is_idle(tick):
            if (run := self.running.same_as(tick)) is not None:
                held.started += 1
                run.repeated.append(taken)
                return
            blocking = self.running.in_the_way_of(tick)
            if blocking is not None and blocking.overlaps(tick):
                self._skip([WaitingTick(tick, taken, now)], reason_of_skip(blocking, tick), SkipCause.OVERLAP)
                waiting_too = self._backlogs.known(tick, self._priorities[held.topic])
                if waiting_too is not None:
                    waiting_too.pass_by(tick)
                return
        waiting = WaitingTick(tick, taken, now)
        backlog = self._backlogs.of(tick, self._priorities[held.topic])
        self._count(taken, 1)
        is_crowded = self._waiting > self._crowded
        superseded = backlog.add(waiting, is_crowded=is_crowded)
        if superseded:
            reason = _reason_of_superseding(backlog, superseded, self._crowded if is_crowded else None)
            self._skip_waiting(backlog, superseded, reason, SkipCause.SUPERSEDED)
        if backlog.place is QueuePlace.CATCH_UP and not waiting.is_late(now):
            for others in self._catching_up.values():
                others.pop(id(backlog), None)
            backlog.place = QueuePlace.NOWHERE
        if backlog.place is not QueuePlace.NOWHERE:
            return
        if held.is_behind and waiting.is_late(now):
            backlog.place = QueuePlace.CATCH_UP
            self._catching_up.setdefault(held, {})[id(backlog)] = backlog
        else:
            self._put(backlog, tick)

    def _put(self, backlog: TickBacklog, tick: Tick | None = None) -> None:
        """Queue a monitor for a slot, or let it wait behind its run."""
        if tick is None:
            found = backlog.next()
            if found is None:
                return
            tick = found.tick
        run = self.running.in_the_way_of(tick)
        if run is not None:
            backlog.place = QueuePlace.RUN
            run.behind.append(backlog)
            return
        backlog.place = QueuePlace.QUEUE
        self._queues.put(backlog.priority, tick.user_id, backlog, tick.weight)

    def _on_turn(self, priority: Priority, host: str, backlog: TickBacklog) -> None:
        # what waits for its host has come before what waits for a slot
        self._queues.put(priority, backlog.user_id, _Turn(host, backlog), _weight_of(backlog), ahead=True)

    def _choose(self, backlog: TickBacklog) -> WaitingTick[Taken] | None:
        """Return the tick of a monitor to begin next, if any; those that its misfire rule skips are reported."""
        if len(self._cancelled):
            self._drop_cancelled(backlog)
        if expired := backlog.expire(self._clock.now_ms()):
            self._skip_waiting(backlog, expired, _reason_of_expiry(expired), SkipCause.MISFIRE)
        while (found := backlog.next()) is not None:
            if not found.again and not found.source[0].revoked:
                return found
            revoked = [source for source in found.sources if source[0].revoked]
            if not revoked:
                return found
            kept = [source for source in found.sources if not source[0].revoked]
            for source in revoked:  # their new owner runs them
                self._count(source, -1)
            if kept:
                found.source, found.again, found.tick = kept[0], kept[1:], tick_of(kept[0][1])
                return found
            backlog.take_out(found, is_begun=False)
        self._backlogs.forget(backlog)
        return None

    def _drop_cancelled(self, backlog: TickBacklog) -> None:
        """Skip the ticks of a monitor that was paused or deleted since."""
        found = backlog.next()
        upto = None if found is None else self._cancelled.upto(found.tick.user_id, found.tick.monitor_id)
        if upto is not None and (dropped := backlog.cancel(*upto)):
            self._skip_waiting(backlog, dropped, _reason_of_cancelling(upto), SkipCause.CANCELLED)

    def _count(self, taken: Taken, by: int) -> None:
        taken[0].parked += by
        self._waiting += by

    # --- starting ---------------------------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        if self._draining or self._standstill.keeps_waiting():
            return
        while (slot := self._queues.take()) is not None:
            work = slot.item
            started = False
            try:
                started = self._start_at(slot, work.host) if isinstance(work, _Turn) else self._start(slot, work)
            except Exception as error:
                self._fail(error)
                return
            finally:
                if not started:
                    self._queues.release(slot)
        self._set_alarm()

    def _start(self, slot: Slot[TickBacklog | _Turn], backlog: TickBacklog) -> bool:
        """Begin a check of a monitor; False if there is none to begin (yet), and its slot is free."""
        backlog.place = QueuePlace.NOWHERE
        found = self._choose(backlog)
        if found is None:
            return False
        if self.running.in_the_way_of(found.tick) is not None:
            self._put(backlog, found.tick)
            return False
        if self._awaits_fresher(backlog, found):
            return False
        job = self._job_of(backlog, found)
        if job is None:
            self._go_on(backlog)
            return False
        # a kind that keeps time waits for something that is no host, and has a limit of its own
        host = target_of(job) if self._host_limiter.limits_hosts or job.keeps_time else ""
        if host:
            now_s = self._clock.monotonic_s()
            if not self._host_limiter.admits(host, now_s):
                backlog.place, backlog.host = QueuePlace.QUEUE, host
                self._host_limiter.park(host, backlog.priority, backlog, now_s)
                return False
        self._begin(slot, backlog, found, job, host)
        return True

    def _start_at(self, slot: Slot[TickBacklog | _Turn], host: str) -> bool:
        """Begin a check of the monitor that waited longest for ``host``; False if there is none to begin."""
        now_s = self._clock.monotonic_s()
        backlog = self._host_limiter.take(host, slot.priority, now_s)
        if backlog is None:
            return False
        backlog.place, backlog.host = QueuePlace.NOWHERE, ""
        found = self._choose(backlog)
        if found is not None and self._awaits_fresher(backlog, found):
            self._host_limiter.yield_turn(host, now_s)
            return False
        job = None if found is None else self._job_of(backlog, found)
        if found is None or job is None or target_of(job) != host or self.running.in_the_way_of(found.tick):
            self._host_limiter.yield_turn(host, now_s)
            self._go_on(backlog)
            return False
        self._begin(slot, backlog, found, job, host)
        return True

    def _awaits_fresher(self, backlog: TickBacklog, found: WaitingTick[Taken]) -> bool:
        """After a standstill: let a late tick wait while its partition has more to read, where a fresher one may be."""
        if not self._standstill.is_recent or not found.is_late(self._clock.now_ms()):
            return False
        held = found.source[0]
        if not self._standstill.is_behind(held):
            return False
        backlog.place = QueuePlace.CATCH_UP
        self._catching_up.setdefault(held, {})[id(backlog)] = backlog
        return True

    def _job_of(self, backlog: TickBacklog, found: WaitingTick[Taken]) -> Job | None:
        """The job of a tick; None if the tick is refused."""
        try:
            return job_of(found.tick, self._secrets)
        except Exception as error:
            backlog.take_out(found, is_begun=False)
            for source in found.sources:
                self._count(source, -1)
                self._refuse(source, error)
            return None

    def _begin(
        self, slot: Slot[TickBacklog | _Turn], backlog: TickBacklog, found: WaitingTick[Taken], job: Job, host: str
    ) -> None:
        backlog.take_out(found, is_begun=True)
        run = self.running.begin(found.tick, self._clock.now_ms())
        self._count(found.source, -1)
        found.source[0].started += 1
        for source in found.again:
            self._count(source, -1)
            source[0].started += 1
            run.repeated.append(source)
        began_s = self._clock.monotonic_s()
        if host:
            self._host_limiter.start(host, began_s)
        task = self._loop.create_task(
            self._check(found.tick, job, host, slot.priority, self._acknowledging_one(found.source))
        )
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, run, slot, host, began_s))
        self._go_on(backlog)

    def _go_on(self, backlog: TickBacklog) -> None:
        """Let what still waits of a monitor wait for its turn."""
        if len(backlog):
            self._put(backlog)
        else:
            self._backlogs.forget(backlog)

    def _set_alarm(self) -> None:
        """One timer for all hosts, set to when the first of them may be asked again."""
        at_s = self._host_limiter.wakes_at_s
        if at_s == self._alarm_at_s:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at_s = None, at_s
        if at_s is not None:
            # not sooner than event loops count
            self._alarm = self._loop.call_later(max(at_s - self._clock.monotonic_s(), 0.001), self._wake)

    def _wake(self) -> None:
        self._alarm = self._alarm_at_s = None
        self._host_limiter.wake(self._clock.monotonic_s())
        self._start_waiting()

    # --- running and ending -----------------------------------------------------------------------------------------

    async def _check(self, tick: Tick, job: Job, host: str, priority: Priority, delivered: OnDelivered) -> None:
        started_at = self._clock.now_ms()
        began_s = self._clock.monotonic_s()
        report = partial(self._reporting.report_fault, tick)
        outcome = await run_job(job, tick, self._context, report, self._longest_wait_s)
        # what waits for its turn has not begun
        started_at += round(outcome.waited_ms)
        ended_s = self._clock.monotonic_s()
        duration_ms = max(0.0, round((ended_s - began_s) * 1000 - outcome.waited_ms, 3))
        reached = reaches(outcome)
        unreached = 0 if reached is None else self._reachability.note(host or target_of(job), reached, ended_s)
        self._reporting.report(tick, outcome, started_at, duration_ms, delivered, unreached)
        # a name that no kind has may be anything
        count_check(priority, tick, tick.kind if job.kind else "unknown", outcome, started_at, duration_ms)

    def _ended(
        self, run: TickRun, slot: Slot[TickBacklog | _Turn], host: str, began_s: float, task: asyncio.Task[None]
    ) -> None:
        self._tasks.discard(task)
        self.running.end(run)
        now_s = self._clock.monotonic_s()
        self._queues.release(slot, now_s - began_s)
        if host:
            self._host_limiter.end(host, now_s)
        if not task.cancelled():  # else its repetitions, like itself, are left to another executor
            try:
                task.result()
                # only now: of two results of one identity the first has to be the one with the outcome
                for taken in run.repeated:
                    count_skipped(SkipCause.REPEATED, 1)
                    self._reporting.skip([run.tick], reason_of_skip(run, run.tick), self._acknowledging_one(taken))
            except BaseException as error:
                self._fail(error)
        for backlog in run.behind:
            backlog.place = QueuePlace.NOWHERE
            self._put(backlog)
        self._start_waiting()

    def _skip_waiting(
        self, backlog: TickBacklog, ticks: list[WaitingTick[Taken]], reason: str, cause: SkipCause
    ) -> None:
        """Report ticks that waited as skipped, one result for each stretch."""
        for waiting in ticks:
            for source in waiting.sources:
                self._count(source, -1)
        for stretch in backlog.stretches(ticks):
            self._skip(stretch, reason, cause)

    def _skip(self, stretch: list[WaitingTick[Taken]], reason: str, cause: SkipCause) -> None:
        """Report consecutive ticks of one monitor as skipped."""
        stretch = [waiting for waiting in stretch if not all(held.revoked for held, _ in waiting.sources)]
        if not stretch:  # their new owner reports them
            return
        sources = [source for waiting in stretch for source in waiting.sources]
        for held, _ in sources:
            held.started += 1
        count_skipped(cause, len(stretch))
        self._reporting.skip([waiting.tick for waiting in stretch], reason, self._acknowledging(sources))

    def _acknowledging_one(self, taken: Taken) -> OnDelivered:
        held, message = taken
        return partial(_acknowledge_one, self._acknowledge, held, message.offset() or 0)

    def _acknowledging(self, records: Iterable[Taken]) -> OnDelivered:
        return partial(
            _acknowledge_all, self._acknowledge, [(held, message.offset() or 0) for held, message in records]
        )

    # --- what fails -------------------------------------------------------------------------------------------------

    def _refuse(self, taken: Taken, error: Exception) -> None:
        """Refuse a tick that cannot be handled; raises ``error`` if that lies with no tick.

        It is not tried again: a part of it may have begun.
        """
        if is_retryable(error):
            raise error
        if self._log_throttle.may_log(("refused", type(error).__name__)):
            log.error(
                "a tick cannot be started and is refused (logged once a minute)",
                exc_info=error,
                extra=labelled(topic=taken[1].topic(), partition=taken[1].partition(), offset=taken[1].offset()),
            )
        self._bury(taken, Unhandled(error))

    def _bury(self, taken: Taken, error: InvalidInput) -> None:
        held, message = taken
        held.started += 1
        self._dead_letters.put(Record.of(message), error, partial(self._acknowledge, held, message.offset() or 0))

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)


def _weight_of(backlog: TickBacklog) -> int:
    found = backlog.next()
    return 1 if found is None else found.tick.weight


def _reason_of_superseding(backlog: TickBacklog, superseded: list[WaitingTick[Taken]], crowded: int | None) -> str:
    """Return why ticks give way to a newer one; ``crowded``: the limit of waiting ticks, if that is exceeded."""
    if crowded is not None and (superseded[-1].tick.may_overlap or superseded[-1].is_late(superseded[-1].arrived_at)):
        return f"more than {crowded:,} ticks wait for an executor: of late ones only the newest of a monitor is kept"
    where = f"its turn at {backlog.host}" if backlog.host else "an executor that is free"
    return f"it was still waiting for {where} when the next one was due (overlap: skip)"


def _reason_of_cancelling(upto: CancelledUpto) -> str:
    what = "its monitor was deleted" if upto.deleted_to > upto.paused_to else "its monitor was paused"
    return f"{what} before an executor came to it"


def _reason_of_expiry(expired: list[WaitingTick[Taken]]) -> str:
    tick = expired[-1].tick
    grace = describe_duration(tick.misfire_grace_ms)
    return (
        f"{len(expired)} due times waited for an executor longer than the grace of {grace}; skipped under the misfire"
        f" rule {tick.misfire}"
    )


def _acknowledge_one(acknowledge: Acknowledge, held: HeldPartition, offset: int, _message: Message) -> None:
    acknowledge(held, offset)


def _acknowledge_all(acknowledge: Acknowledge, records: list[tuple[HeldPartition, int]], _message: Message) -> None:
    for held, offset in records:
        acknowledge(held, offset)
