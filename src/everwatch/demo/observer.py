"""An independent reader of the topics: what really came out, and when."""

import threading
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial

from confluent_kafka import TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.kafka.clients import new_consumer
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Sieve
from everwatch.model import INLINE_EXECUTOR, Transition


@dataclass(frozen=True)
class Lateness:
    """Arrival minus ``scheduled_at``, ms."""

    p50: int
    p99: int
    most: int


class Observer:
    """Reads ticks, results and transitions from where they end now, in a thread of its own.

    ``published``: the topic whose records are counted as those of the kind ``publish``; "" for none.
    """

    def __init__(self, settings: Settings, bootstrap_servers: str, clock: Clock, published: str = "") -> None:
        self._clock = clock
        self._topics = Topics.of(settings)
        group = f"{settings.application}-demo-{settings.instance}"
        self._consumer = new_consumer(settings, bootstrap_servers, group, **{"fetch.wait.max.ms": 10})
        # the demo's topics take records of others, too
        self._sieve = Sieve(self._consumer, partial(new_consumer, settings, bootstrap_servers, group), clock)
        names = [*self._topics.all_ticks, self._topics.results, self._topics.transitions, self._topics.progress]
        names += [published] if published else []
        positions = [TopicPartition(name, number) for name in names for number in range(settings.partitions)]
        for position in positions:
            position.offset = bounds(self._consumer, position.topic, position.partition).stop
        self._consumer.assign(positions)
        self._lock = threading.Lock()
        self._emitted: Counter[int] = Counter()
        self._lateness: Counter[int] = Counter()
        self._progress = dict.fromkeys(range(settings.partitions), 0)
        self.ticks = 0
        self.results = 0
        self._published = published
        self.read_back = 0
        self.transitions: deque[Transition] = deque(maxlen=8)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="observer", daemon=True)
        self._thread.start()

    def emitted(self, after: int, upto: int) -> int:
        """Return how many ticks due at after < t <= upto were seen: on the ticks topics, or as inline results."""
        with self._lock:
            return sum(count for at, count in self._emitted.items() if after < at <= upto)

    def watched_since(self, instant: int) -> bool:
        """Tell whether every partition has a worker that has emitted all its ticks up to ``instant``."""
        return min(self._progress.values()) >= instant

    def lateness(self) -> Lateness:
        """The lateness of all ticks seen on the ticks topics."""
        with self._lock:
            counts = sorted(self._lateness.items())
        total = sum(count for _, count in counts)
        if not total:
            return Lateness(0, 0, 0)
        return Lateness(_percentile(counts, total, 0.50), _percentile(counts, total, 0.99), counts[-1][0])

    def forget_lateness(self) -> None:
        """Measure anew from now on: ticks caught up after a start say nothing about the steady state."""
        with self._lock:
            self._lateness.clear()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(5)
        self._consumer.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            messages = self._consumer.consume(1, 0.2)
            messages += self._consumer.consume(5_000, 0) if messages else []
            records = self._sieve.sift(messages).records
            now = self._clock.now_ms()
            with self._lock:
                for message in records:
                    self._note(Record.of(message), now)

    def _note(self, record: Record, now: int) -> None:
        if record.topic in self._topics.all_ticks:
            self.ticks += 1
            self._emitted[record.timestamp_ms] += _is_scheduled(record)
            self._lateness[max(0, now - record.timestamp_ms)] += 1
            return
        if record.topic == self._published:
            self.read_back += 1
            return
        if record.topic == self._topics.progress:
            self._progress[record.partition] = int(record.value or 0)
            return
        try:
            if record.topic == self._topics.transitions:
                self.transitions.append(codec.decode_transition(record.value))
                return
            result = codec.decode_result(record.value)
        except InvalidInput:
            return  # the sink keeps and reports what is no result
        self.results += 1
        if result.executor == INLINE_EXECUTOR and result.skipped_count <= 1:
            self._emitted[result.scheduled_at] += 1


def _is_scheduled(record: Record) -> bool:
    """Tell whether a tick is one that its schedule asks for, and not a first check beside it."""
    try:
        return not codec.decode_tick(record.key, record.value, record.timestamp_ms, record.partition).manual
    except InvalidInput:
        return False


def _percentile(counts: list[tuple[int, int]], total: int, share: float) -> int:
    seen = 0
    for value, count in counts:
        seen += count
        if seen >= share * total:
            return value
    return counts[-1][0]
