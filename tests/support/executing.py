"""The checks of an executor without Kafka: records are made by hand, and an outbox only remembers."""

import asyncio
from concurrent.futures import Future
from math import inf
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from everwatch.core.config import Settings
from everwatch.encoding import codec
from everwatch.executor.assignment import HeldPartition
from everwatch.executor.check_runner import DEFAULT_LIMITS, CheckLimits, CheckOutputs, Checks
from everwatch.executor.result_sender import ResultSender
from everwatch.kafka.topics import Topics
from everwatch.kinds.protocol import RunContext
from everwatch.model import Result, Tick
from everwatch.tracing.tracer import Tracer

TOPICS = Topics.of(Settings())
# in the future: what is due later than a run began overlaps with it
AT = 4_000_000_000_000
# far more than a busy machine needs
PATIENCE_S = 60


class FakeMessage:
    """A record as the client gives it."""

    def __init__(self, offset: int, value: bytes, at: int, key: bytes, partition: int = 3) -> None:
        self._fields = offset, value, key, partition, at

    def offset(self) -> int:
        return self._fields[0]

    def value(self) -> bytes:
        return self._fields[1]

    def key(self) -> bytes:
        return self._fields[2]

    def partition(self) -> int:
        return self._fields[3]

    def topic(self) -> str:
        return TOPICS.ticks

    def timestamp(self) -> tuple[int, int]:
        return 1, self._fields[4]


class FakeOutbox:
    """Remembers what is sent, and delivers at once; while ``broken`` nothing can be sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.broken = False
        self._more = asyncio.Event()

    def send(self, topic: str, **record: Any) -> None:
        if self.broken:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.sent.append(record | {"topic": topic})
        record["on_delivered"](None)
        self._more.set()

    async def holds(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.sent) < count:
                self._more.clear()
                await self._more.wait()

    @property
    def results(self) -> list[Result]:
        return [codec.decode_result(record["value"]) for record in self.sent if record["topic"] == TOPICS.results]


class Executor:
    """The checks of an executor, its records and its outbox."""

    def __init__(
        self,
        context: RunContext,
        max_in_flight: int,
        executor_id: str = "executor-1",
        tracer: Tracer | None = None,
        check_limits: CheckLimits = DEFAULT_LIMITS,
        **limits: int,
    ) -> None:
        self.outbox = FakeOutbox()
        self.acknowledged: list[int] = []
        # who waits until cancellations are read
        self.asked: list[Future[None]] = []
        # on a busy machine this process may stand still, too: that is nothing to wait for
        self.knows_all = True
        self.held = {topic: HeldPartition(topic, 3, is_behind=False, looked_s=inf) for topic in TOPICS.all_ticks}
        settings = Settings(max_in_flight=max_in_flight, **limits)
        self.checks = Checks(
            settings,
            context,
            CheckOutputs(
                self.outbox,  # type: ignore[arg-type]
                lambda held, offset: self.acknowledged.append(offset),
                ResultSender(settings, self.outbox, context.clock, executor_id, tracer),  # type: ignore[arg-type]
            ),
            self._read_cancellations,
            check_limits,
        )
        self._offset = 0

    def _read_cancellations(self) -> "Future[None]":
        self.asked.append(Future())
        if self.knows_all:
            self.asked[-1].set_result(None)
        return self.asked[-1]

    def take(
        self,
        *configs: str,
        topic: str = TOPICS.ticks,
        at: int = AT,
        raw: bytes = b"",
        **tick: Any,
    ) -> None:
        """Take a tick for each config, of a monitor of its own unless ``monitor_id`` says which."""
        batch = []
        for config in configs:
            text = config if config.startswith("{") else f'{{"does":"{config}"}}'
            fields = {
                "user_id": "user",
                "monitor_id": f"monitor-{self._offset}",
                "scheduled_at": 0,
                "kind": "plain",
                "config": text,
                "timeout_ms": 5_000,
                "version": 7,
                "partition": 3,
            }
            made = Tick(**fields | tick)
            value = raw or codec.encode_tick(made)
            batch.append((self.held[topic], FakeMessage(self._offset, value, at, codec.user_key(made.user_id))))
            self._offset += 1
        self.checks.accept(batch)  # type: ignore[arg-type]

    async def has_run(self, kind: Any, count: int) -> None:
        """Wait until so many checks have begun."""
        async with asyncio.timeout(PATIENCE_S):
            while len(kind.order) < count:
                await asyncio.sleep(0)

    async def sent(self, count: int) -> list[Result]:
        """Wait for so many results."""
        await self.outbox.holds(count)
        return self.outbox.results
