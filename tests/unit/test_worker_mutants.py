"""Mutants about monitors that exist, in the engine of a worker: it lives on, and what it knows stays within bounds."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.mutants import Mutator
from support.standing_monitors import HOUR_MS, MONITORS, REGIONS, standing_signup, standing_users
from support.worker import CHANGELOG, START, TOPICS, Broker, Life, until, worker

from everwatch.core.clock import SettableClock
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.model import Monitor

PARTITIONS, COUNT, AT_ONCE = 4, 1_200, 200
ROLES = {"command": TOPICS.commands, "signal": TOPICS.signals, "result": TOPICS.results}
AHEAD_MS = 60_000


@pytest.fixture
async def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Life]:
    monkeypatch.setenv("EVERWATCH_REGIONS", ",".join(REGIONS))
    async with worker(Broker(), tmp_path, SettableClock(START)) as life:
        yield life


async def test_a_worker_outlives_mutants_about_monitors_that_exist(life: Life, request: pytest.FixtureRequest) -> None:
    broker, seed = life.broker, request.config.getoption("--fuzz-seed")
    for user in standing_users(PARTITIONS):
        broker.take(TOPICS.signups, standing_signup(user))
    await until("all are known", lambda: broker.is_acknowledged(TOPICS.signups))
    await until("what is due soon is in the timetable", lambda: life.timetable.loaded_to[0] > START + HOUR_MS // 2)
    mutants = {
        topic: list(Mutator(f"{seed}-{role}", START, PARTITIONS).mutants(topic, role, COUNT))
        for role, topic in ROLES.items()
    }
    for begin in range(0, COUNT, AT_ONCE):
        for topic, made in mutants.items():
            part = [
                Record(topic, 0, begin + place, each.timestamp_ms, each.key, each.value)
                for place, each in enumerate(made[begin : begin + AT_ONCE])
            ]
            await life.handle(topic, part)
        # retries come due meanwhile, and sweeps go out
        await life.tick_to(START + 2_000 * (begin // AT_ONCE + 1))
    letters = [dict(record.headers) for record in broker.logs(TOPICS.dead_letters)[0].records()]
    assert letters
    assert not [letter for letter in letters if letter["code"] == b"unhandled"], f"seed {seed}"
    places = [(letter["source_topic"], letter["source_offset"]) for letter in letters]
    assert len(places) == len(set(places))
    latest = life.clock.now_ms() + AHEAD_MS
    judged = [monitor for monitor in monitors_of(broker) if monitor.judged_at or monitor.agenda.retry_of]
    assert judged
    for monitor in judged:
        assert max(monitor.judged_at, monitor.agenda.retry_of) <= latest, f"{monitor} (seed {seed})"


def monitors_of(broker: Broker) -> list[Monitor]:
    """Each monitor that was ever written, as it was."""
    entries = (
        codec.decode_entry(key, value)
        for key, value in broker.pairs[CHANGELOG]
        if value is not None and codec.split_key(key)[1] in MONITORS
    )
    return [entry for entry in entries if isinstance(entry, Monitor)]
