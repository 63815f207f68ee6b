"""Entries encoded by hand against fastavro: the same bytes, and read in whichever way, the same monitor.

All in one file: the strategies of entries, which every comparison combines.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from everwatch.core.bounds import LATEST_MS
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import avro_schemas, codec, table_records
from everwatch.kinds.heartbeat import HeartbeatConfig, HeartbeatKind
from everwatch.model import (
    NO_SIGNALS,
    NOTHING,
    Agenda,
    Align,
    At,
    Backoff,
    Cron,
    Every,
    Maintenance,
    Misfire,
    Monitor,
    MonitorSpec,
    Origin,
    Overlap,
    Policy,
    Priority,
    RegionalRun,
    RegionOutcome,
    Result,
    Retries,
    Schedule,
    Signal,
    SignalState,
    State,
    Status,
    Tick,
    User,
)
from everwatch.rules import lifecycle

# where a varint takes a byte more, and where a long ends
EDGES = [sign * (2**bits) + by for bits in (6, 11, 13, 20, 31, 34, 62) for by in (-1, 0, 1) for sign in (1, -1)]
longs = st.sampled_from([0, -1, 1, -(2**63), 2**63 - 1, *EDGES]) | st.integers(-(2**63), 2**63 - 1)
ints = st.sampled_from([0, -1, 1, 2_047, 2_048, -(2**31), 2**31 - 1]) | st.integers(-(2**31), 2**31 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "é" * 40, "x" * 63, "x" * 64, "日本🕛"]
)
ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=12)
scalars = st.none() | st.booleans() | longs | st.floats(allow_nan=True, allow_infinity=True) | texts
zones = st.sampled_from(["UTC", "Europe/Berlin"])
schedules: st.SearchStrategy[Schedule] = st.one_of(
    st.builds(Every, longs),
    st.builds(At, longs),
    st.builds(Every, longs, st.just(Align.EPOCH)),
    st.builds(Every, longs, st.just(Align.MIDNIGHT), zones),
    st.builds(Cron, texts, zones, st.just(0) | longs),
)
windows = st.lists(
    st.builds(Maintenance, longs, longs) | st.builds(Maintenance, st.just(0), st.just(0), texts, zones, longs),
    max_size=2,
).map(tuple)
retries = st.just(Retries()) | st.builds(Retries, ints, st.sampled_from(Backoff), longs, longs, st.floats(0, 1))
usual_policies = st.just(Policy()) | st.builds(
    Policy, ints, ints, ints, st.sampled_from(Misfire), longs, st.sampled_from(Priority)
)
rare_policies = st.builds(
    Policy,
    misfire=st.sampled_from(Misfire),
    retries=retries,
    overlap=st.sampled_from(Overlap),
    remind_every_ms=st.just(0) | longs,
    maintenance=windows,
    weight=st.sampled_from([1, 1, 1, 8]),
)
bounds = st.just(0) | longs
plain_specs = st.builds(
    MonitorSpec,
    ids,
    texts | st.sampled_from(["heartbeat", "heartbeats", "http"]),
    texts | st.just('{"url":"http://a.example/"}'),
    schedules,
    usual_policies,
    st.just("") | texts,
)
bounds = st.just(0) | longs
specs = plain_specs | st.builds(
    msgspec.structs.replace, plain_specs, policy=rare_policies, start_at=bounds, end_at=bounds, max_runs=bounds
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
signal_states = st.just(NO_SIGNALS) | st.builds(
    SignalState,
    st.just(0) | longs,
    st.just(0) | longs,
    st.none() | ints,
    st.none() | numbers,
    st.none() | numbers,
    st.just(0) | longs,
    st.booleans(),
)
region_runs = st.builds(
    RegionalRun,
    longs,
    ints,
    longs,
    st.booleans(),
    st.lists(st.builds(RegionOutcome, ids, st.sampled_from(Status), texts, texts, ints), max_size=2).map(tuple),
)
INSTANTS = [each.name for each in msgspec.structs.fields(Agenda) if each.type is int]
agendas = st.just(NOTHING) | st.builds(
    Agenda,
    **dict.fromkeys(INSTANTS, st.just(0) | longs),
    runs_in_regions=st.lists(region_runs, max_size=2).map(tuple),
    maintained_why=st.just("") | texts,
)
living = st.builds(
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
    agenda=agendas,
    signals=signal_states,
)


@st.composite
def ended(draw: st.DrawFn) -> Monitor:
    outcome = draw(st.sampled_from(Status))
    return msgspec.structs.replace(draw(living), state=State.DONE, outcome=outcome)


# without the field, a status before the reason would be taken for the outcome
monitors = living.filter(lambda monitor: monitor.reason.partition(": ")[0] not in set(Status)) | ended()
users = st.builds(
    User,
    user_id=ids,
    plan=texts,
    attributes=st.dictionaries(texts, scalars, max_size=5),
    monitor_ids=st.lists(ids, max_size=5).map(tuple),
    registered_at=longs,
    updated_at=longs,
    maintenance=windows,
)


def schedule_record(schedule: Schedule) -> tuple[str, dict[str, Any]]:
    """A branch of the union, named, so that fastavro need not guess."""
    match schedule:
        case Every(interval_ms, Align.PHASE):
            return "everwatch.Every", {"interval_ms": interval_ms}
        case Every(interval_ms, align, timezone):
            return "everwatch.AlignedEvery", {"interval_ms": interval_ms, "align": align.value, "timezone": timezone}
        case _:
            return f"everwatch.{type(schedule).__name__}", msgspec.structs.asdict(schedule)


def more_of(spec: MonitorSpec) -> table_records.More:
    """The rarer parts of a spec."""
    policy = spec.policy
    return table_records.More(
        policy.retries,
        policy.overlap,
        policy.remind_every_ms,
        policy.maintenance,
        spec.start_at,
        spec.end_at,
        spec.max_runs,
        weight=policy.weight,
        regions=policy.regions,
        quorum=policy.quorum,
    )


def same_bytes(value: bytes, schema: str, record: dict[str, Any], **meant: Any) -> bool:
    """Tell whether ``value`` is what fastavro writes of ``record`` and of JSON text for each of ``meant``.

    One JSON text is as good as another: a default may be left out of it or not. What is all defaults has none.
    """
    texts = {name: avro_schemas.decode(schema, value)[name] for name in meant}
    for name, part in meant.items():
        assert name == "agenda" or (texts[name] == "") is (part in ((), type(part)()))
        assert not texts[name] or msgspec.json.decode(texts[name], type=PARTS[name]) == part
    return value == avro_schemas.encode(schema, record | texts)


PARTS: dict[str, Any] = {
    "more": table_records.More,
    "agenda": Agenda,
    "signals": SignalState,
    "maintenance": tuple[Maintenance, ...],
}


def is_fastavros(monitor: Monitor) -> bool:
    """Tell whether a monitor's bytes are those that fastavro writes."""
    agenda = avro_schemas.decode("monitor", table_records.encode_monitor(monitor))["agenda"]
    # the outcome stands in the same text
    assert (agenda == "") is (monitor.agenda == NOTHING and monitor.outcome is None)
    meant = {"more": more_of(monitor.spec), "agenda": monitor.agenda, "signals": monitor.signals}
    return same_bytes(table_records.encode_monitor(monitor), "monitor", monitor_record(monitor), **meant)


def monitor_record(monitor: Monitor) -> dict[str, Any]:
    policy = monitor.spec.policy
    return {
        "kind": monitor.spec.kind,
        "config": monitor.spec.config,
        "payload": monitor.spec.payload,
        "schedule": schedule_record(monitor.spec.schedule),
        "policy": {
            "timeout_ms": policy.timeout_ms,
            "failures_to_down": policy.failures_to_down,
            "successes_to_up": policy.successes_to_up,
            "misfire": policy.misfire.value,
            "misfire_grace_ms": policy.misfire_grace_ms,
            "priority": policy.priority.value,
        },
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
    assert is_fastavros(monitor)


@settings(max_examples=400, deadline=None)
@given(users)
def test_a_users_bytes_are_those_that_fastavro_writes(user: User) -> None:
    record = {name: getattr(user, name) for name in user.__struct_fields__ if name != "user_id"}
    record["monitor_ids"] = list(user.monitor_ids)
    assert same_bytes(table_records.encode_user(user), "user", record, maintenance=record.pop("maintenance"))


@given(st.lists(monitors, min_size=2, max_size=4), st.sampled_from([1, -1]))
def test_what_is_remembered_of_one_monitor_is_not_mistaken_for_anothers(some: list[Monitor], order: int) -> None:
    """Equal hashes, and values that are equal but for their type, are no reason to write the same bytes."""
    at, every = (msgspec.structs.replace(some[0].spec, schedule=kind(60_000)) for kind in (At, Every))
    some += [msgspec.structs.replace(some[1], spec=spec) for spec in (at, every)]
    for monitor in some[::order]:
        assert is_fastavros(monitor)


@settings(max_examples=300, deadline=None)
@given(monitors)
def test_a_monitor_is_read_as_it_was_written(monitor: Monitor) -> None:
    read = table_records.decode_monitor(monitor.user_id, monitor.monitor_id, table_records.encode_monitor(monitor))
    assert read == monitor
    # equal text is not enough: `match` and `is` go by the type
    assert type(read.spec.schedule) is type(monitor.spec.schedule)
    assert (type(read.state), type(read.origin)) == (State, Origin)
    policy = read.spec.policy
    assert (type(policy.misfire), type(policy.priority), type(policy.overlap)) == (Misfire, Priority, Overlap)
    assert type(policy.retries.backoff) is Backoff
    if isinstance(read.spec.schedule, Every):
        assert type(read.spec.schedule.align) is Align
    # what is empty is the one value that says so
    assert (read.agenda is NOTHING) is (monitor.agenda == NOTHING)
    assert (read.signals is NO_SIGNALS) is (monitor.signals == NO_SIGNALS)


def test_a_policy_that_spells_out_a_default_is_as_short_as_one_that_leaves_it_out() -> None:
    usual = MonitorSpec("m", "http", "{}", Every(60_000))
    spelt = msgspec.structs.replace(usual, policy=Policy(retries=Retries(), maintenance=()))
    written = [table_records.encode_monitor(Monitor("u", spec, Origin.SIGNUP, 1, 5)) for spec in (usual, spelt)]
    assert written[0] == written[1]
    assert avro_schemas.decode("monitor", written[0])["more"] == ""
    assert table_records.read_timetable_fields(b"m", written[0]) is not None


def is_plain(monitor: Monitor) -> bool:
    """Tell whether the plan of a monitor can be read without decoding its entry."""
    schedule = monitor.spec.schedule
    plain = isinstance(schedule, At) or (isinstance(schedule, Every) and schedule.align is Align.PHASE)
    usual = more_of(monitor.spec) == table_records.More()
    return plain and usual and monitor.agenda == NOTHING and monitor.outcome is None


@settings(max_examples=400, deadline=None)
@given(monitors)
def test_a_plan_is_the_same_from_the_monitor_and_from_its_entry(monitor: Monitor) -> None:
    read = table_records.read_timetable_fields(monitor.monitor_id.encode(), table_records.encode_monitor(monitor))
    plan = table_records.timetable_fields_of(monitor)
    assert (read is not None) is is_plain(monitor)
    if read is not None:
        assert read == plan
        assert type(read.schedule) is type(plan.schedule)
    assert plan.asleep is (monitor.state in (State.PAUSED, State.DONE))
    assert plan.ends_at == monitor.agenda.ends_at
    assert (plan.kind, plan.schedule, plan.policy, plan.since) == (
        monitor.spec.kind,
        monitor.spec.schedule,
        monitor.spec.policy,
        monitor.since,
    )


@given(monitors, longs)
def test_a_monitor_begins_later_only_by_its_owners_wish(monitor: Monitor, start_at: int) -> None:
    spec = msgspec.structs.replace(monitor.spec, start_at=start_at)
    waiting = msgspec.structs.replace(monitor, spec=spec, since=start_at - 1)
    assert table_records.timetable_fields_of(waiting).starts_at == max(0, start_at)
    begun = msgspec.structs.replace(waiting, since=start_at)
    assert table_records.timetable_fields_of(begun).starts_at == 0


@settings(max_examples=400, deadline=None)
@given(monitors)
def test_the_dates_of_a_monitor_are_read_from_its_entry_and_are_what_is_on_its_agenda(monitor: Monitor) -> None:
    dates = table_records.dates_of_monitor(monitor)
    assert table_records.dates_of(monitor.monitor_id.encode(), table_records.encode_monitor(monitor)) == dates
    spec, agenda = monitor.spec, monitor.agenda
    begins = set()
    if isinstance(spec.schedule, At):
        begins = {max(spec.schedule.at, monitor.since + 1)}
    elif spec.start_at:
        begins = {monitor.since}
    assert set(dates.due) == begins | ({agenda.ends_at, agenda.retry_at} - {0})
    waits = {run.decide_at for run in agenda.runs_in_regions}
    assert set(dates.agenda) == ({agenda.remind_at, agenda.resume_at, agenda.forget_at} - {0}) | waits


def test_most_monitors_have_no_dates() -> None:
    monitor = Monitor("u", MonitorSpec("m", "http", "{}", Every(60_000)), Origin.SIGNUP, 1, 5)
    assert table_records.dates_of(b"m", table_records.encode_monitor(monitor)) is table_records.NO_DATES
    assert table_records.dates_of_monitor(monitor) is table_records.NO_DATES


def _with_numbers_of_ticks(monitor: Monitor) -> Monitor:
    """The monitor with numbers that an executor takes."""
    replace = msgspec.structs.replace
    agenda, policy = monitor.agenda, monitor.spec.policy
    if agenda is not NOTHING:
        instant, attempt = abs(agenda.retry_of) % (LATEST_MS + 1), abs(agenda.retry_attempt) % 2**31
        agenda = replace(agenda, retry_of=instant, retry_attempt=attempt)
    policy = replace(
        policy,
        timeout_ms=1 + abs(policy.timeout_ms) % 600_000,
        misfire_grace_ms=abs(policy.misfire_grace_ms) % 86_400_000,
    )
    version = abs(monitor.version) % 2**31
    return replace(monitor, version=version, agenda=agenda, spec=replace(monitor.spec, policy=policy))


@settings(max_examples=300, deadline=None)
@given(
    monitors.map(_with_numbers_of_ticks),
    st.integers(0, 2**31 - 1),
    st.booleans(),
    st.integers(0, LATEST_MS),
    st.integers(0, 2**31 - 1),
)
def test_a_plans_ticks_are_those_that_an_executor_reads(
    monitor: Monitor, attempt: int, manual: bool, scheduled_at: int, partition: int
) -> None:
    spec, agenda, plan = monitor.spec, monitor.agenda, table_records.timetable_fields_of(monitor)
    meant = Tick(
        monitor.user_id,
        spec.monitor_id,
        scheduled_at,
        spec.kind,
        spec.config,
        spec.policy.timeout_ms,
        monitor.version,
        partition,
        may_overlap=spec.policy.overlap is Overlap.ALLOW,
        payload=spec.payload,
        misfire=spec.policy.misfire,
        misfire_grace_ms=spec.policy.misfire_grace_ms,
        weight=spec.policy.weight,
    )

    def read(value: bytes) -> Tick:
        return codec.decode_tick(codec.user_key(monitor.user_id), value, scheduled_at, partition)

    assert plan.tick == codec.encode_tick(meant)
    assert read(plan.tick) == meant
    assert read(table_records.tick_value(monitor, attempt, manual=manual)) == msgspec.structs.replace(
        meant, attempt=attempt, manual=manual
    )
    assert (plan.retry is not None) is (agenda.retry_at != 0 and not plan.asleep)
    if plan.retry is not None:
        due, retry_of, value = plan.retry
        assert (due, retry_of) == (agenda.retry_at, agenda.retry_of)
        assert read(value) == msgspec.structs.replace(meant, attempt=agenda.retry_attempt)


@given(monitors, st.binary(min_size=8, max_size=8))
@example(
    Monitor("u", MonitorSpec("m", "noop", "{}", Every(60_000)), Origin.SIGNUP, 1, 0),
    bytes.fromhex("36027a13ca5caab4"),  # the version before
)
def test_bytes_of_another_version_are_left_to_who_knows_all_versions(monitor: Monitor, fingerprint: bytes) -> None:
    value = table_records.encode_monitor(monitor)
    if fingerprint == value[2:10]:
        return
    other = value[:2] + fingerprint + value[10:]
    assert table_records.decode_monitor(monitor.user_id, monitor.monitor_id, other) is None
    assert table_records.read_timetable_fields(monitor.monitor_id.encode(), other) is None
    assert table_records.dates_of(monitor.monitor_id.encode(), other) is None
    assert table_records.with_signal(other, 2**63 - 1) is None
    assert not any(table_records.stays_as_it_is(other, status) for status in Status)


GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.mark.parametrize(
    ("old", "dates"),
    [
        ("monitor.00226e8f37c01695", table_records.NO_DATES),
        ("monitor.9d6b5b45f8b94bf4", table_records.NO_DATES),
        ("monitor-cron.9d6b5b45f8b94bf4", table_records.NO_DATES),
        # it was put when it was due
        ("monitor-at.9d6b5b45f8b94bf4", table_records.Dates((1_800_000_000_001,))),
    ],
)
def test_the_dates_of_a_monitor_of_an_older_version_are_found_by_who_knows_all_versions(
    old: str, dates: table_records.Dates
) -> None:
    value = (GOLDEN / f"{old}.bin").read_bytes()
    assert table_records.dates_of("größe".encode(), value) is None
    monitor = codec.decode_entry(codec.table_key("u-1", "größe"), value)
    assert isinstance(monitor, Monitor)
    assert table_records.dates_of_monitor(monitor) == dates
    assert table_records.dates_of("größe".encode(), table_records.encode_monitor(monitor)) == dates


@given(users)
def test_a_user_is_not_taken_for_a_monitor(user: User) -> None:
    value = table_records.encode_user(user)
    assert table_records.dates_of(b"m", value) is None
    assert table_records.read_timetable_fields(b"m", value) is None
    assert table_records.decode_monitor(user.user_id, "m", value) is None


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
    skipped_until=longs,
    skipped_count=longs,
    manual=st.booleans(),
)


@given(results)
def test_a_verdict_is_read_from_a_result_without_the_rest(result: Result) -> None:
    value = codec.encode_result(result, OutputFormat.AVRO)
    assert table_records.read_verdict(value) == (result.user_id.encode(), result.monitor_id.encode(), result.status)
    assert table_records.read_verdict(codec.encode_result(result, OutputFormat.JSON)) is None


@given(results, st.integers(0, 60))
def test_a_result_that_ends_too_early_gives_the_same_verdict_or_none(result: Result, length: int) -> None:
    value = codec.encode_result(result, OutputFormat.AVRO)
    assert table_records.read_verdict(value[:length]) in (None, table_records.read_verdict(value))


@settings(max_examples=300, deadline=None)
@given(monitors, st.sampled_from([0, 1, -1, 127, 128]), results)
def test_a_result_that_leaves_a_monitor_as_it_is_is_told_from_its_entry_alone(
    monitor: Monitor, streak: int, result: Result
) -> None:
    monitor = msgspec.structs.replace(monitor, streak=streak)
    # a result that counts
    newer = max(monitor.judged_at, monitor.since) + 1
    result = msgspec.structs.replace(result, version=monitor.version, scheduled_at=newer)
    if table_records.stays_as_it_is(table_records.encode_monitor(monitor), result.status):
        assert lifecycle.after_result(monitor, result) is monitor


@pytest.mark.parametrize(
    ("state", "status"), [(State.UP, Status.SUCCESS), (State.DOWN, Status.FAILURE), (State.LATE, Status.LATE)]
)
def test_a_monitor_that_is_up_and_stays_up_needs_no_closer_look(state: State, status: Status) -> None:
    spec = MonitorSpec("m", "http", "{}", Every(60_000))
    monitor = Monitor("u", spec, Origin.SIGNUP, 1, 5, state, 7, "200 OK", 0, 300, 1_800_000_000_000)
    assert table_records.stays_as_it_is(table_records.encode_monitor(monitor), status)
    counting = msgspec.structs.replace(monitor, streak=1)
    assert not table_records.stays_as_it_is(table_records.encode_monitor(counting), status)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("name", INSTANTS)
def test_with_anything_on_its_agenda_a_monitor_takes_a_closer_look(name: str, status: Status) -> None:
    agenda = msgspec.structs.replace(NOTHING, **{name: 1_800_000_000_000})
    monitor = Monitor("u", MonitorSpec("m", "http", "{}", Every(60_000)), Origin.SIGNUP, 1, 5, State.UP, agenda=agenda)
    assert not table_records.stays_as_it_is(table_records.encode_monitor(monitor), status)


@given(monitors, longs)
def test_a_heartbeat_changes_its_instant_in_the_entry_and_nothing_else(monitor: Monitor, at: int) -> None:
    value = table_records.encode_monitor(monitor)
    changed = table_records.with_signal(value, at)
    if monitor.spec.kind != "heartbeat" or monitor.signals != NO_SIGNALS:
        assert changed is None
        return
    heartbeat = Signal(monitor.user_id, monitor.monitor_id, at)
    after = lifecycle.after_signals(
        monitor, *HeartbeatKind().take(HeartbeatConfig("1m"), monitor.last_signal, monitor.signals, heartbeat)
    )
    assert changed == table_records.encode_monitor(after)
    assert (changed is value) is (after is monitor) is (at <= monitor.last_signal)


def test_what_is_known_of_signals_costs_a_plain_heartbeat_monitor_one_byte() -> None:
    spec = MonitorSpec("m", "heartbeat", '{"period":"1m"}', Every(60_000))
    plain = Monitor("u", spec, Origin.SIGNUP, 1, 5, State.UP, 7, "", 0, 300, 1_800_000_000_000)
    value = table_records.encode_monitor(plain)
    assert avro_schemas.decode("monitor", value)["signals"] == ""
    assert value[-7:-6] == b"\0"  # before the six bytes of the instant
    running = table_records.encode_monitor(msgspec.structs.replace(plain, signals=SignalState(started_at=9)))
    assert avro_schemas.decode("monitor", running)["signals"] == '{"started_at":9}'
