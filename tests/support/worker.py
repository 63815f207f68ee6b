"""A worker's engine in this process, on Kafka in memory that does what the test says: loses, keeps waiting, is away.

The engine, its batch consumers, agents, partitions, emitter and store are the real ones; Faust's rebalances and its
recovery are played by ``Life``. Users are of partition 0. What the broker has outlives the workers.

All in one file: one worker with fakes of everything that it talks to.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, MutableSequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import orjson
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from faust.types.transports import ConsumerT
from rocksdict import WriteBatch

from everwatch.core.bisection import Bisection
from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.memory import MemoryClients, MemoryKafka, SentRecord
from everwatch.kafka.memory.consumer import MemoryConsumer
from everwatch.kafka.memory.log import LogTransaction, TransactionState
from everwatch.kafka.progress import OWNER_HEADER
from everwatch.kafka.topics import Topics
from everwatch.rules.changelog_marks import Mark, decode_mark
from everwatch.timetable import Packing, Timetable, TimetableEntry
from streams.app import create_app
from streams.options import DEFAULT_OPTIONS, WorkerOptions
from streams.state.entry_store import EntryStore
from streams.state.owned_partition import OwnedPartition
from support.pipeline import every

START = 1_800_000_000_000
TOPICS = Topics.of(load_settings())
CHANGELOG = TOPICS.monitors_changelog
INPUTS = (TOPICS.signups, TOPICS.commands, TOPICS.signals, TOPICS.results)
# far more than a busy machine needs
PATIENCE_S = 60.0
# wait between two looks at a condition
LOOK_S = 0.002

Pair = tuple[bytes, bytes | None]


async def until(what: str, look: Callable[[], object]) -> None:
    """Wait until ``look`` gives something true. Raises AssertionError if it never does."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not look():
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S:g} s in vain until {what}") from None


@asynccontextmanager
async def turns() -> AsyncIterator[Callable[[], int]]:
    """Return how many turns the event loop has given to others so far."""
    given = 0

    async def other() -> None:
        nonlocal given
        while True:
            given += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    try:
        yield lambda: given
    finally:
        task.cancel()


class Broker(MemoryKafka):
    """Kafka in memory, and what tests of a worker ask of it: its progress, its ticks, and its records as pairs.

    ``at_progress``: is waited for when a worker asks for progress, ``is_progress_away``: no broker gives it then.
    ``at_committed``: is called with the topic when a batch consumer asks for its offsets; ``away``: topics that have no
    broker for that. ``asked``: how often progress was asked for. ``assigned_to``: the partitions that batch consumers
    read, by topic. ``at_fencing``: is called when a worker fences earlier owners of a partition.
    """

    def __init__(self) -> None:
        super().__init__(load_settings().partitions, SettableClock(START))
        self.asked = 0
        self.assigned_to: dict[str, set[int]] = {}
        self.at_progress: Callable[[], Any] | None = None
        self.at_committed: Callable[[str], object] = lambda _: None
        self.at_fencing: Callable[[], object] = lambda: None
        self.is_progress_away = False
        self.away: set[str] = set()
        self.ticks: list[tuple[str, int]] = []
        # how many transactions were tried in vain
        self.aborted = 0
        self.pairs = Pairs(self)
        self.create(CHANGELOG)
        for number in range(self.partitions):
            self.append(SentRecord(TOPICS.progress, number, b"%d" % number, b"%d" % START, START, []))

    def take(self, topic: str, value: dict[str, Any]) -> None:
        """A client's record, keyed by its user."""
        self.append(SentRecord(topic, 0, value["user_id"].encode(), orjson.dumps(value), START, []))

    def append(self, sent: SentRecord, transaction: LogTransaction | None = None) -> int:
        if sent.topic in TOPICS.all_ticks:
            self.ticks.append(((sent.key or b"").decode(), sent.timestamp_ms))
        return super().append(sent, transaction)

    def end(self, transactional_id: str, state: TransactionState) -> None:
        with self.lock:
            self.aborted += state is TransactionState.ABORTED and transactional_id in self.open
            super().end(transactional_id, state)

    # --- what a worker has acknowledged -----------------------------------------------------------------------------

    def acknowledged(self, topic: str) -> int:
        """The offset up to which workers have acknowledged a topic."""
        return self.committed[_group_of(topic)].get((topic, 0), 0)

    def acknowledge(self, topic: str, offset: int, group: str = "") -> None:
        """Commit an offset in the place of a worker."""
        self.committed[group or _group_of(topic)][topic, 0] = offset

    def is_acknowledged(self, topic: str) -> bool:
        """Tell whether workers have acknowledged everything on a topic."""
        return self.acknowledged(topic) == self.logs(topic)[0].end

    # --- fencing ----------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Return how often the producer of the partition was initialised."""
        return self.epochs[f"{CHANGELOG}-0"]

    def fence_owner(self) -> None:
        """Another worker initialises its producer."""
        super().fence(f"{CHANGELOG}-0")

    def fence(self, transactional_id: str) -> int:
        self.at_fencing()
        return super().fence(transactional_id)

    # --- progress and the changelog ---------------------------------------------------------------------------------

    def noted(self) -> int:
        """The progress of the partition."""
        return max((int(value or 0) for _, value in self.pairs[TOPICS.progress]), default=START)

    def note(self, emitted_to: int) -> None:
        """Have the topic say this of the partition, and of its owner what it says now."""
        owner = self.owner
        self.pairs[TOPICS.progress] = [(b"0", b"%d" % emitted_to)]
        self.owner = owner

    @property
    def owner(self) -> Mark | None:
        """The last owner's mark, as progress has it."""
        records = self.logs(TOPICS.progress)[0].records()
        return decode_mark(dict(records[-1].headers).get(OWNER_HEADER)) if records else None

    @owner.setter
    def owner(self, mark: Mark | None) -> None:
        last = self.logs(TOPICS.progress)[0].records()[-1]
        last.headers = [(OWNER_HEADER, mark.encode())] if mark else []

    def lose_progress(self) -> None:
        """Delete the topic and create it again."""
        self.delete(TOPICS.progress)

    def make_changelog_anew(self) -> None:
        """Delete the changelog and create it again."""
        with self.lock:
            self.delete(CHANGELOG)
            self.create(CHANGELOG)

    @property
    def changelog_id(self) -> str:
        """The id of the changelog's topic."""
        return self.topic_id(CHANGELOG)

    def last_offset(self, topic: str) -> int:
        """The offset of the last record of a topic; the end of its transaction stands behind it."""
        log = self.logs(topic)[0]
        return max(log.start + place for place, entry in enumerate(log.entries) if not entry.is_marker)


class Stage:
    """The timetables and the disk of a worker. A step that stands in ``at`` begins with a call of what stands there.

    Steps: ``put``, ``remove`` and ``mark_emitted`` of a timetable, ``write`` of entries. ``rebuilds`` counts timetables
    that were not taken up as they had been put away.
    """

    def __init__(self) -> None:
        self.at: dict[str, Callable[[], object]] = {}
        self.rebuilds = 0

    def reach(self, step: str) -> None:
        """Come to a step."""
        if step in self.at:
            self.at[step]()

    def new_timetable(self, packing: Packing, emitted_to: int) -> Timetable:
        """Make a timetable, as ``WorkerOptions`` has it."""
        return StagedTimetable(self, packing, emitted_to)

    def write_batch(self, database: Any, batch: WriteBatch) -> None:
        """Write entries, as ``WorkerOptions`` has it."""
        try:
            self.reach("write")
        except BaseException:
            del database  # it is closed only when no traceback has it
            raise
        database.write(batch)


class StagedTimetable(Timetable):
    """A timetable that comes to steps of its stage."""

    def __init__(self, stage: Stage, packing: Packing, emitted_to: int) -> None:
        super().__init__(packing, emitted_to)
        self._stage = stage
        stage.rebuilds += 1

    def put(self, planned: TimetableEntry) -> None:
        self._stage.reach("put")
        super().put(planned)

    def remove(self, planned: TimetableEntry) -> None:
        self._stage.reach("remove")
        super().remove(planned)

    def mark_emitted(self, upto: int) -> None:
        self._stage.reach("mark_emitted")
        super().mark_emitted(upto)

    def restore(self, shelves: Iterable[bytes]) -> None:
        self._stage.rebuilds -= 1
        super().restore(shelves)


class GroupMember:
    """Faust's consumer, as far as an engine asks it: ``joined`` counts how often it was to join its group again."""

    def __init__(self) -> None:
        self.joined = 0

    async def subscribe(self, _: object) -> None:
        """Join the group with these topics."""
        self.joined += 1


class Pairs:
    """The records of each topic's partition 0 as pairs of key and value; what is assigned stands there from then on."""

    def __init__(self, broker: MemoryKafka) -> None:
        self._broker = broker

    def __getitem__(self, topic: str) -> "TopicPairs":
        return TopicPairs(self._broker, topic)

    def __setitem__(self, topic: str, pairs: Iterable[Pair]) -> None:
        if not isinstance(pairs, TopicPairs):  # else it was changed in place
            self[topic][:] = pairs


class TopicPairs(MutableSequence[Pair]):
    """The records of one topic that consumers are given. Markers of transactions are not among them."""

    def __init__(self, broker: MemoryKafka, topic: str) -> None:
        self._broker = broker
        self._topic = topic

    def _all(self) -> list[Pair]:
        with self._broker.lock:
            return [(entry.key or b"", entry.value) for entry in self._broker.logs(self._topic)[0].records()]

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, place: Any) -> Any:
        return self._all()[place]

    def __eq__(self, other: object) -> bool:
        return self._all() == other

    def __hash__(self) -> int:
        raise TypeError("it changes")

    def __setitem__(self, place: Any, pairs: Any) -> None:
        changed = self._all()
        changed[place] = pairs
        with self._broker.lock:
            self._broker.logs(self._topic)[0].cut(self._broker.logs(self._topic)[0].end)
            self._broker.logs(self._topic)[0].start = 0
            self.extend(changed)

    def __delitem__(self, place: Any) -> None:
        """Cut the end off, as an unclean election of a leader does."""
        assert isinstance(place, slice)
        assert place.start
        assert place.stop is None
        with self._broker.lock:
            log = self._broker.logs(self._topic)[0]
            kept = log.records()[: place.start]
            last = next(place for place, entry in enumerate(log.entries) if entry is kept[-1])
            del log.entries[last + 1 :]

    def insert(self, place: int, pair: Pair) -> None:
        assert place == len(self)
        self._broker.append(SentRecord(self._topic, 0, *pair, START, []))


class BrokerClients(MemoryClients):
    """Clients of the broker of a test, as an engine is given them."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._broker = broker
        self._loop = asyncio.get_running_loop()

    def consumer(self, group_id: str, **overrides: object) -> Any:
        broker = self._broker
        if group_id == _group_of(TOPICS.progress):
            self._ask_for_progress()
        return (
            BatchReader(broker, group_id, overrides) if group_id in _GROUPS else super().consumer(group_id, **overrides)
        )

    def _ask_for_progress(self) -> None:
        """Do what the test says; a worker calls this in a thread."""
        broker = self._broker
        broker.asked += 1
        if broker.at_progress is not None:
            asyncio.run_coroutine_threadsafe(broker.at_progress(), self._loop).result(PATIENCE_S)
        if broker.is_progress_away:
            raise BrokerUnavailable("nobody answers")


class BatchReader(MemoryConsumer):
    """The consumer of a batch consumer."""

    def __init__(self, broker: Broker, group_id: str, overrides: dict[str, object]) -> None:
        super().__init__(broker, group_id, overrides)
        self._broker = broker
        self._topic = _GROUPS[group_id]

    def committed(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        self._broker.at_committed(self._topic)
        if self._topic in self._broker.away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return super().committed(partitions, timeout)

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        partitions = list(partitions)
        if partitions:
            self._broker.assigned_to[self._topic] = {each.partition for each in partitions}
        super().assign(partitions)


def _group_of(topic: str) -> str:
    return f"everwatch-worker-{topic}"


_GROUPS = {_group_of(topic): topic for topic in INPUTS}


class Life:
    """One worker, from its start to its end."""

    def __init__(
        self, broker: Broker, folder: Path, clock: SettableClock, options: WorkerOptions = DEFAULT_OPTIONS
    ) -> None:
        self.broker = broker
        self.clock = clock
        self.stage = stage = Stage()
        options = options._replace(new_timetable=stage.new_timetable, write_batch=stage.write_batch)
        self.app, self.engine = create_app(
            load_settings(),
            "127.0.0.1:9",
            clock,
            folder,
            clients=BrokerClients(broker),
            options=options,
        )
        self.app.finalize()
        self.group_member = GroupMember()
        self.app.consumer = cast(ConsumerT, self.group_member)
        self.app.flow_control.resume()
        self.agents: dict[str, asyncio.Task[None]] = {}
        self.generation = 0

    @property
    def rebuilds(self) -> int:
        """How many timetables were built from the table."""
        return self.stage.rebuilds

    @property
    def store(self) -> EntryStore:
        return self.engine.table.store

    @property
    def partition(self) -> OwnedPartition:
        return self.engine.partitions[0]

    @property
    def timetable(self) -> Timetable:
        return self.partition.timetable

    async def start(self) -> None:
        """Start the engine and its agents, as Faust does, and own nothing yet."""
        await self.engine.start()
        for topic, name in ((TOPICS.signups, "signups"), (TOPICS.commands, "commands"), (TOPICS.signals, "signals")):
            channel = self.engine.channels[topic]
            self.agents[name] = asyncio.create_task(self.app.agents[name].fun(channel.clone(is_iterator=True)))

    async def assigned(self, *numbers: int) -> None:
        """A rebalance gives the partition to this worker, or others."""
        self.generation += 1
        await self.engine.ownership.assigned(set(numbers or (0,)), self.generation)

    async def recovered(self) -> None:
        """A rebalance ends: the table is brought to where the changelog is, then the partition is this worker's."""
        await self.assigned()
        await self.engine.ownership.wait_until_open()

    async def revoked(self, patience_s: float = PATIENCE_S) -> None:
        """A rebalance begins, and another worker is given the partition."""
        await self.engine.ownership.revoked(patience_s)
        self.generation += 1
        await self.engine.ownership.assigned(set(), self.generation)

    async def paused(self, patience_s: float = PATIENCE_S) -> None:
        """A rebalance begins."""
        await self.engine.ownership.revoked(patience_s)

    async def command(self, user_id: str, command: str, monitor_id: str = "m") -> bool:
        """Send a command and wait until it is carried out; False if the worker ends before."""
        self.broker.take(
            TOPICS.commands,
            {"user_id": user_id, "command": command} | ({"monitor_id": monitor_id} if monitor_id else {}),
        )
        await until(
            "the command is acknowledged",
            lambda: self.broker.is_acknowledged(TOPICS.commands) or self.engine.crashed,
        )
        return self.broker.is_acknowledged(TOPICS.commands)

    async def handle(self, topic: str, records: Iterable[Record]) -> None:
        """Handle records of a topic as its agent does."""
        await self.engine.isolations[topic].run(Bisection(list(records)))

    async def tick_to(self, instant: int) -> list[tuple[str, int]]:
        """Let time pass until everything due up to ``instant`` is out; gives those ticks, in order."""
        already = len(self.broker.ticks)
        self.clock.set(instant)
        await until("the sweeps have come this far", lambda: self.partition.emitted_to >= instant)
        await until("progress is noted", lambda: self.broker.noted() >= instant - instant % 1_000)
        return self.broker.ticks[already:]

    async def stop(self) -> None:
        """Let the engine stop, then whatever Faust stops after it."""
        await self.engine.stop()
        # on a busy machine a transaction may outlast the engine's patience, and would be seen by the next worker
        await self.engine.writers.close(PATIENCE_S)
        for agent in self.agents.values():
            agent.cancel()
        await asyncio.gather(*self.agents.values(), return_exceptions=True)
        await self.store.stop()

    def put_away(self) -> bool:
        """Tell whether there is a timetable to take up, as of what is written. Leaves it there."""
        return self.store.has_snapshot(0)


@asynccontextmanager
async def worker(
    broker: Broker, folder: Path, clock: SettableClock, *, opened: bool = True, **options: Any
) -> AsyncIterator[Life]:
    """A worker on the partition, with what its predecessor in ``folder`` left; it stops in the end.

    ``options``: those of WorkerOptions.
    """
    life = Life(broker, folder, clock, WorkerOptions(**options))
    await life.start()
    try:
        if opened:
            await life.recovered()
        yield life
    finally:
        broker.held.clear()
        await life.stop()


async def known(life: Life, *names: str) -> None:
    """Sign users up, and wait until the input is acknowledged."""
    for name in names:
        life.broker.take(TOPICS.signups, signup(name))
    await until(f"{', '.join(names)} are signed up", lambda: life.broker.is_acknowledged(TOPICS.signups))


async def crashed(life: Life) -> BaseException:
    """Wait until the worker ends; gives the reason."""
    await until("the worker ends", lambda: life.engine.crashed)
    assert life.engine.crash_reason is not None
    return life.engine.crash_reason


def signup(user_id: str, *monitors: str, interval: str = "1s") -> dict[str, Any]:
    """A signup with monitors that are due at an interval."""
    specs = [every(name, "http", interval, url="http://127.0.0.1:1/") for name in monitors or ("m",)]
    return {"user_id": user_id, "monitors": specs}


def users(ticks: Iterable[tuple[str, int]]) -> set[str]:
    """Return whose ticks these are."""
    return {user for user, _ in ticks}
