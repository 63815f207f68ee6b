"""The checks in flight: from a tick's record to a result on its way. Lives on the event loop."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec
from confluent_kafka import Message

from everwatch import codec
from everwatch.config import Settings
from everwatch.errors import InvalidInput, Unhandled, is_retryable
from everwatch.executor.held import HeldPartition, Taken
from everwatch.executor.manners import Manners
from everwatch.executor.overlap import Run, Running, reason_of_skip
from everwatch.executor.queues import Queues
from everwatch.executor.records import tick_of
from everwatch.kafka.dead_letters import DeadLetters
from everwatch.kafka.outbox import OnDelivered, Outbox
from everwatch.kafka.records import Record
from everwatch.kafka.topics import Topics
from everwatch.kinds.callables import CALLABLE_TARGET
from everwatch.kinds.protocol import RunContext
from everwatch.kinds.running import LONGEST_DETAIL, LONGEST_REASON, Job, job_of, run_job, target_of
from everwatch.model import Outcome, Priority, Result, Status, Tick
from everwatch.quiet import Quiet

log = logging.getLogger(__name__)


Acknowledge = Callable[[HeldPartition, int], None]
Repeated = tuple[Tick, OnDelivered]
Behind = tuple[Priority, Taken]
TickRun = Run[Repeated, Behind]


class _Turn(NamedTuple):
    """Something to start: one of the ticks that wait for a host."""

    host: str


class _Parked(NamedTuple):
    """A tick that waits for its host."""

    run: TickRun
    job: Job
    held: HeldPartition
    message: Message


class Checks:
    """Runs at most ``max_in_flight`` checks at once, in the order of ``Queues``; what waits costs no task.

    A tick that was due while its monitor's tick before ran is not run, unless it may overlap: its result says
    ``skipped``. One that was due earlier, and comes late, is run when that has ended.

    A tick whose host has enough to do waits without a slot, and its time has not begun; its monitor counts as running.

    ``acknowledge`` is called, in another thread, when the outcome of a record is on the broker.
    ``failed`` gets an exception when results cannot be handed over at all: the executor should end then.
    """

    def __init__(
        self, settings: Settings, context: RunContext, outbox: Outbox, acknowledge: Acknowledge, executor_id: str
    ) -> None:
        self._settings = settings
        self._context = context
        self._clock = context.clock
        self._outbox = outbox
        self._acknowledge = acknowledge
        self._executor_id = executor_id
        self._topics = Topics.of(settings)
        self._dead_letters = DeadLetters(outbox, self._topics, self._clock, "executor")
        self._priorities = {self._topics.ticks_for(priority): priority for priority in Priority}
        self._queues: Queues[Taken | _Turn] = Queues(settings.max_in_flight)
        # a few of one callable may wait for a process; what is more takes no slot
        of_a_callable = 2 * settings.python_processes
        self._manners: Manners[_Parked] = Manners(
            settings.target_in_flight,
            settings.target_per_s,
            self._on_turn,
            lambda target: of_a_callable if target.startswith(CALLABLE_TARGET) else 0,
        )
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at_s: float | None = None
        self._running: Running[Repeated, Behind] = Running()
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = Quiet(context.clock)
        self._draining = False
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()

    def accept(self, batch: list[Taken]) -> None:
        """Take over a batch of records; each is started as soon as there is room."""
        for taken in batch:
            self._queues.put(self._priorities[taken[0].topic], taken)
        self._start_waiting()

    async def drain(self, timeout_s: float) -> int:
        """Start nothing more, wait for at most ``timeout_s``, then give up; returns how many checks were given up."""
        self._draining = True
        self._queues.clear()
        self._manners.clear()
        self._set_alarm()
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(set(self._tasks), timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=0.5)
        return len(late)

    def _start_waiting(self) -> None:
        if self._draining:
            return
        while (taken := self._queues.take()) is not None:
            priority, work = taken
            try:
                started = (
                    self._start_parked(priority, work.host) if isinstance(work, _Turn) else self._start(priority, *work)
                )
                if not started:
                    self._queues.release(priority)
            except Exception as error:
                try:
                    self._refuse(work, error)
                except Exception as problem:  # nobody waits for what is called by the event loop
                    self._fail(problem)
                    return
                self._queues.release(priority)
        self._set_alarm()

    def _start(self, priority: Priority, held: HeldPartition, message: Message) -> bool:
        """Begin the check of a record; False if there is none to run (yet), and its slot is free."""
        if held.revoked:  # its new owner runs it
            return False
        held.started += 1
        delivered = self._acknowledging(held, message)
        try:
            tick = tick_of(message)
        except InvalidInput as error:
            self._bury(message, error, delivered)
            return False
        if (run := self._running.same_as(tick)) is not None:
            if run.waits_for:  # it may never begin: whoever took this partition has the other record
                _wait_behind(run, priority, held, message)
            else:
                run.repeated.append((tick, delivered))
            return False
        if (run := self._running.in_the_way_of(tick)) is not None:
            if run.overlaps(tick):
                self._skip(tick, run, delivered)
            else:
                _wait_behind(run, priority, held, message)
            return False
        job = job_of(tick)
        host = target_of(job) if self._manners.limits else ""
        run = self._running.begin(tick, priority, self._clock.now_ms())
        now_s = self._clock.monotonic_s()
        if host and not self._manners.admits(host, now_s):
            held.started -= 1
            held.parked += 1
            run.waits_for = host
            self._manners.park(host, priority, _Parked(run, job, held, message), now_s)
            return False
        self._run(run, job, host, delivered)
        return True

    def _start_parked(self, priority: Priority, host: str) -> bool:
        """Begin the check that waited longest for ``host``; False if there is none to run, and the slot is free."""
        now_s = self._clock.monotonic_s()
        parked = self._manners.take(host, priority, now_s)
        if parked is None:
            return False
        run, job, held, message = parked
        held.parked -= 1
        self._take_up(run)
        if held.revoked:
            self._running.end(run)
            self._manners.pass_over(host, now_s)
            return False
        held.started += 1
        run.waits_for = ""
        self._run(run, job, host, self._acknowledging(held, message))
        return True

    def _run(self, run: TickRun, job: Job, host: str, delivered: OnDelivered) -> None:
        if host:
            self._manners.start(host, self._clock.monotonic_s())
        task = self._loop.create_task(self._check(run.tick, job, delivered))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, run, host))

    def _take_up(self, run: TickRun) -> None:
        for priority, taken in run.behind:
            taken[0].parked -= 1
            self._queues.put(priority, taken)
        run.behind.clear()

    def _on_turn(self, priority: Priority, host: str) -> None:
        # what waits for its host has come before what waits for a slot
        self._queues.put_ahead(priority, _Turn(host))

    def _set_alarm(self) -> None:
        """One timer for all hosts, set to when the first of them may be asked again."""
        at_s = self._manners.wakes_at_s
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
        self._manners.wake(self._clock.monotonic_s())
        self._start_waiting()

    def _acknowledging(self, held: HeldPartition, message: Message) -> OnDelivered:
        return partial(_call_without_message, self._acknowledge, held, message.offset() or 0)

    def _ended(self, run: TickRun, host: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._running.end(run)
        self._queues.release(run.priority)
        if host:
            self._manners.end(host, self._clock.monotonic_s())
        self._take_up(run)
        if not task.cancelled():  # else its repetitions, like itself, are left to another executor
            try:
                task.result()
                # only now: of two results of one identity the first has to be the one that tells what came of it
                for tick, delivered in run.repeated:
                    self._skip(tick, run, delivered)
            except BaseException as error:
                self._fail(error)
        self._start_waiting()

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    async def _check(self, tick: Tick, job: Job, delivered: OnDelivered) -> None:
        started_at = self._clock.now_ms()
        began_s = self._clock.monotonic_s()
        outcome = await run_job(job, tick, self._context, partial(self._complain, tick.kind))
        # what waits for its turn has not begun
        started_at += round(outcome.waited_ms)
        duration_ms = max(0.0, round((self._clock.monotonic_s() - began_s) * 1000 - outcome.waited_ms, 3))
        self._send(self._result(tick, outcome, started_at, duration_ms), tick.partition, delivered)

    def _skip(self, tick: Tick, run: TickRun, delivered: OnDelivered) -> None:
        outcome = Outcome(Status.SKIPPED, reason_of_skip(run, tick))
        self._send(self._result(tick, outcome, self._clock.now_ms(), 0.0), tick.partition, delivered)

    def _result(self, tick: Tick, outcome: Outcome, started_at: int, duration_ms: float) -> Result:
        skipped = outcome.status is Status.SKIPPED
        return Result(
            user_id=tick.user_id,
            monitor_id=tick.monitor_id,
            scheduled_at=tick.scheduled_at,
            kind=tick.kind,
            version=tick.version,
            status=outcome.status,
            reason=outcome.reason[:LONGEST_REASON],
            started_at=started_at,
            duration_ms=duration_ms,
            attempt=tick.attempt,
            timings=outcome.timings,
            executor=self._executor_id,
            skipped_until=tick.scheduled_at if skipped else 0,
            skipped_count=1 if skipped else 0,
            manual=tick.manual,
            detail=str(outcome.detail)[:LONGEST_DETAIL],
        )

    def _send(self, result: Result, partition: int, delivered: OnDelivered) -> None:
        self._outbox.send(
            self._topics.results,
            partition=partition,
            key=codec.user_key(result.user_id),
            value=self._encoded(result),
            on_delivered=delivered,
        )

    def _complain(self, kind: str, error: BaseException) -> None:
        if self._quiet.may_say((kind, type(error))):
            log.error("the kind '%s' failed unexpectedly (said once a minute)", kind, exc_info=error)

    def _encoded(self, result: Result) -> bytes:
        try:
            data = codec.encode_result(result, self._settings.output_format)
            if len(data) > codec.LARGEST_RESULT_BYTES:
                raise ValueError(
                    f"the outcome takes {len(data)} bytes, and at most {codec.LARGEST_RESULT_BYTES} are sent"
                )
            return data
        except Exception as error:  # e.g. timings of another's kind that are not numbers
            self._complain(result.kind, error)
            reason = "internal error: the outcome cannot be encoded"
            plain = msgspec.structs.replace(result, status=Status.FAILURE, reason=reason, timings={}, detail="")
            return codec.encode_result(plain, self._settings.output_format)

    def _refuse(self, work: Taken | _Turn, error: Exception) -> None:
        """Refuse a tick that cannot be started; raises ``error`` if that lies with no tick.

        Ticks are started one by one, so the record that fails is known. It is not tried again: a part of it may have
        begun.
        """
        if isinstance(work, _Turn) or is_retryable(error):
            raise error
        if self._quiet.may_say(("refused", type(error).__name__)):
            log.error("a tick cannot be started and is refused (logged once a minute)", exc_info=error)
        held, message = work
        self._bury(message, Unhandled(error), self._acknowledging(held, message))

    def _bury(self, message: Message, error: InvalidInput, delivered: OnDelivered) -> None:
        self._dead_letters.put(Record.of(message), error, delivered)


def _wait_behind(run: TickRun, priority: Priority, held: HeldPartition, message: Message) -> None:
    """Let a tick wait for the end of a run, without a slot; like one that waits for its host it blocks no other."""
    held.started -= 1
    held.parked += 1
    run.behind.append((priority, (held, message)))


def _call_without_message(acknowledge: Acknowledge, held: HeldPartition, offset: int, _message: Message) -> None:
    acknowledge(held, offset)
