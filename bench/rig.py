"""A broker, a worker and users of one's own, in a folder that goes when the bench is over."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import orjson
import psutil
from rich.console import Console

from everwatch import codec
from everwatch.cli.broker import start_broker
from everwatch.clock import Clock, SystemClock
from everwatch.config import Settings, environment_with, load_settings
from everwatch.kafka.clients import new_admin, new_consumer, new_producer
from everwatch.kafka.offsets import bounds
from everwatch.kafka.topics import Topics, ensure_topics

STOP_WITHIN_S = 15


@dataclass
class Rig:
    """What a bench works with. ``say`` tells a person how far it is, on stderr."""

    settings: Settings
    bootstrap_servers: str
    topics: Topics
    clock: Clock
    worker: psutil.Process
    console: Console

    def say(self, sentence: str) -> None:
        """Tell how far the bench is."""
        self.console.print(sentence, highlight=False)

    def sign_up(self, users: int, every: str) -> None:
        """Publish signups of ``users`` users with one tcp monitor each; nobody runs its ticks."""
        producer = new_producer(self.settings, self.bootstrap_servers)
        monitor = {"kind": "tcp", "config": {"host": "127.0.0.1", "port": 9}, "schedule": {"every": every}}
        for number in range(users):
            user = user_id(number)
            event = orjson.dumps({"user_id": user, "monitors": [monitor]})
            while True:
                try:
                    producer.produce(self.topics.signups, key=codec.user_key(user), value=event)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.flush(60)

    def records(self, topic: str) -> int:
        """How many records the topic holds by its offsets."""
        consumer = new_consumer(self.settings, self.bootstrap_servers, "bench-offsets")
        try:
            return sum(len(bounds(consumer, topic, number)) for number in range(self.settings.partitions))
        finally:
            consumer.close()

    def wait_for_records(self, topic: str, count: int, within_s: float) -> float:
        """Seconds until the topic holds so many records."""
        begun_s = self.clock.monotonic_s()
        while self.records(topic) < count:
            if self.clock.monotonic_s() - begun_s > within_s:
                raise TimeoutError(f"{topic} holds {self.records(topic)} of {count} records after {within_s} s")
            Event().wait(0.1)
        return self.clock.monotonic_s() - begun_s

    def cpu_s(self) -> float:
        """CPU time that the worker has used, seconds."""
        times = self.worker.cpu_times()
        return float(times.user + times.system)

    def resident_mib(self) -> float:
        """Resident memory of the worker, MiB."""
        return float(self.worker.memory_info().rss) / 2**20


@contextmanager
def rig() -> Iterator[Rig]:
    """Start a broker and one worker that watches all partitions; stop and remove everything at the end."""
    folder = Path(tempfile.mkdtemp(prefix="everwatch-bench-"))
    console = Console(stderr=True)
    clock = SystemClock()
    settings = load_settings(data_dir=folder, kafka_heap_mb=1024, standby_replicas=0)
    broker = start_broker(settings, clock, console)
    worker = None
    try:
        bootstrap = broker.bootstrap_servers
        ensure_topics(new_admin(settings, bootstrap), settings)
        with (folder / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "everwatch", "worker", "--stop-with-parent"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment_with(
                    {
                        "EVERWATCH_DATA_DIR": str(folder),
                        "EVERWATCH_BOOTSTRAP_SERVERS": bootstrap,
                        "EVERWATCH_STANDBY_REPLICAS": "0",
                    }
                ),
            )
        made = Rig(settings, bootstrap, Topics.of(settings), clock, psutil.Process(worker.pid), console)
        made.wait_for_records(made.topics.progress, settings.partitions, 60)
        yield made
    finally:
        if worker is not None:
            worker.terminate()
            try:
                worker.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def user_id(number: int) -> str:
    """The id of the bench user with this number."""
    return f"user-{number:08d}"
