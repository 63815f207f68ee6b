"""Records onto a topic, from a process of its own: librdkafka, pre-encoded, as fast as the broker takes them."""

import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Protocol

from confluent_kafka import Producer

from bench.errors import Unmeasured
from bench.population import Population

Records = Iterable[tuple[bytes, bytes]]
FLUSH_S = 60.0
_POLL_EVERY = 1_000


class Source(Protocol):
    """Source of records that can be sent to another process."""

    def records(self) -> Records:
        """Keys and values, in the order they are to be sent in."""
        ...


class Signups:
    """The signups of some populations, with ``port`` in the monitors' config."""

    def __init__(self, *populations: Population, port: int = 9) -> None:
        self._populations = populations
        self._port = port

    def records(self) -> Records:
        """Keys and values."""
        for population in self._populations:
            yield from population.signups(self._port)


class Publishing:
    """Records on their way. ``wait()`` returns once the broker has them all."""

    def __init__(self, process: SpawnProcess) -> None:
        self._process = process

    def wait(self, within_s: float) -> None:
        """Raises Unmeasured if it fails or takes longer."""
        self._process.join(within_s)
        if self._process.exitcode is None:
            raise Unmeasured(f"The bench's own records were not published within {within_s:g} s.")
        if self._process.exitcode:
            raise Unmeasured("The bench's own records could not be published: the broker did not take them.")


@contextmanager
def publishing(bootstrap_servers: str, topic: str, source: Source, *, a_second: float = 0.0) -> Iterator[Publishing]:
    """Publish what ``source`` gives, ``a_second`` of them each second (0: as fast as it goes), until done or left."""
    context = multiprocessing.get_context("spawn")
    leave = context.Event()
    arguments = (bootstrap_servers, topic, source, a_second, leave)
    process = context.Process(target=_run, args=arguments, daemon=True, name="bench-producer")
    process.start()
    try:
        yield Publishing(process)
    finally:
        leave.set()
        process.join(2)
        process.terminate()
        process.join()


def publish(bootstrap_servers: str, topic: str, source: Source, within_s: float) -> None:
    """Publish what ``source`` gives and wait until the broker has it. Raises Unmeasured."""
    with publishing(bootstrap_servers, topic, source) as published:
        published.wait(within_s)


def _run(bootstrap_servers: str, topic: str, source: Source, a_second: float, leave: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "log_level": 3,  # errors; a fresh broker makes it warn
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5 if a_second else 50,
            "batch.size": 512 * 1024,
            "queue.buffering.max.messages": 500_000,
            "message.max.bytes": 2 * 1024 * 1024,
        }
    )
    began_s = time.monotonic()
    for count, (key, value) in enumerate(source.records()):
        if a_second:
            ahead_s = count / a_second - (time.monotonic() - began_s)
            if ahead_s > 0 and leave.wait(ahead_s):
                return
        while True:
            try:
                producer.produce(topic, key=key, value=value)
                break
            except BufferError:
                producer.poll(0.1)
        if count % _POLL_EVERY == 0:
            producer.poll(0)
            if leave.is_set():
                return
    if producer.flush(FLUSH_S):
        raise SystemExit(1)
