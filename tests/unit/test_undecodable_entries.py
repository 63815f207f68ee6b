"""Stored bytes that cannot be decoded: whoever meets them goes on with everything else, and says so."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.worker import CHANGELOG, START, TOPICS, Broker, signup, until, worker

from everwatch.core.clock import SettableClock
from everwatch.core.errors import RefusalCode, UndecodableEntry
from everwatch.encoding import codec, table_records
from everwatch.kafka.compression import codec_named
from everwatch.model import (
    Agenda,
    Align,
    At,
    Cron,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    State,
    Status,
    User,
)
from streams.state.time_indexes import dates_of_entry
from streams.state.timetable_planner import TimetablePlanner
from streams.state.undecodable_entries import Undecodable

SCHEDULES = (
    Every(60_000),
    Every(86_400_000, Align.MIDNIGHT, "Europe/Berlin"),
    Cron("0 3 * * *", "UTC", 60_000),
    At(START),
)
ENTRIES = [
    *(
        Monitor("ann", MonitorSpec("m", kind, "{}", schedule, Policy()), Origin.SIGNUP, 1, START, state, agenda=agenda)
        for kind in ("noop", "heartbeat", "http")
        for schedule in SCHEDULES
        for agenda, state in (
            (Agenda(), State.UP),
            (Agenda(retry_at=START + 5, retry_of=START, retry_attempt=2), State.DOWN),
        )
    ),
    User("ann", "gold", {"team": "a"}, ("m",), START, START),
]
VALUES = [(codec.table_key("ann", "" if isinstance(each, User) else "m"), codec.encode_entry(each)) for each in ENTRIES]


@given(st.sampled_from(VALUES), st.randoms(use_true_random=False))
def test_mangled_entries_are_decoded_or_refused_and_nothing_else_happens(
    entry: tuple[bytes, bytes], roll: random.Random
) -> None:
    key, value = entry
    data = bytearray(value)
    for _ in range(roll.choice((1, 1, 2, 5))):
        at = roll.randrange(len(data) + 1)
        match roll.randrange(4):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = roll.choice((b"\xff" * 11, b"\xfe" + b"\xff" * 8 + b"\x01", b"\x01", b"\x00"))
            case 2 if data:
                data[at % len(data)] ^= 1 << roll.randrange(8)
            case _:
                data[at : at + 3] = roll.randbytes(roll.randrange(6))
    mangled = bytes(data)
    dates_of_entry(key, mangled)
    table_records.with_signal(mangled, START)
    for status in Status:
        table_records.stays_as_it_is(mangled, status)
    undecodable = Undecodable(SettableClock(START))
    found = undecodable.decode(0, key, mangled)
    assert (found is None) == bool(undecodable.count(0))
    planner = TimetablePlanner(codec_named("lz4"), SettableClock(START))
    timetable = planner.new_timetable(START)
    if isinstance(found, Monitor) and (planned := planner.entry_of(found)) is not None:
        # what is decoded can be put and taken out
        timetable.put(planned)
        timetable.remove(planned)


@pytest.mark.parametrize("interval_ms", [0, 1, 99])
def test_an_interval_that_no_timetable_can_hold_cannot_be_decoded(interval_ms: int) -> None:
    spec = MonitorSpec("m", "noop", "{}", Every(interval_ms))
    value = codec.encode_entry(Monitor("ann", spec, Origin.SIGNUP, 1, START))
    with pytest.raises(UndecodableEntry, match=f"an interval of {interval_ms} ms"):
        codec.decode_entry(b"ann\x00m", value)


def test_the_error_says_which_entry_it_is() -> None:
    with pytest.raises(UndecodableEntry, match=r"'ann\\x00m' cannot be decoded: unknown Avro schema") as caught:
        codec.decode_entry(b"ann\x00m", b"\xc3\x01" + b"newer..." + b"?")
    assert caught.value.code == RefusalCode.UNDECODABLE


async def test_a_worker_passes_over_what_it_cannot_decode_and_the_rest_runs(tmp_path: Path) -> None:
    broker = Broker()
    async with worker(broker, tmp_path / "first", SettableClock(START)) as life:
        broker.take(TOPICS.signups, signup("ann", "a", "b", "c"))
        await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
        assert len(life.timetable) == 3
    for key, value in (
        (b"ann\x00b", b"\xc3\x01 of a newer version"),
        (b"ann\x00\x01commands", b"no JSON"),
        # keys that the store keeps for itself
        (b"__everwatch\x00written__", b"1"),
        (b"\x00Dxxxxxxxx", b"x"),
        (b"bob\x00", b"{"),
        (b"bob\x00m", b""),
    ):
        broker.pairs[CHANGELOG].append((key, value))
    async with worker(broker, tmp_path / "second", SettableClock(START + 1)) as life:
        assert len(life.timetable) == 2
        assert sorted(life.store.undecodable.of(0)) == [b"ann\x00b", b"bob\x00m"]
        # the monitor is put anew, and what could not be decoded is gone
        assert await life.command("ann", "pause", "b")
        assert len(life.timetable) == 2
        broker.take(TOPICS.signups, signup("ann", "a", "b", "c"))
        await until("ann is signed up again", lambda: broker.is_acknowledged(TOPICS.signups))
        assert len(life.timetable) == 3
        assert b"ann\x00b" not in life.store.undecodable.of(0)
