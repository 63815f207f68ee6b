"""Monitors that change because of the time, many at once."""

from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from support.calls import calls_of
from support.worker import START, TOPICS, Broker, Life, signup, turns, until, worker

from everwatch.core.clock import SettableClock
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.model import Monitor, State
from streams.state.entry_store import EntryStore
from streams.ticking.agenda_runner import AgendaRunner
from streams.transport.output_record import OutputRecord

MANY = 400


async def test_pauses_that_end_all_at_once_leave_turns_to_everything_else(
    tmp_path: Path,
) -> None:
    broker, clock = Broker(), SettableClock(START)
    async with worker(broker, tmp_path, clock) as life, turns() as given:
        names = [f"m-{number}" for number in range(MANY)]
        broker.take(TOPICS.signups, signup("ann", *names, interval="1h"))
        await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
        pauses = [{"command": "pause", "user_id": "ann", "monitor_id": name, "until": START + 60_000} for name in names]
        await life.handle(
            TOPICS.commands,
            (
                Record(TOPICS.commands, 0, offset, START, b"ann", orjson.dumps(pause))
                for offset, pause in enumerate(pauses)
            ),
        )

        def is_awake(name: str) -> bool:
            key = codec.table_key("ann", name)
            entry = codec.decode_entry(key, life.store.read(0, key) or b"")
            return isinstance(entry, Monitor) and entry.state is State.NEW

        with calls_of(AgendaRunner.change, lambda _: given()) as woken_in:
            clock.set(START + 60_000)
            await until("all are resumed", lambda: len(woken_in) >= MANY and all(map(is_awake, names)))
    assert len(set(woken_in)) > 1


async def put_and_pause(life: Life, *names: str) -> None:
    life.broker.take(TOPICS.signups, signup("ann", *names, interval="1h"))
    await until("ann is signed up", lambda: life.broker.is_acknowledged(TOPICS.signups))
    for number, name in enumerate(names):
        pause = {"command": "pause", "user_id": "ann", "monitor_id": name, "until": START + 60_000}
        await life.handle(TOPICS.commands, [Record(TOPICS.commands, 0, number, START, b"ann", orjson.dumps(pause))])


def state(life: Life, name: str) -> State:
    key = codec.table_key("ann", name)
    entry = codec.decode_entry(key, life.store.read(0, key) or b"")
    assert isinstance(entry, Monitor)
    return entry.state


async def test_an_agenda_that_fails_each_time_is_dropped_and_those_beside_it_are_carried_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker, clock = Broker(), SettableClock(START)

    def record(_: object, monitor: Monitor, __: object) -> OutputRecord:
        if monitor.monitor_id == "bad":
            raise ValueError("mangled")
        return OutputRecord("transitions", b"ann", b"")

    # the worker's own looks in the beginning, and then no more
    async with worker(broker, tmp_path, clock, agendas_every_s=10_000) as life:
        await put_and_pause(life, "bad", "good", "well")
        engine, transitions = life.engine, SimpleNamespace(record=record)
        runner = AgendaRunner(engine.partitions, engine.planner, engine.units, life.store, transitions, clock)  # type: ignore[arg-type]
        clock.set(START + 60_000)
        await runner.run_due()
        assert state(life, "good") is state(life, "well") is State.NEW
        assert not life.store.agenda_due(0, START + 60_000, 10)
        assert state(life, "bad") is State.PAUSED
    assert "is dropped" in caplog.text


async def test_a_partition_that_fails_keeps_no_other_one_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker, clock = Broker(), SettableClock(START)
    async with worker(broker, tmp_path, clock) as life:
        await put_and_pause(life, "m")
        broken, intact = SimpleNamespace(number=7), life.partition
        parts, told = (
            FakePartitions([broken, intact]),
            SimpleNamespace(record=lambda *_: OutputRecord("transitions", b"ann", b"")),
        )
        wakes = AgendaRunner(parts, life.engine.planner, life.engine.units, Broken(life.store), told, clock)  # type: ignore[arg-type]
        clock.set(START + 60_000)
        await wakes.run_due()
        await wakes.run_due()
        assert state(life, "m") is State.NEW
    assert caplog.text.count("agenda processing of partition 7 failed") == 1


class FakePartitions(list[object]):
    """All of these are owned."""

    def get(self, number: int) -> object:
        return next(partition for partition in self if partition.number == number)  # type: ignore[attr-defined]


class Broken:
    """A store whose partition 7 cannot be read."""

    def __init__(self, store: EntryStore) -> None:
        self._store = store

    def agenda_due(self, number: int, *rest: int) -> object:
        if number == 7:
            raise OSError("the disk is gone")
        return self._store.agenda_due(number, *rest)

    def forget_agenda(self, *given: object) -> None:
        self._store.forget_agenda(*given)  # type: ignore[arg-type]
