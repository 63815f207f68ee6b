"""Round trips of the codec: every record, in every format in which it can be written.

All in one file: the strategies of all records, which every round trip combines.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.schema_registry import own_schemas

from everwatch.core.output_format import OutputFormat
from everwatch.core.printable import HIDDEN
from everwatch.encoding import avro_schemas, codec, registered_schemas, table_records
from everwatch.model import (
    NO_SIGNALS,
    NOTHING,
    Agenda,
    Align,
    At,
    Backoff,
    Command,
    CommandOutcome,
    CommandType,
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
    Reply,
    Result,
    Retries,
    Signal,
    SignalState,
    SignalType,
    Signup,
    State,
    Status,
    Tick,
    Transition,
    User,
)

DAY_MS = 86_400_000
LONG = st.integers(-(2**63), 2**63 - 1)
instants = st.integers(0, 253_402_300_799_999)
counts = st.integers(0, 2**31 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
# what keys, logs and terminals can bear
plain = st.characters(codec="utf-8").filter(re.compile(f"[^{HIDDEN}]").fullmatch)
user_ids = st.text(plain, min_size=1, max_size=12)
monitor_ids = st.text(plain, min_size=1, max_size=12)
formats = st.sampled_from(OutputFormat)
floats = st.floats(allow_nan=False, allow_infinity=False)

scalars = st.none() | st.booleans() | LONG | floats | texts
attributes = st.dictionaries(texts, scalars, max_size=4)
json_values = st.recursive(scalars, lambda of: st.lists(of, max_size=3) | st.dictionaries(texts, of, max_size=3))
configs = st.dictionaries(texts, json_values, max_size=3)

zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])
moments = st.integers(946_684_800_000, 253_402_300_799_999)
everies = st.one_of(
    st.builds(Every, st.integers(10, 400 * DAY_MS // 100).map(lambda steps: steps * 100)),
    st.builds(Every, st.integers(10, 400 * DAY_MS // 100).map(lambda steps: steps * 100), st.just(Align.EPOCH)),
    st.builds(Every, st.sampled_from([1_000, 3_600_000, 3 * DAY_MS]), st.just(Align.MIDNIGHT), zones),
)
expressions = st.builds("{} {} * * *".format, st.integers(0, 59), st.integers(0, 23))
crons = st.builds(Cron, expressions, zones, st.just(0) | st.integers(1, DAY_MS))
ats = st.builds(At, moments)
schedules = everies | crons | ats
retries = st.just(Retries()) | st.builds(
    lambda most, backoff, base_ms, more_ms, jitter: Retries(most, backoff, base_ms, base_ms + more_ms, jitter),
    st.integers(1, 20),
    st.sampled_from(Backoff),
    st.integers(1_000, DAY_MS),
    st.integers(0, 6 * DAY_MS),
    st.floats(0, 1),
)
single_windows = st.lists(moments, min_size=2, max_size=2, unique=True).map(
    lambda ends: Maintenance(min(ends), max(ends))
)
repeated_windows = st.builds(Maintenance, st.just(0), st.just(0), expressions, zones, st.integers(60_000, 30 * DAY_MS))
windows = st.lists(single_windows | repeated_windows, max_size=3).map(tuple)
policies = st.builds(
    Policy,
    timeout_ms=st.integers(1, 600_000),
    failures_to_down=st.integers(1, 100),
    successes_to_up=st.integers(1, 100),
    misfire=st.sampled_from(Misfire),
    misfire_grace_ms=st.integers(5_000, DAY_MS),
    priority=st.sampled_from(Priority),
    retries=retries,
    overlap=st.sampled_from(Overlap),
    remind_every_ms=st.just(0) | st.integers(60_000, 30 * DAY_MS),
    maintenance=windows,
)


@pytest.fixture(autouse=True, scope="module")
def registry() -> Iterator[None]:
    """Confluent wire format can be written and read."""
    registered_schemas.use(own_schemas())
    yield
    registered_schemas.use(None)


def sorted_json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


# null is no payload
payloads = st.just("") | json_values.filter(lambda value: value is not None).map(sorted_json)
specs = st.builds(
    MonitorSpec,
    monitor_id=monitor_ids,
    kind=st.text(plain, min_size=1, max_size=8),
    config=configs.map(sorted_json),
    schedule=schedules,
    policy=policies,
    payload=payloads,
    start_at=st.just(0) | st.integers(946_684_800_000, 1_800_000_000_000),
    end_at=st.just(0) | st.integers(1_800_000_000_000, 253_402_300_799_999),
    max_runs=st.integers(0, 1_000),
)
INSTANTS = [each.name for each in msgspec.structs.fields(Agenda) if each.type is int]
agendas = st.just(NOTHING) | st.builds(
    Agenda, **dict.fromkeys(INSTANTS, st.just(0) | instants), maintained_why=st.just("") | texts
)
users = st.builds(
    User,
    user_id=user_ids,
    plan=texts,
    attributes=attributes,
    monitor_ids=st.lists(monitor_ids, max_size=4).map(tuple),
    registered_at=instants,
    updated_at=instants,
    maintenance=windows,
)
monitors = st.builds(
    Monitor,
    user_id=user_ids,
    spec=specs,
    origin=st.sampled_from(Origin),
    version=counts,
    since=instants,
    state=st.sampled_from(State),
    state_since=instants,
    reason=texts,
    streak=counts,
    judged_at=instants,
    last_signal=instants,
    agenda=agendas,
    signals=st.just(NO_SIGNALS)
    | st.builds(SignalState, instants, instants, st.none() | counts, st.none() | st.floats(0, 1e9)),
)
ticks = st.builds(
    Tick,
    user_id=user_ids,
    monitor_id=monitor_ids,
    scheduled_at=instants,
    kind=texts,
    config=texts,
    timeout_ms=st.integers(1, DAY_MS),
    version=counts,
    partition=counts,
    attempt=counts,
    may_overlap=st.booleans(),
    manual=st.booleans(),
    payload=texts,
)
results = st.builds(
    Result,
    user_id=user_ids,
    monitor_id=monitor_ids,
    scheduled_at=instants,
    kind=texts,
    version=counts,
    status=st.sampled_from(Status),
    reason=texts,
    started_at=instants,
    duration_ms=st.floats(0, 400 * DAY_MS),
    attempt=counts,
    timings=st.dictionaries(texts, floats, max_size=4),
    executor=texts,
    skipped_until=instants,
    skipped_count=st.integers(0, 2**63 - 1),
    manual=st.booleans(),
    detail=texts,
)
transitions = st.builds(
    Transition,
    user_id=user_ids,
    monitor_id=monitor_ids,
    at=instants,
    from_state=st.sampled_from(State),
    to_state=st.sampled_from(State),
    reason=texts,
    version=counts,
    alert=st.booleans(),
    reminder=st.booleans(),
)
replies = st.builds(
    Reply,
    command_id=texts,
    user_id=user_ids,
    monitor_id=st.just("") | monitor_ids,
    command=st.sampled_from(CommandType).map(str),
    answer=st.sampled_from(CommandOutcome),
    reason=texts,
    path=texts,
    version=counts,
    at=instants,
)


@given(ticks)
def test_a_tick_comes_out_of_its_record_as_it_went_in(tick: Tick) -> None:
    read = codec.decode_tick(codec.user_key(tick.user_id), codec.encode_tick(tick), tick.scheduled_at, tick.partition)
    assert read == tick


@given(ticks, instants)
def test_a_ticks_value_does_not_change_from_one_firing_to_the_next(tick: Tick, later: int) -> None:
    again = msgspec.structs.replace(tick, scheduled_at=later)
    assert codec.encode_tick(again) == codec.encode_tick(tick)


@given(results, formats)
def test_a_result_is_read_in_whichever_format_it_was_written(result: Result, output_format: OutputFormat) -> None:
    assert codec.decode_result(codec.encode_result(result, output_format)) == result


@given(transitions, formats)
def test_a_transition_is_read_in_whichever_format_it_was_written(
    transition: Transition, output_format: OutputFormat
) -> None:
    assert codec.decode_transition(codec.encode_transition(transition, output_format)) == transition


@given(replies, formats)
def test_a_reply_is_read_in_whichever_format_it_was_written(reply: Reply, output_format: OutputFormat) -> None:
    read = codec.decode_reply(codec.encode_reply(reply, output_format))
    assert read == reply
    assert type(read.answer) is CommandOutcome


@given(users)
def test_a_user_comes_out_of_the_table_as_it_went_in(user: User) -> None:
    read = codec.decode_entry(codec.table_key(user.user_id), codec.encode_entry(user))
    assert read == user
    assert isinstance(read, User)
    # 1, 1.0 and True are equal, and not the same
    assert {k: type(v) for k, v in read.attributes.items()} == {k: type(v) for k, v in user.attributes.items()}


@given(monitors)
def test_a_monitor_comes_out_of_the_table_as_it_went_in(monitor: Monitor) -> None:
    key = codec.table_key(monitor.user_id, monitor.monitor_id)
    read = codec.decode_entry(key, codec.encode_entry(monitor))
    assert read == monitor
    assert isinstance(read, Monitor)
    # equal text is not enough: `match` and `is` go by the enum's member
    policy = read.spec.policy
    assert type(policy.misfire) is Misfire
    assert type(policy.priority) is Priority
    assert type(policy.overlap) is Overlap
    assert type(policy.retries.backoff) is Backoff
    assert type(read.state) is State
    assert type(read.origin) is Origin
    assert type(read.spec.schedule) is type(monitor.spec.schedule)
    if isinstance(read.spec.schedule, Every):
        assert type(read.spec.schedule.align) is Align


@given(monitors)
def test_the_long_way_that_knows_all_versions_leads_to_the_same_monitor(monitor: Monitor) -> None:
    key, value = codec.table_key(monitor.user_id, monitor.monitor_id), codec.encode_entry(monitor)
    with patch.object(table_records, "decode_monitor", return_value=None):
        read = codec.decode_entry(key, value)
    assert read == monitor
    assert isinstance(read, Monitor)
    assert type(read.spec.schedule) is type(monitor.spec.schedule)
    if isinstance(read.spec.schedule, Every):
        assert type(read.spec.schedule.align) is Align


@given(user_ids, monitor_ids)
def test_table_keys_come_apart_again_and_a_users_entries_stand_together(user_id: str, monitor_id: str) -> None:
    key = codec.table_key(user_id, monitor_id)
    assert codec.split_key(key) == (user_id, monitor_id)
    assert codec.split_key(codec.table_key(user_id)) == (user_id, "")
    assert key.startswith(codec.table_key(user_id))


@given(st.lists(st.tuples(user_ids, monitor_ids), unique=True, max_size=10))
def test_no_two_monitors_share_a_key(pairs: list[tuple[str, str]]) -> None:
    assert len({codec.table_key(*pair) for pair in pairs}) == len(pairs)


@given(user_ids, monitor_ids)
def test_what_is_remembered_of_a_users_commands_stands_with_the_user_and_is_no_monitor(
    user_id: str, monitor_id: str
) -> None:
    key = codec.commands_key(user_id)
    assert key.startswith(codec.table_key(user_id))
    behind = key.removeprefix(codec.table_key(user_id))
    assert codec.is_bookkeeping(behind)
    assert not codec.is_bookkeeping(monitor_id.encode())
    assert not codec.is_bookkeeping(b"")


def _written(instant_ms: int) -> str:
    wall = datetime(1970, 1, 1) + timedelta(milliseconds=instant_ms)
    return f"{wall.isoformat(timespec='milliseconds')}Z"


def _schedule_input(spec: MonitorSpec) -> dict[str, Any]:
    bounds = {
        "start_at": _written(spec.start_at) if spec.start_at else None,
        "end_at": _written(spec.end_at) if spec.end_at else None,
        "max_runs": spec.max_runs or None,
    }
    match spec.schedule:
        case Every(interval_ms, align, timezone):
            return bounds | {"every": f"{interval_ms}ms", "align": align.value, "timezone": timezone or None}
        case Cron(expression, timezone, spread_ms):
            return bounds | {"cron": expression, "timezone": timezone, "spread": f"{spread_ms}ms"}
        case At(at):
            return bounds | {"at": _written(at)}


def _window_input(window: Maintenance) -> dict[str, Any]:
    if window.cron:
        return {"cron": window.cron, "timezone": window.timezone, "duration": f"{window.duration_ms}ms"}
    return {"start": _written(window.start), "end": _written(window.end)}


def _retries_input(retries: Retries) -> dict[str, Any] | None:
    if not retries.most:
        return None
    return {
        "max": retries.most,
        "backoff": retries.backoff.value,
        "base": f"{retries.base_ms}ms",
        "cap": f"{retries.cap_ms}ms",
        "jitter": retries.jitter,
    }


def _input(spec: MonitorSpec) -> dict[str, Any]:
    """A spec as a user writes it, durations in one of the ways to write them."""
    policy = spec.policy
    return {
        "monitor_id": spec.monitor_id,
        "kind": spec.kind,
        "config": spec.config,
        "schedule": _schedule_input(spec),
        "policy": {
            "timeout": f"{policy.timeout_ms}ms",
            "failures_to_down": policy.failures_to_down,
            "successes_to_up": policy.successes_to_up,
            "misfire": policy.misfire.value,
            "misfire_grace": f"PT{policy.misfire_grace_ms // 1000}.{policy.misfire_grace_ms % 1000:03d}S",
            "priority": policy.priority.value,
            "retries": _retries_input(policy.retries),
            "overlap": policy.overlap.value,
            "remind_every": f"{policy.remind_every_ms}ms" if policy.remind_every_ms else None,
            "maintenance": [_window_input(window) for window in policy.maintenance],
        },
        "payload": spec.payload or None,
    }


def _as_json(record: dict[str, Any]) -> bytes:
    def plain(monitor: dict[str, Any]) -> dict[str, Any]:
        payload = json.loads(monitor["payload"]) if monitor["payload"] else None
        return monitor | {"config": json.loads(monitor["config"]), "payload": payload}

    if "monitors" in record:
        record = record | {"monitors": [plain(monitor) for monitor in record["monitors"]]}
    if record.get("monitor"):
        record = record | {"monitor": plain(record["monitor"])}
    return json.dumps(record, ensure_ascii=False).encode()


@settings(deadline=None)
@given(
    user_ids,
    st.text(plain, min_size=1, max_size=8),
    attributes,
    st.lists(specs, max_size=4, unique_by=lambda s: s.monitor_id),
    windows,
)
def test_a_signup_means_the_same_in_both_formats(
    user_id: str, plan: str, facts: dict[str, Any], monitors: list[MonitorSpec], maintenance: tuple[Maintenance, ...]
) -> None:
    record = {
        "user_id": user_id,
        "plan": plan,
        "attributes": facts,
        "monitors": [_input(spec) for spec in monitors],
        "maintenance": [_window_input(window) for window in maintenance],
    }
    meant = Signup(user_id, plan, facts, tuple(monitors), maintenance)
    assert _same_json(codec.decode_signup(_as_json(record)), meant)
    assert _same_json(codec.decode_signup(avro_schemas.encode("signup", record)), meant)


@settings(deadline=None)
@given(user_ids, specs, st.text(plain, max_size=12), st.none() | counts)
def test_a_put_means_the_same_in_both_formats(
    user_id: str, spec: MonitorSpec, command_id: str, if_version: int | None
) -> None:
    record = {
        "command": "put",
        "user_id": user_id,
        "monitor_id": "",
        "monitor": _input(spec),
        "command_id": command_id,
        "if_version": if_version,
    }
    in_json, in_avro = (
        codec.decode_command(_as_json(record)),
        codec.decode_command(avro_schemas.encode("command", record)),
    )
    assert in_json == in_avro
    assert in_json.monitor is not None
    meant = Command(
        CommandType.PUT, user_id, spec.monitor_id, in_json.monitor, command_id=command_id, if_version=if_version
    )
    assert in_json == meant
    assert _same_json(Signup(user_id, monitors=(in_json.monitor,)), Signup(user_id, monitors=(spec,)))


commands = st.sampled_from(
    [CommandType.DELETE, CommandType.PAUSE, CommandType.RESUME, CommandType.RUN_NOW, CommandType.CANCEL]
)


@given(user_ids, monitor_ids, commands, st.text(plain, max_size=12))
def test_a_command_means_the_same_in_both_formats(
    user_id: str, monitor_id: str, command: CommandType, command_id: str
) -> None:
    record = {"command": command.value, "user_id": user_id, "monitor_id": monitor_id, "command_id": command_id}
    meant = Command(command, user_id, monitor_id, command_id=command_id)
    assert (
        codec.decode_command(_as_json(record)) == codec.decode_command(avro_schemas.encode("command", record)) == meant
    )


@given(user_ids, monitor_ids, moments)
def test_a_pause_until_an_instant_means_the_same_in_both_formats(user_id: str, monitor_id: str, until: int) -> None:
    record = {"command": "pause", "user_id": user_id, "monitor_id": monitor_id, "until": _written(until)}
    meant = Command(CommandType.PAUSE, user_id, monitor_id, until=until)
    assert (
        codec.decode_command(_as_json(record)) == codec.decode_command(avro_schemas.encode("command", record)) == meant
    )


@settings(deadline=None)
@given(user_ids, windows)
def test_maintenance_means_the_same_in_both_formats(user_id: str, maintenance: tuple[Maintenance, ...]) -> None:
    given = [_window_input(window) for window in maintenance]
    record = {"command": "maintain", "user_id": user_id, "maintenance": given}
    meant = Command(CommandType.MAINTAIN, user_id, maintenance=maintenance)
    assert (
        codec.decode_command(_as_json(record)) == codec.decode_command(avro_schemas.encode("command", record)) == meant
    )


sayings = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["success", "fail"]),
            "exit_code": st.integers(-(2**31), 2**31 - 1) | st.none(),
            "duration_ms": st.floats(0, 1e9) | st.none(),
            "run": st.sampled_from(["", "lauf-7", "x" * 64]),
        },
    ),
    st.just({"type": "start"}),
    st.just({"type": "start", "run": "7"}),
    st.fixed_dictionaries({"value": st.floats(allow_nan=False, allow_infinity=False)}),
)


@given(user_ids, monitor_ids, instants, sayings)
def test_a_signal_means_the_same_in_both_formats(user_id: str, monitor_id: str, at: int, said: dict[str, Any]) -> None:
    record = {"user_id": user_id, "monitor_id": monitor_id, "at": at} | said
    failed = bool(said.get("exit_code")) or said.get("type") == "fail"
    meant = Signal(
        user_id,
        monitor_id,
        at,
        SignalType.FAIL if failed else SignalType(said.get("type", "success")),
        said.get("exit_code") or None,
        said.get("duration_ms"),
        said.get("value"),
        run=said.get("run", ""),
    )
    assert codec.decode_signal(_as_json(record)) == codec.decode_signal(avro_schemas.encode("signal", record)) == meant


def _same_json(read: Signup, meant: Signup) -> bool:
    """Equal but for how a config's or payload's floats are spelt: 1e22 and 1e+22 are one number."""

    def again(text: str) -> str:
        return json.dumps(json.loads(text), sort_keys=True) if text else text

    def spelt_alike(signup: Signup) -> Signup:
        monitors = tuple(
            msgspec.structs.replace(spec, config=again(spec.config), payload=again(spec.payload))
            for spec in signup.monitors
        )
        return msgspec.structs.replace(signup, monitors=monitors)

    return spelt_alike(read) == spelt_alike(meant)
