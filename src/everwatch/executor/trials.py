"""Trials: checks that people run once before they save a monitor. Their outcomes go to a topic that nothing stores.

They pass the same guard, resolver, secrets and limits of callables as every check of this executor. A trial that is
lost on the way (a kill, a rebalance) is not run again: its client asks once more.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from confluent_kafka import KafkaException, Message

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput
from everwatch.encoding.trial_records import TrialOutcome, TrialRequest, decode_trial, encode_trial
from everwatch.executor.tick_records import bytes_of
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumer_groups import trials_group
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Sieve
from everwatch.kinds.execution.config_secrets import config_secrets
from everwatch.kinds.execution.kind_runner import Job, job_of, run_job
from everwatch.kinds.execution.result_builder import LONGEST_DETAIL, LONGEST_REASON
from everwatch.kinds.protocol import RunContext
from everwatch.model import Outcome, Tick
from everwatch.observability.log_throttle import LogThrottle

log = logging.getLogger(__name__)
AT_ONCE = 8
MOST_WAITING = 200
"""Trials that wait for their turn in one executor; more are dropped, and their askers get no answer."""
TRIAL_USER = "trial"
_BATCH = 50
_CONSUME_S = 0.2
_RETRY_S = 1.0
Taken = tuple[int, TrialRequest]
"""The number of a partition, and a request of it."""
RunJob = Callable[[Job, Tick, RunContext, Callable[[BaseException], None]], Awaitable[Outcome]]


class Trials:
    """Runs trials, ``AT_ONCE`` at most, and sends their outcomes. Lives on the event loop."""

    def __init__(
        self,
        settings: Settings,
        context: RunContext,
        outbox: Outbox,
        executor_id: str,
        run: RunJob = run_job,
    ) -> None:
        """``run``: runs a kind."""
        self._run_job = run
        self._context = context
        self._outbox = outbox
        self._executor_id = executor_id
        self._topic = Topics.of(settings).trial_results
        self._secrets = config_secrets(settings)
        self._waiting: deque[Taken] = deque(maxlen=MOST_WAITING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._log_throttle = LogThrottle(context.clock)

    def accept(self, taken: Sequence[Taken]) -> None:
        """Take over requests; of too many the oldest are dropped."""
        if self._is_closed:
            return  # the reader's last words
        self._waiting.extend(taken)
        self._begin()

    async def close(self) -> None:
        """Cancel running trials, and take no more."""
        self._is_closed = True
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self) -> None:
        while self._waiting and len(self._tasks) < AT_ONCE:
            number, request = self._waiting.popleft()
            if request.expires_at <= self._context.clock.now_ms():
                continue  # its client waits no longer
            task = asyncio.create_task(self._run(number, request), name="trial")
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._log_throttle.may_log("failed"):
            log.error("a trial failed (logged once a minute)", exc_info=error)
        self._begin()

    async def _run(self, number: int, request: TrialRequest) -> None:
        clock = self._context.clock
        started_at, began_s = clock.now_ms(), clock.monotonic_s()
        tick = Tick(
            user_id=TRIAL_USER,
            # of its own: a connection that is kept for one trial must not serve another user's
            monitor_id=request.trial_id,
            scheduled_at=started_at,
            kind=request.kind,
            config=request.config,
            timeout_ms=request.timeout_ms,
            version=1,
            partition=number,
            manual=True,
            payload=request.payload,
        )
        complain = partial(self._complain, request.kind)
        try:
            async with asyncio.timeout(max(0, request.expires_at - started_at) / 1000):
                outcome = await self._run_job(job_of(tick, self._secrets), tick, self._context, complain)
        except TimeoutError:
            return  # a kind may wait for minutes until it begins; its asker has gone, and others need the place
        duration_ms = max(0.0, round((clock.monotonic_s() - began_s) * 1000 - outcome.waited_ms, 3))
        found = TrialOutcome(
            request.trial_id,
            outcome.status,
            outcome.reason[:LONGEST_REASON],
            started_at + round(outcome.waited_ms),
            duration_ms,
            outcome.timings,
            outcome.detail[:LONGEST_DETAIL],
            self._executor_id,
        )
        key, value = encode_trial(found)
        self._outbox.send(self._topic, partition=number, key=key, value=value)

    def _complain(self, kind: str, error: BaseException) -> None:
        if self._log_throttle.may_log(kind):
            log.error("the kind '%s' failed in a trial", kind, exc_info=error)


class TrialReader:
    """Reads the topic ``trials``, in a thread, as one of the executors: each record goes to one of them.

    A topic that cannot be read is logged once a minute and tried again: ticks do not wait for it.
    """

    def __init__(self, settings: Settings, clients: Clients, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._group = trials_group(settings)
        self._topic = Topics.of(settings).trials
        self._log_throttle = LogThrottle(clock)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, deliver: Callable[[Sequence[Taken]], None]) -> None:
        """Begin to read; ``deliver`` is called with requests, in the thread."""
        self._thread = threading.Thread(target=self._run, args=(deliver,), name=self._topic, daemon=True)
        self._thread.start()

    async def finish(self, timeout_s: float) -> None:
        """Leave the group; wait for at most ``timeout_s``."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, timeout_s)

    def _run(self, deliver: Callable[[Sequence[Taken]], None]) -> None:
        while not self._stopping.is_set():
            try:
                self._read(deliver)
            except KafkaException as error:
                if self._log_throttle.may_log("unavailable"):
                    log.warning("Kafka: topic %s cannot be read (%s); still trying", self._topic, error.args[0].str())
                self._stopping.wait(_RETRY_S)

    def _read(self, deliver: Callable[[Sequence[Taken]], None]) -> None:
        # what is read is acknowledged whether or not it is run: a trial is run once at most
        consumer = self._clients.consumer(
            self._group,
            **{"enable.auto.commit": True, "enable.auto.offset.store": True, "auto.offset.reset": "latest"},
        )
        sieve = Sieve(consumer, partial(self._clients.consumer, self._group), self._clock)
        try:
            consumer.subscribe([self._topic])
            while not self._stopping.is_set():
                sifted = sieve.sift(consumer.consume(_BATCH, _CONSUME_S))
                for message in sifted.errors:
                    if (error := message.error()) is not None and self._log_throttle.may_log(error.code()):
                        log.warning("Kafka: %s; still trying", error.str())
                if taken := [each for each in map(self._decoded, sifted.records) if each is not None]:
                    deliver(taken)
        finally:
            consumer.close()

    def _decoded(self, message: Message) -> Taken | None:
        try:
            return message.partition() or 0, decode_trial(bytes_of(message.value()), TrialRequest)
        except InvalidInput as wrong:
            if self._log_throttle.may_log("wrong"):
                log.warning("a record of topic %s is ignored (logged once a minute): %s", self._topic, wrong)
            return None
