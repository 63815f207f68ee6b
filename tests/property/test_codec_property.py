"""What is encoded is decoded back: every record, in every format it can be written in."""

import json
from datetime import datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from everwatch import codec, schemas
from everwatch.config import OutputFormat
from everwatch.model import (
    At,
    Command,
    CommandType,
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
    Signal,
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
plain = st.characters(codec="utf-8", blacklist_characters=[chr(i) for i in range(32)] + ["\x7f"])
user_ids = st.text(plain, min_size=1, max_size=12)
monitor_ids = st.text(plain, min_size=1, max_size=12)
formats = st.sampled_from(OutputFormat)
floats = st.floats(allow_nan=False, allow_infinity=False)

scalars = st.none() | st.booleans() | LONG | floats | texts
attributes = st.dictionaries(texts, scalars, max_size=4)
json_values = st.recursive(scalars, lambda of: st.lists(of, max_size=3) | st.dictionaries(texts, of, max_size=3))
configs = st.dictionaries(texts, json_values, max_size=3)

everies = st.builds(Every, st.integers(10, 400 * DAY_MS // 100).map(lambda steps: steps * 100))
crons = st.builds(
    Cron,
    st.builds("{} {} * * *".format, st.integers(0, 59), st.integers(0, 23)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)
ats = st.builds(At, st.integers(946_684_800_000, 253_402_300_799_999))
schedules = everies | crons | ats
policies = st.builds(
    Policy,
    timeout_ms=st.integers(1, 600_000),
    failures_to_down=st.integers(1, 100),
    successes_to_up=st.integers(1, 100),
    misfire=st.sampled_from(Misfire),
    misfire_grace_ms=st.integers(5_000, DAY_MS),
    priority=st.sampled_from(Priority),
)
specs = st.builds(
    MonitorSpec,
    monitor_id=monitor_ids,
    kind=st.text(plain, min_size=1, max_size=8),
    config=configs.map(lambda config: msgspec.json.encode(config, order="sorted").decode()),
    schedule=schedules,
    policy=policies,
)
users = st.builds(
    User,
    user_id=user_ids,
    plan=texts,
    attributes=attributes,
    monitor_ids=st.lists(monitor_ids, max_size=4).map(tuple),
    registered_at=instants,
    updated_at=instants,
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
)
ticks = st.builds(
    Tick,
    user_id=user_ids,
    monitor_id=monitor_ids,
    scheduled_at=instants,
    kind=texts,
    config=texts,
    timeout_ms=counts,
    version=counts,
    partition=counts,
    attempt=counts,
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
    duration_ms=floats,
    attempt=counts,
    timings=st.dictionaries(texts, floats, max_size=4),
    executor=texts,
    skipped_until=instants,
    skipped_count=st.integers(0, 2**63 - 1),
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
    assert type(read.state) is State
    assert type(read.origin) is Origin
    assert type(read.spec.schedule) is type(monitor.spec.schedule)


@given(user_ids, monitor_ids)
def test_table_keys_come_apart_again_and_a_users_entries_stand_together(user_id: str, monitor_id: str) -> None:
    key = codec.table_key(user_id, monitor_id)
    assert codec.split_key(key) == (user_id, monitor_id)
    assert codec.split_key(codec.table_key(user_id)) == (user_id, "")
    assert key.startswith(codec.table_key(user_id))


@given(st.lists(st.tuples(user_ids, monitor_ids), unique=True, max_size=10))
def test_no_two_monitors_share_a_key(pairs: list[tuple[str, str]]) -> None:
    assert len({codec.table_key(*pair) for pair in pairs}) == len(pairs)


def _schedule_input(schedule: Schedule) -> dict[str, Any]:
    match schedule:
        case Every(interval_ms):
            return {"every": f"{interval_ms}ms"}
        case Cron(expression, timezone):
            return {"cron": expression, "timezone": timezone}
        case At(at):
            wall = datetime(1970, 1, 1) + timedelta(milliseconds=at)
            return {"at": f"{wall.isoformat(timespec='milliseconds')}Z"}


def _input(spec: MonitorSpec) -> dict[str, Any]:
    """A spec as a user writes it, durations in one of the ways to write them."""
    policy = spec.policy
    return {
        "monitor_id": spec.monitor_id,
        "kind": spec.kind,
        "config": spec.config,
        "schedule": _schedule_input(spec.schedule),
        "policy": {
            "timeout": f"{policy.timeout_ms}ms",
            "failures_to_down": policy.failures_to_down,
            "successes_to_up": policy.successes_to_up,
            "misfire": policy.misfire.value,
            "misfire_grace": f"PT{policy.misfire_grace_ms // 1000}.{policy.misfire_grace_ms % 1000:03d}S",
            "priority": policy.priority.value,
        },
    }


def _as_json(record: dict[str, Any]) -> bytes:
    def plain(monitor: dict[str, Any]) -> dict[str, Any]:
        return monitor | {"config": json.loads(monitor["config"])}

    if "monitors" in record:
        record = record | {"monitors": [plain(monitor) for monitor in record["monitors"]]}
    if record.get("monitor"):
        record = record | {"monitor": plain(record["monitor"])}
    return json.dumps(record, ensure_ascii=False).encode()


@given(
    user_ids,
    st.text(plain, min_size=1, max_size=8),
    attributes,
    st.lists(specs, max_size=4, unique_by=lambda s: s.monitor_id),
)
def test_a_signup_means_the_same_in_both_formats(
    user_id: str, plan: str, facts: dict[str, Any], monitors: list[MonitorSpec]
) -> None:
    record = {"user_id": user_id, "plan": plan, "attributes": facts, "monitors": [_input(spec) for spec in monitors]}
    meant = Signup(user_id, plan, facts, tuple(monitors))
    assert _same_configs(codec.decode_signup(_as_json(record)), meant)
    assert _same_configs(codec.decode_signup(schemas.encode("signup", record)), meant)


@given(user_ids, specs)
def test_a_put_means_the_same_in_both_formats(user_id: str, spec: MonitorSpec) -> None:
    record = {"command": "put", "user_id": user_id, "monitor_id": "", "monitor": _input(spec)}
    in_json, in_avro = codec.decode_command(_as_json(record)), codec.decode_command(schemas.encode("command", record))
    assert in_json == in_avro
    assert (in_json.command, in_json.user_id, in_json.monitor_id) == (CommandType.PUT, user_id, spec.monitor_id)


@given(user_ids, monitor_ids, st.sampled_from([CommandType.DELETE, CommandType.PAUSE, CommandType.RESUME]))
def test_a_command_means_the_same_in_both_formats(user_id: str, monitor_id: str, command: CommandType) -> None:
    record = {"command": command.value, "user_id": user_id, "monitor_id": monitor_id}
    meant = Command(command, user_id, monitor_id)
    assert codec.decode_command(_as_json(record)) == codec.decode_command(schemas.encode("command", record)) == meant


@given(user_ids, monitor_ids, instants)
def test_a_signal_means_the_same_in_both_formats(user_id: str, monitor_id: str, at: int) -> None:
    record = {"user_id": user_id, "monitor_id": monitor_id, "at": at}
    meant = Signal(user_id, monitor_id, at)
    assert codec.decode_signal(_as_json(record)) == codec.decode_signal(schemas.encode("signal", record)) == meant


def _same_configs(read: Signup, meant: Signup) -> bool:
    """Equal but for how a config's floats are spelt: 1e22 and 1e+22 are one number."""

    def spelt_alike(signup: Signup) -> Signup:
        monitors = tuple(
            msgspec.structs.replace(spec, config=json.dumps(json.loads(spec.config), sort_keys=True))
            for spec in signup.monitors
        )
        return msgspec.structs.replace(signup, monitors=monitors)

    return spelt_alike(read) == spelt_alike(meant)
