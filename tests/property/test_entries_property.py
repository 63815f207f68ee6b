"""Entries encoded by hand against fastavro: the same bytes, and read in whichever way, the same monitor."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from everwatch import codec, entries, lifecycle, schemas
from everwatch.config import OutputFormat
from everwatch.model import (
    At,
    Cron,
    Every,
    Misfire,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Priority,
    Result,
    Schedule,
    State,
    Status,
    Tick,
    User,
)

# where a varint takes a byte more, and where a long ends
EDGES = [sign * (2**bits) + by for bits in (6, 11, 13, 20, 31, 34, 62) for by in (-1, 0, 1) for sign in (1, -1)]
longs = st.sampled_from([0, -1, 1, -(2**63), 2**63 - 1, *EDGES]) | st.integers(-(2**63), 2**63 - 1)
ints = st.sampled_from([0, -1, 1, 2_047, 2_048, -(2**31), 2**31 - 1]) | st.integers(-(2**31), 2**31 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "é" * 40, "x" * 63, "x" * 64, "日本🕛"]
)
ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=12)
scalars = st.none() | st.booleans() | longs | st.floats(allow_nan=True, allow_infinity=True) | texts
schedules: st.SearchStrategy[Schedule] = (
    st.builds(Every, longs) | st.builds(At, longs) | st.builds(Cron, texts, st.sampled_from(["UTC", "Europe/Berlin"]))
)
policies = st.builds(Policy, ints, ints, ints, st.sampled_from(Misfire), longs, st.sampled_from(Priority)) | st.just(
    Policy()
)
specs = st.builds(
    MonitorSpec,
    ids,
    texts | st.sampled_from(["heartbeat", "heartbeats", "http"]),
    texts | st.just('{"url":"http://a.example/"}'),
    schedules,
    policies,
)
monitors = st.builds(
    Monitor,
    user_id=ids,
    spec=specs,
    origin=st.sampled_from(Origin),
    version=ints,
    since=longs,
    state=st.sampled_from(State),
    state_since=longs,
    reason=texts,
    streak=ints,
    judged_at=longs,
    last_signal=longs,
)
users = st.builds(
    User,
    user_id=ids,
    plan=texts,
    attributes=st.dictionaries(texts, scalars, max_size=5),
    monitor_ids=st.lists(ids, max_size=5).map(tuple),
    registered_at=longs,
    updated_at=longs,
)


def schedule_record(schedule: Schedule) -> tuple[str, dict[str, Any]]:
    """A branch of the union, named, so that fastavro need not guess."""
    fields = {name: getattr(schedule, name) for name in schedule.__struct_fields__}
    return f"everwatch.{type(schedule).__name__}", fields


def monitor_record(monitor: Monitor) -> dict[str, Any]:
    policy = msgspec.structs.asdict(monitor.spec.policy)
    return {
        "kind": monitor.spec.kind,
        "config": monitor.spec.config,
        "schedule": schedule_record(monitor.spec.schedule),
        "policy": policy | {"misfire": policy["misfire"].value, "priority": policy["priority"].value},
        "origin": monitor.origin.value,
        "version": monitor.version,
        "since": monitor.since,
        "state": monitor.state.value,
        "state_since": monitor.state_since,
        "reason": monitor.reason,
        "streak": monitor.streak,
        "judged_at": monitor.judged_at,
        "last_signal": monitor.last_signal,
    }


@settings(max_examples=400, deadline=None)
@given(monitors)
def test_a_monitors_bytes_are_those_that_fastavro_writes(monitor: Monitor) -> None:
    assert entries.encode_monitor(monitor) == schemas.encode("monitor", monitor_record(monitor))


@settings(max_examples=400, deadline=None)
@given(users)
def test_a_users_bytes_are_those_that_fastavro_writes(user: User) -> None:
    record = {name: getattr(user, name) for name in user.__struct_fields__ if name != "user_id"}
    assert entries.encode_user(user) == schemas.encode("user", record | {"monitor_ids": list(user.monitor_ids)})


@given(st.lists(monitors, min_size=2, max_size=4), st.sampled_from([1, -1]))
def test_what_is_remembered_of_one_monitor_is_not_mistaken_for_anothers(some: list[Monitor], order: int) -> None:
    """Equal hashes, and values that are equal but for their type, are no reason to write the same bytes."""
    at, every = (msgspec.structs.replace(some[0].spec, schedule=kind(60_000)) for kind in (At, Every))
    some += [msgspec.structs.replace(some[1], spec=spec) for spec in (at, every)]
    for monitor in some[::order]:
        assert entries.encode_monitor(monitor) == schemas.encode("monitor", monitor_record(monitor))


@settings(max_examples=300, deadline=None)
@given(monitors)
def test_a_monitor_is_read_as_it_was_written(monitor: Monitor) -> None:
    read = entries.decode_monitor(monitor.user_id, monitor.monitor_id, entries.encode_monitor(monitor))
    assert read == monitor
    # equal text is not enough: `match` and `is` go by the type
    assert type(read.spec.schedule) is type(monitor.spec.schedule)
    assert (type(read.state), type(read.origin)) == (State, Origin)
    assert (type(read.spec.policy.misfire), type(read.spec.policy.priority)) == (Misfire, Priority)


@settings(max_examples=300, deadline=None)
@given(monitors)
def test_a_plan_is_the_same_from_the_monitor_and_from_its_entry(monitor: Monitor) -> None:
    read = entries.read_plan(monitor.monitor_id.encode(), entries.encode_monitor(monitor))
    if isinstance(monitor.spec.schedule, Cron):
        assert read is None  # to be decoded
        return
    plan = entries.plan_of(monitor)
    assert read == plan
    assert type(read.schedule) is type(plan.schedule)
    assert plan.asleep is (monitor.state in (State.PAUSED, State.DONE))
    assert (plan.kind, plan.schedule, plan.policy, plan.since) == (
        monitor.spec.kind,
        monitor.spec.schedule,
        monitor.spec.policy,
        monitor.since,
    )


@given(monitors)
def test_the_instant_of_a_task_is_read_from_its_entry_and_from_no_other(monitor: Monitor) -> None:
    schedule = monitor.spec.schedule
    expected = (schedule.at, monitor.since) if isinstance(schedule, At) else None
    assert entries.read_at(entries.encode_monitor(monitor)) == expected


@settings(max_examples=300, deadline=None)
@given(monitors, longs, st.integers(0, 2**31 - 1))
def test_a_plans_tick_is_the_one_an_executor_reads(monitor: Monitor, scheduled_at: int, partition: int) -> None:
    spec, value = monitor.spec, entries.plan_of(monitor).tick
    meant = Tick(
        monitor.user_id,
        spec.monitor_id,
        scheduled_at,
        spec.kind,
        spec.config,
        spec.policy.timeout_ms,
        monitor.version,
        partition,
    )
    assert value == codec.encode_tick(meant)
    assert codec.decode_tick(codec.user_key(monitor.user_id), value, scheduled_at, partition) == meant


@given(monitors, st.binary(min_size=8, max_size=8))
@example(
    Monitor("u", MonitorSpec("m", "noop", "{}", Every(60_000)), Origin.SIGNUP, 1, 0),
    bytes.fromhex("00226e8f37c01695"),  # the version before
)
def test_bytes_of_another_version_are_left_to_who_knows_all_versions(monitor: Monitor, fingerprint: bytes) -> None:
    value = entries.encode_monitor(monitor)
    if fingerprint == value[2:10]:
        return
    other = value[:2] + fingerprint + value[10:]
    assert entries.decode_monitor(monitor.user_id, monitor.monitor_id, other) is None
    assert entries.read_plan(monitor.monitor_id.encode(), other) is None
    assert entries.read_at(other) is None


@given(users)
def test_a_user_is_not_taken_for_a_task_or_a_monitor(user: User) -> None:
    value = entries.encode_user(user)
    assert entries.read_at(value) is None
    assert entries.decode_monitor(user.user_id, "m", value) is None


results = st.builds(
    Result,
    user_id=ids,
    monitor_id=ids,
    scheduled_at=longs,
    kind=texts,
    version=ints,
    status=st.sampled_from(Status),
    reason=texts,
    started_at=longs,
    duration_ms=st.floats(allow_nan=False),
    attempt=ints,
    timings=st.dictionaries(texts, st.floats(allow_nan=False), max_size=2),
)


@given(results)
def test_a_verdict_is_read_from_a_result_without_the_rest(result: Result) -> None:
    value = codec.encode_result(result, OutputFormat.AVRO)
    assert entries.read_verdict(value) == (result.user_id.encode(), result.monitor_id.encode(), result.status)
    assert entries.read_verdict(codec.encode_result(result, OutputFormat.JSON)) is None


@given(results, st.integers(0, 60))
def test_a_result_that_ends_too_early_gives_the_same_verdict_or_none(result: Result, length: int) -> None:
    value = codec.encode_result(result, OutputFormat.AVRO)
    assert entries.read_verdict(value[:length]) in (None, entries.read_verdict(value))


@settings(max_examples=300, deadline=None)
@given(monitors, st.sampled_from([0, 1, -1, 127, 128]), results)
def test_a_result_that_leaves_a_monitor_as_it_is_is_told_from_its_entry_alone(
    monitor: Monitor, streak: int, result: Result
) -> None:
    monitor = msgspec.structs.replace(monitor, streak=streak)
    # a result that counts
    newer = max(monitor.judged_at, monitor.since) + 1
    result = msgspec.structs.replace(result, version=monitor.version, scheduled_at=newer)
    if entries.stays_as_it_is(entries.encode_monitor(monitor), result.status):
        assert lifecycle.after_result(monitor, result) is monitor


@pytest.mark.parametrize(
    ("state", "status"), [(State.UP, Status.SUCCESS), (State.DOWN, Status.FAILURE), (State.LATE, Status.LATE)]
)
def test_a_monitor_that_is_up_and_stays_up_needs_no_closer_look(state: State, status: Status) -> None:
    spec = MonitorSpec("m", "http", "{}", Every(60_000))
    monitor = Monitor("u", spec, Origin.SIGNUP, 1, 5, state, 7, "200 OK", 0, 300, 1_800_000_000_000)
    assert entries.stays_as_it_is(entries.encode_monitor(monitor), status)
    counting = msgspec.structs.replace(monitor, streak=1)
    assert not entries.stays_as_it_is(entries.encode_monitor(counting), status)


@given(monitors, longs)
def test_a_heartbeat_changes_its_instant_in_the_entry_and_nothing_else(monitor: Monitor, at: int) -> None:
    value = entries.encode_monitor(monitor)
    after = lifecycle.after_signal(monitor, at)
    assert entries.with_signal(value, at) == (None if after is monitor else entries.encode_monitor(after))
    assert entries.takes_signals(value) is (monitor.spec.kind == "heartbeat")
