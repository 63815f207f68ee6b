"""Monitors that change because of the time, many at once."""

from pathlib import Path

import orjson
import pytest
from support.worker import START, TOPICS, Broker, signup, turns, until, worker

from everwatch import codec
from everwatch.clock import SettableClock
from everwatch.kafka.records import Record
from everwatch.model import Monitor, State
from streams.wakes import Wakes

MANY = 400


async def test_pauses_that_end_all_at_once_leave_turns_to_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, clock = Broker(), SettableClock(START)
    broker.install(monkeypatch)
    woken_in: list[int] = []
    changed = Wakes._changed
    async with worker(broker, tmp_path, clock) as life, turns() as given:

        def noted(*args: object) -> tuple[Monitor, Monitor | None] | None:
            woken_in.append(given())
            return changed(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(Wakes, "_changed", noted)
        names = [f"m-{number}" for number in range(MANY)]
        broker.take(TOPICS.signups, signup("ann", *names, interval="1h"))
        await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
        pauses = [{"command": "pause", "user_id": "ann", "monitor_id": name, "until": START + 60_000} for name in names]
        await life.engine.registration.command(
            Record(TOPICS.commands, 0, offset, START, b"ann", orjson.dumps(pause))
            for offset, pause in enumerate(pauses)
        )
        clock.set(START + 60_000)

        def is_awake(name: str) -> bool:
            key = codec.table_key("ann", name)
            entry = codec.decode_entry(key, life.store.read(0, key) or b"")
            return isinstance(entry, Monitor) and entry.state is State.NEW

        await until("all are resumed", lambda: len(woken_in) >= MANY and all(map(is_awake, names)))
    assert len(set(woken_in)) > 1
