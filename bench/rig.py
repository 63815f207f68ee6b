"""A broker, workers and users of one's own, in a folder that goes when the bench is over."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Event

import msgspec
import psutil
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from rich.console import Console

from bench.client import KafkaClient
from bench.errors import Unmeasured
from bench.producing import Source, publish
from bench.worker import Worker, cpu_s_of
from everwatch.cli.support.embedded_broker import start_broker
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings, load_settings
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topic_administration import ensure_topics
from everwatch.kafka.topics import Topics

READY_WITHIN_S = 90.0
STALLED_AFTER_S = 60.0
ON_TIME_MS = 1_500
LAST_OFFSETS = 20
_POLL_S = 0.1


@dataclass
class Rig:
    """Rig of a bench: broker, processes and topics. ``say`` reports progress on stderr."""

    settings: Settings
    bootstrap_servers: str
    topics: Topics
    folder: Path
    broker: psutil.Process
    client: KafkaClient
    clock: Clock = field(default_factory=SystemClock)
    console: Console = field(default_factory=lambda: Console(stderr=True))
    workers: list[Worker] = field(default_factory=list)
    begun_s: float = 0.0

    @cached_property
    def admin(self) -> AdminClient:
        """A client that describes groups and makes topics."""
        return new_admin(self.settings, self.bootstrap_servers)

    @property
    def partitions(self) -> int:
        """Number of partitions of each topic."""
        return self.settings.partitions

    def say(self, sentence: str) -> None:
        """Tell how far the bench is, and how long it has taken."""
        self.console.print(
            f"{self.clock.monotonic_s() - self.begun_s:6.1f} s  {sentence}", highlight=False, soft_wrap=True
        )

    def start_worker(
        self, name: str = "1", variables: Mapping[str, str] | None = None, *, is_fenced: bool = True
    ) -> Worker:
        """Start a worker; ``wait_on_time`` tells when it works. ``is_fenced``: it writes in transactions."""
        shared = {
            "EVERWATCH_PARTITIONS": str(self.partitions),
            "EVERWATCH_TOPIC_PREFIX": self.settings.topic_prefix,
        }
        module, command = ("everwatch", ("worker",)) if is_fenced else ("bench.unfenced_worker", ())
        given = shared | dict(variables or {})
        worker = Worker(name, self.folder, self.bootstrap_servers, command, given, module)
        self.workers.append(worker)
        return worker

    def beside(self, name: str) -> "Rig":
        """The same broker with topics, and processes, of another prefix and folder."""
        folder = self.folder / name
        folder.mkdir()
        settings = msgspec.structs.replace(self.settings, topic_prefix=f"{name}.", data_dir=folder)
        ensure_topics(new_admin(settings, self.bootstrap_servers), settings)
        return replace(self, settings=settings, topics=Topics.of(settings), folder=folder)

    def start_executor(self, processes: int, at_once: int, name: str = "executor", region: str = "") -> Worker:
        """Start an executor with ``processes``, for ``at_once`` checks in flight, all on loopback."""
        variables = {
            "EVERWATCH_ALLOW_NETWORKS": "127.0.0.1/32",
            "EVERWATCH_MAX_IN_FLIGHT": str(at_once),
            "EVERWATCH_TARGET_IN_FLIGHT": "0",
            "EVERWATCH_TARGET_PER_S": "0",
            "EVERWATCH_PARTITIONS": str(self.partitions),
            "EVERWATCH_REGIONS": ",".join(self.settings.regions),
            "EVERWATCH_REGION": region,
        }
        command = ("executor", "--processes", str(processes))
        executor = Worker(name, self.folder, self.bootstrap_servers, command, variables)
        self.workers.append(executor)
        return executor

    def stop_worker(self, worker: Worker) -> None:
        """Stop a worker or an executor cleanly."""
        worker.stop()
        self.workers.remove(worker)

    def publish(self, topic: str, source: Source, within_s: float = 600) -> None:
        """Publish records and wait until the broker has them."""
        publish(self.bootstrap_servers, topic, source, within_s)

    def new_topic(self, name: str) -> str:
        """Create a topic like those of the product."""
        admin = self.admin
        wanted = NewTopic(name, num_partitions=self.partitions, replication_factor=1)
        admin.create_topics([wanted], operation_timeout=30)[name].result(30)
        self.wait_until(lambda: name in admin.list_topics(timeout=10).topics, f"topic {name} is there", 30)
        return name

    def ends(self, topic: str) -> list[int]:
        """End offset of each partition of a topic."""
        return self.client.ends(topic, self.partitions)

    def written(self, topic: str) -> int:
        """Number of records that were written to a topic from which none is deleted."""
        return sum(self.ends(topic))

    def claims(self, group: str, topic: str) -> list[int]:
        """Return the number of partitions of a topic per consumer-group member, without members that have none."""
        found = self.admin.describe_consumer_groups([group], request_timeout=10)[group].result(10)
        shares = [
            sum(partition.topic == topic for partition in member.assignment.topic_partitions)
            for member in found.members
        ]
        return [share for share in shares if share]

    def taken_in(self, topic: str) -> int:
        """Number of records of an input topic that workers have acknowledged, all durable."""
        group = f"{self.settings.application}-worker-{topic}"
        return sum(self.client.committed(group, topic, self.partitions))

    def wait_on_time(self, within_s: float = READY_WITHIN_S) -> None:
        """Wait until every partition's ticks are emitted up to now, and the newest worker is there to say so.

        Raises Unmeasured.
        """
        began = max(worker.begun_ms for worker in self.workers)

        def on_time() -> bool:
            ends = self.ends(self.topics.progress)
            # markers of transactions take offsets, too
            begin = [max(0, end - LAST_OFFSETS) for end in ends]
            newest = dict(self.client.records(self.topics.progress, begin, ends))
            now = self.clock.now_ms()
            return len(newest) == self.partitions and all(
                record.timestamp > began and now - int(record.value) <= ON_TIME_MS for record in newest.values()
            )

        self.wait_until(on_time, "the workers emit ticks on time", within_s)

    def wait_until(self, condition: Callable[[], bool], what: str, within_s: float, look_s: float = _POLL_S) -> None:
        """Wait for a condition. Raises Unmeasured if it does not come true, or if a worker ends."""
        deadline_s = self.clock.monotonic_s() + within_s
        while not condition():
            self.check()
            if self.clock.monotonic_s() > deadline_s:
                raise Unmeasured(f"It took longer than {within_s:g} s until {what}.")
            Event().wait(look_s)

    def wait_for_count(self, count: Callable[[], int], wanted: int, what: str) -> None:
        """Wait until a count is reached, and tell how far it is. Raises Unmeasured when it stands still."""
        begun_s = moved_s = told_s = self.clock.monotonic_s()
        last = first = count()
        while last < wanted:
            self.check()
            Event().wait(_POLL_S)
            now_s = self.clock.monotonic_s()
            found = count()
            if found != last:
                last, moved_s = found, now_s
            elif now_s - moved_s > STALLED_AFTER_S:
                raise Unmeasured(f"{what}: {last} of {wanted}, and nothing moved for {STALLED_AFTER_S:g} s.")
            if now_s - told_s > 5:
                told_s = now_s
                rate = (last - first) / (now_s - begun_s)
                left = f", {(wanted - last) / rate:,.0f} s to go" if rate else ""
                self.say(f"  {what}: {last:,} of {wanted:,}, {rate:,.0f}/s{left}")

    def wait_taken_in(self, topic: str) -> None:
        """Wait until the workers have taken in all there is on an input topic."""
        wanted = self.written(topic)
        self.wait_for_count(lambda: self.taken_in(topic), wanted, f"{topic} taken in")
        self.check_refused()

    def check_refused(self) -> None:
        """Raises Unmeasured if an input was refused: the load would not be the one that was meant."""
        ends = self.ends(self.topics.dead_letters)
        if not sum(ends):
            return
        _, refused = next(self.client.records(self.topics.dead_letters, [0] * self.partitions, ends))
        reasons = [bytes(value).decode() for name, value in refused.headers if name == "reason"]
        raise Unmeasured(f"The worker refused {sum(ends)} inputs of the bench: {' '.join(reasons)}")

    def check(self) -> None:
        """Raises Unmeasured if a worker has ended."""
        for worker in self.workers:
            worker.check()

    def broker_cpu_s(self) -> float:
        """CPU time that the broker has used, seconds."""
        return cpu_s_of(self.broker)


@contextmanager
def rig(partitions: int = 8, **more: object) -> Iterator[Rig]:
    """Start a broker with Everwatch's topics; stop everything and remove the folder at the end.

    ``partitions``: 8, as all figures of docs/performance.md that say no other number have. ``more``: settings that
    differ, for the topics; processes get theirs as variables.
    """
    folder = Path(tempfile.mkdtemp(prefix="everwatch-bench-"))
    begun_s = SystemClock().monotonic_s()
    settings = load_settings(data_dir=folder, kafka_heap_mb=1024, standby_replicas=0, partitions=partitions, **more)
    broker = start_broker(settings, SystemClock(), Console(stderr=True))
    made: Rig | None = None
    try:
        bootstrap = broker.bootstrap_servers
        ensure_topics(new_admin(settings, bootstrap), settings)
        process, topics = psutil.Process(broker.pid), Topics.of(settings)
        made = Rig(settings, bootstrap, topics, folder, process, KafkaClient(bootstrap), begun_s=begun_s)
        yield made
    finally:
        # their folder goes with them: there is nothing for them to end in order
        for worker in made.workers if made else ():
            worker.kill()
        with suppress(ProcessLookupError):
            os.kill(broker.pid, signal.SIGKILL)
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
