"""Everwatch's processes as real subprocesses, and what a client sees of them: topics, database, logs.

All in one file: the parts of one pipeline, which start and stop together.
"""

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, NamedTuple, Self

import orjson
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from everwatch.core.config import load_settings
from everwatch.core.errors import StoreError
from everwatch.encoding import codec
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.topics import Topics
from everwatch.model import Monitor, Result
from everwatch.store.selections import ResultSelection
from everwatch.store.sql_reader import SqlReader, open_reader
from support import forking
from support.account import Account, Emission, settle
from support.waiting import PATIENCE, now_ms, wait_until

PARTITIONS = 4
# where their number is nothing that a test is about: each costs a transaction a second, and topics to be made
FEW = 2
WATCHING = re.compile(r"watching (\d+) monitors on partitions \[([\d, ]*)\]")


class Place(NamedTuple):
    """Place of a record."""

    topic: str
    partition: int
    offset: int


class Process:
    """One everwatch process. It holds our pipe as its stdin, so it ends when the tests do."""

    def __init__(self, command: str, environment: Mapping[str, str], log: Path, arguments: Iterable[str] = ()) -> None:
        self.log = log
        self._begins = log.stat().st_size if log.exists() else 0
        self._stream: IO[bytes] = log.open("ab")
        self._process = forking.start(
            forking.everwatch([command, *arguments, "--stop-with-parent"], environment, new_session=True),
            stdin=subprocess.PIPE,
            stdout=self._stream,
            stderr=self._stream,
        )
        self.pid = self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def logged(self) -> str:
        """Return what this process has logged so far."""
        with self.log.open("rb") as stream:
            stream.seek(self._begins)
            return stream.read().decode(errors="replace")

    def partitions(self) -> set[int]:
        """The partitions that a worker says it watches."""
        said = WATCHING.findall(self.logged())
        return {int(number) for number in said[-1][1].split(",")} if said else set()

    def kill(self) -> None:
        """End it without warning."""
        self._end(signal.SIGKILL, 10)

    def ask_to_stop(self) -> None:
        """Send SIGTERM and wait for nothing; ``wait`` comes after."""
        self._process.terminate()

    def wait(self, within_s: float = 30) -> int:
        """Its exit status, once it has ended. Raises TimeoutExpired after PATIENCE times as long."""
        return self._end(None, within_s)

    def stop(self, within_s: float = 30) -> int:
        """End it by SIGTERM; gives its exit status. Raises TimeoutExpired after PATIENCE times as long."""
        return self._end(signal.SIGTERM, within_s)

    def _end(self, number: signal.Signals | None, within_s: float) -> int:
        if number is not None:
            self._process.send_signal(number)
        status = self._process.wait(within_s * PATIENCE)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._stream.close()
        return status


class Pipeline:
    """Topics under one prefix, one data folder, and the processes that share them."""

    open_ones: ClassVar[list[Self]] = []

    def __init__(self, folder: Path, bootstrap_servers: str, prefix: str, **more: object) -> None:
        given = {
            "data_dir": folder,
            "bootstrap_servers": bootstrap_servers,
            "topic_prefix": prefix,
            "partitions": PARTITIONS,
            "session_timeout_ms": 6_000,
            "allow_networks": "127.0.0.0/8",
            # all targets are one host
            "target_in_flight": 0,
            "target_per_s": 0,
            # what tests count is what the schedules alone say
            "first_check_within_s": -1,
            **more,
        }
        self.settings = load_settings(**given)
        self.topics = Topics.of(self.settings)
        self._numbers = list(range(self.settings.partitions))
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERWATCH_")} | {
            f"EVERWATCH_{name.upper()}": str(value) for name, value in given.items()
        }
        self.processes: dict[str, Process] = {}
        self._producer: Producer | None = None
        self._reader: SqlReader | None = None
        self.open_ones.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything; once more changes nothing."""
        if self not in self.open_ones:
            return
        self.open_ones.remove(self)
        self._producer = None
        if self._reader is not None:
            self._reader.close()
        for process in self.processes.values():
            process.ask_to_stop()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.stop(3)
            if process.runs:
                process.kill()

    # --- processes ------------------------------------------------------------------------------------------------

    def ensure(self, *names: str, arguments: Iterable[str] = ()) -> None:
        """Start what does not run: "worker", "executor", "sink"; a second one of a kind is "worker-2"."""
        for name in names:
            if name not in self.processes or not self.processes[name].runs:
                log = self.settings.data_dir / f"{name}.log"
                self.processes[name] = Process(name.partition("-")[0], self.environment, log, arguments)

    def wait_until_ready(self) -> None:
        """Wait until the workers own all partitions between them and the database is there."""
        workers = [process for name, process in self.processes.items() if name.startswith("worker")]

        def shared_out() -> bool:
            assert all(process.runs for process in self.processes.values()), "a process ended by itself"
            owned = [process.partitions() for process in workers]
            return all(owned) and sorted(number for each in owned for number in each) == list(
                range(self.settings.partitions)
            )

        try:
            wait_until("the workers own all partitions", shared_out, 60)
            wait_until("the sink has made the database", self.has_database, 30)
        except AssertionError as error:
            for title, lines in self.log_tails():
                error.add_note(f"--- {title}\n{lines}")
            raise

    def wait_until_watched(self) -> None:
        """Wait until the workers own all partitions between them, where there is no sink."""
        workers = [process for name, process in self.processes.items() if name.startswith("worker")]

        def shared_out() -> bool:
            assert all(process.runs for process in workers), "a worker ended by itself"
            return sorted(n for process in workers for n in process.partitions()) == list(
                range(self.settings.partitions)
            )

        wait_until("the workers own all partitions", shared_out, 60)

    def has_database(self) -> bool:
        """Tell whether the sink has made the database."""
        try:
            self.reader.counts()
        except StoreError:
            return False
        return True

    def log_tails(self, lines: int = 40) -> Iterable[tuple[str, str]]:
        """The end of each process's log."""
        for name, process in self.processes.items():
            tail = "\n".join(process.logged().splitlines()[-lines:])
            yield f"{self.settings.topic_prefix}{name}, pid {process.pid}", tail

    # --- topics -----------------------------------------------------------------------------------------------------

    def send(
        self, topic: str, key: str | None, value: bytes | dict[str, Any] | None, partition: int | None = None
    ) -> Place:
        """Produce one record as any client would, and wait until the broker has it."""
        self._producer = self._producer or Producer({"bootstrap.servers": self.settings.bootstrap_servers})
        delivered: list[Message] = []

        def note(error: object, message: Message) -> None:
            assert error is None, error
            delivered.append(message)

        data = orjson.dumps(value) if isinstance(value, dict) else value
        more = {} if partition is None else {"partition": partition}
        self._producer.produce(topic, key=key, value=data, on_delivery=note, **more)
        assert self._producer.flush(120) == 0
        return Place(topic, delivered[0].partition(), delivered[0].offset())

    def sign_up(self, user_id: str, *monitors: dict[str, Any], partition: int | None = None) -> Place:
        """Sign a user up, as JSON."""
        return self.send(
            self.topics.signups, user_id, {"user_id": user_id, "monitors": list(monitors)}, partition=partition
        )

    def command(self, command: str, user_id: str, monitor_id: str = "", **more: object) -> Place:
        """Send a command, as JSON."""
        named = {"monitor_id": monitor_id} if monitor_id else {}
        return self.send(self.topics.commands, user_id, {"command": command, "user_id": user_id, **named, **more})

    def beat(self, user_id: str, monitor_id: str) -> Place:
        """Send a heartbeat."""
        return self.send(self.topics.signals, user_id, {"user_id": user_id, "monitor_id": monitor_id})

    def read(self, topic: str, since: int = 0) -> list[Message]:
        """Everything on a topic up to now, without what was never committed.

        ``since`` (ms) leaves out what precedes the first record of that instant or a later one.
        """
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.bootstrap_servers,
                "group.id": "t",
                "enable.auto.commit": False,
                # the last offset may be a transaction's marker, which no record has
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "error_cb": lambda _: None,  # of a broker that is away; its partitions get another leader
            }
        )
        try:
            left: dict[int, int] = {}
            for number in self._numbers:
                held = bounds(consumer, topic, number)
                if held:
                    left[number] = held.stop
            starts = [TopicPartition(topic, number, since) for number in left]
            if since and starts:
                starts = consumer.offsets_for_times(starts, timeout=60)
                left = {each.partition: left[each.partition] for each in starts if each.offset >= 0}
            consumer.assign([each for each in starts if each.partition in left])
            found: list[Message] = []
            while left:
                for message in consumer.consume(1_000, 0.1):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    else:
                        assert error.code() == KafkaError._PARTITION_EOF, error
                    if error is not None or message.offset() + 1 >= left.get(message.partition(), 0):
                        left.pop(message.partition(), None)
            return found
        finally:
            consumer.close()

    def wait_for_progress(self, instant: int) -> None:
        """Wait until it is durable that every partition's ticks up to an instant are emitted: they never come again."""

        def noted() -> bool:
            newest = {m.key(): int(m.value()) for m in self.read(self.topics.progress)}
            return len(newest) == len(self._numbers) and min(newest.values()) >= instant

        wait_until(f"all ticks up to {instant} are noted as emitted", noted)

    def emitted(self, since: int = 0) -> Counter[Emission]:
        """Every tick that is on a topic of ticks, and how often; all that are due from ``since`` (ms) on, at least."""
        return Counter(
            Emission(topic, m.partition(), m.key().decode(), _monitor_of(m.value()), m.timestamp()[1], m.value())
            for topic in self.topics.all_ticks
            for m in self.read(topic, since)
        )

    # --- database ---------------------------------------------------------------------------------------------------

    @property
    def reader(self) -> SqlReader:
        """The database. Raises StoreError while the sink has not made it."""
        self._reader = self._reader or open_reader(self.settings)
        return self._reader

    def results(self, user_id: str, monitor_id: str = "") -> list[Result]:
        """Stored results, the oldest first."""
        stored = self.reader.results(ResultSelection(user_id, monitor_id), limit=10_000)
        return [each.result for each in reversed(stored)]

    def monitor(self, user_id: str, monitor_id: str) -> Monitor | None:
        """A monitor as the database has it."""
        return next((m for m in self.reader.monitors(user_id) if m.monitor_id == monitor_id), None)

    def wait_for_states(self, user_id: str, within_s: float = 30, **states: str) -> None:
        """Wait until the user's monitors are in these states."""

        def reached() -> bool:
            return {m.monitor_id: m.state.value for m in self.reader.monitors(user_id)} == states

        wait_until(f"the monitors of {user_id} are {states}", reached, within_s)

    def wait_for_results(self, user_id: str, monitor_id: str, count: int = 1, after: int = 0) -> list[Result]:
        """Wait until so many results of ticks due after an instant are stored."""

        def stored() -> list[Result] | None:
            found = [result for result in self.results(user_id, monitor_id) if result.scheduled_at > after]
            return found if len(found) >= count else None

        return wait_until(f"{count} results of {user_id}/{monitor_id} after {after} are stored", stored) or []

    def wait_for_balance(self, after: int, upto: int, within_s: float = 30) -> Account:
        """Wait until nothing due at after < t <= upto is missing, or a while in vain; gives the account."""
        with suppress(AssertionError):
            wait_until("nothing is missed", lambda: not settle(self.reader, after, upto).missed, within_s, 0.5)
        return settle(self.reader, after, upto)

    def wait_for_time(self, instant: int) -> None:
        """Wait until everything due up to an instant is due."""
        wait_until("time has passed", lambda: now_ms() >= instant, 120)


@lru_cache(maxsize=100_000)
def _monitor_of(tick: bytes) -> str:
    return codec.decode_tick(b"-", tick, 0, 0).monitor_id


def beside(monitor: dict[str, Any]) -> dict[str, Any]:
    """The monitor with ticks that run although one that came late still does: none is skipped for that."""
    return monitor | {"policy": {"overlap": "allow"}}


def every(monitor_id: str, kind: str, interval: str = "1s", **config: object) -> dict[str, Any]:
    """A monitor as a signup names it."""
    return {"monitor_id": monitor_id, "kind": kind, "config": config, "schedule": {"every": interval}}
