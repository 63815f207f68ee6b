"""A timetable that is rebuilt from the table fires what it would fire if the same monitors were put one by one."""

import random
from collections import Counter

import pytest

from everwatch.core.clock import SettableClock
from everwatch.encoding import codec
from everwatch.kafka.compression import codec_named
from everwatch.kafka.progress import EntryCounts
from everwatch.model import (
    Agenda,
    Align,
    At,
    Cron,
    Every,
    Misfire,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Priority,
    Schedule,
    State,
    User,
)
from everwatch.timetable import Timetable
from streams.state.timetable_planner import TimetablePlanner
from streams.state.timetable_rebuild import RebuildLimits, TimetableRebuild
from streams.state.undecodable_entries import Undecodable

START = 1_800_000_000_000
LZ4 = codec_named("lz4")
SCHEDULES: tuple[Schedule, ...] = (
    Every(1_000),
    # damaged: no timetable can hold it
    Every(0),
    Every(30_000),
    Every(30_000),
    Every(900_000),
    Every(60_000, Align.EPOCH),
    Cron("* * * * *"),
    At(START + 20_000),
)
POLICIES = (Policy(), Policy(misfire=Misfire.SKIP), Policy(priority=Priority.HIGH, timeout_ms=9_000))


def monitor(roll: random.Random, user: str, number: int) -> Monitor:
    config = roll.choice(('{"url":"http://127.0.0.1:1/"}', f'{{"url":"http://127.0.0.1:1/{user}"}}', "c" * 2_000))
    return Monitor(
        user,
        MonitorSpec(f"m{number}", roll.choice(("http", "noop")), config, roll.choice(SCHEDULES), roll.choice(POLICIES)),
        Origin.SIGNUP,
        roll.choice((1, 1, 200)),
        # also one that begins behind what is emitted, and one whose first check may be still to come
        roll.choice((START - 9_000_000, START - 9_000_000, START - 1_000, START + 700)),
        roll.choice((State.NEW, State.UP, State.UP, State.PAUSED)),
        agenda=roll.choice((Agenda(), Agenda(), Agenda(), Agenda(ends_at=START + 33_000))),
    )


def entries(roll: random.Random) -> list[tuple[bytes, bytes]]:
    """A table: users, their monitors, and whatever else may lie there."""
    found: dict[bytes, bytes] = {}
    for number in range(60):
        user = f"user-{number}"
        key = codec.table_key(user)
        if number != 7:
            found[key] = codec.encode_entry(User(user, "free", {}, (), START, START))
        for place in range(roll.randrange(5)):
            value = codec.encode_entry(monitor(roll, user, place))
            found[key + b"m%d" % place] = value[: roll.randrange(len(value))] if roll.random() < 0.05 else value
        if number % 9 == 0:
            found[key + b"\x01commands"] = b"whatever"
    return sorted(found.items())


def fired(timetable: Timetable, upto: int) -> Counter[tuple[int, object, bytes]]:
    return Counter(
        (instant + entry.delta, firing.batch_key, entry.framed)
        for firing in timetable.due(upto)
        for entry in firing.chunk.entries(LZ4)
        for instant in firing.fire
    )


def put_alone(planner: TimetablePlanner, timetable: Timetable, noted: Undecodable, key: bytes, value: bytes) -> None:
    try:
        entry = planner.entry_of_encoded(key, value)
        if entry is not None:
            timetable.put(entry)
    except Exception as error:
        noted.note(0, key, error)


@pytest.mark.parametrize("limits", [RebuildLimits(3, 10), RebuildLimits()])
@pytest.mark.parametrize("first_check_within_ms", [None, 10_000])
def test_it_fires_the_same_as_monitors_that_were_put_one_by_one(
    limits: RebuildLimits, first_check_within_ms: int | None
) -> None:
    for seed in range(6):
        table = entries(random.Random(seed))
        planner = TimetablePlanner(LZ4, SettableClock(START), first_check_within_ms=first_check_within_ms)
        rebuilt, one_by_one = planner.new_timetable(START), planner.new_timetable(START)
        for each in (rebuilt, one_by_one):
            each.limits.count = 4
        noted, expected = Undecodable(SettableClock(START)), Undecodable(SettableClock(START))
        rebuild = TimetableRebuild(rebuilt, 0, planner, noted, limits)
        for at in range(0, len(table), 7):
            rebuild.take(table[at : at + 7])
        counts = rebuild.finish()
        users = {key for key, _ in table if key.endswith(b"\0")}
        for key, value in table:
            if key.partition(b"\0")[0] + b"\0" in users and not key.endswith(b"\0"):
                put_alone(planner, one_by_one, expected, key, value)
        assert sorted(noted.of(0)) == sorted(expected.of(0))
        others = sum(b"\0\x01" in key for key, _ in table)
        assert counts == EntryCounts(len(users), len(table) - len(users) - others)
        assert len(rebuilt) == len(one_by_one) > 0
        assert rebuilt.newest_since == one_by_one.newest_since
        upto = START + 45_000
        found = fired(rebuilt, upto)
        assert found == fired(one_by_one, upto)
        assert len(found) > 100
