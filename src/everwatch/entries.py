"""The records that are written and read a million times, encoded by hand: the table's entries, and ticks.

The bytes are those of the Avro schemas (``schemas/``), as fastavro would write them; property tests hold the two
against each other. Only the current schema is known here: bytes of an older one are for ``schemas.decode``.

A due monitor needs little of its entry, and most of that is copied from it as it stands: see ``Plan``.
"""

import re
import struct
from functools import cache, lru_cache
from typing import Any, NamedTuple

from everwatch import schemas
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
    Schedule,
    State,
    Status,
    User,
)
from everwatch.varint import SMALL, encode, read, start_before

_MISFIRES = tuple(Misfire)
_PRIORITIES = tuple(Priority)
_ORIGINS = tuple(Origin)
_STATES = tuple(State)
_EVERY, _CRON, _AT = b"\x00", b"\x02", b"\x04"
_DOUBLE = struct.Struct("<d")
# only what is short is remembered: what users send must not decide how much memory that takes
REMEMBERED = 1_024
FEW = 20

# --- Avro's primitives ------------------------------------------------------------------------------------------------


def _text(text: str) -> bytes:
    data = text.encode()
    return encode(len(data)) + data


def _number(encoded: bytes) -> int:
    return read(encoded, 0)[0]


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    length, at = read(data, at)
    return data[at : at + length].decode(), at + length


@cache
def _header(name: str) -> bytes:
    return schemas.header(name)


# --- monitors ---------------------------------------------------------------------------------------------------------


def encode_monitor(monitor: Monitor) -> bytes:
    """The value of a monitor's table entry."""
    return b"".join(
        (
            _remembered_spec_bytes(monitor.spec, monitor.origin)
            if len(monitor.spec.config) <= REMEMBERED
            else _spec_bytes(monitor.spec, monitor.origin),
            encode(monitor.version),
            encode(monitor.since),
            SMALL[_STATE_NUMBERS[monitor.state]],
            encode(monitor.state_since),
            _text(monitor.reason) if monitor.reason else b"\0",
            encode(monitor.streak),
            encode(monitor.judged_at),
            encode(monitor.last_signal),
        )
    )


_STATE_NUMBERS = {state: number for number, state in enumerate(_STATES)}


def _spec_bytes(spec: MonitorSpec, origin: Origin) -> bytes:
    """Everything of an entry that does not change while the monitor runs."""
    policy = spec.policy
    return b"".join(
        (
            _header("monitor"),
            _text(spec.kind),
            _text(spec.config),
            _schedule_bytes(spec.schedule),
            encode(policy.timeout_ms),
            encode(policy.failures_to_down),
            encode(policy.successes_to_up),
            encode(_MISFIRES.index(policy.misfire)),
            encode(policy.misfire_grace_ms),
            encode(_PRIORITIES.index(policy.priority)),
            encode(_ORIGINS.index(origin)),
        )
    )


_remembered_spec_bytes = lru_cache(maxsize=8_192)(_spec_bytes)


def _schedule_bytes(schedule: Schedule) -> bytes:
    match schedule:
        case Every(interval_ms):
            return _EVERY + encode(interval_ms)
        case Cron(expression, timezone):
            return _CRON + _text(expression) + _text(timezone)
        case At(at):
            return _AT + encode(at)


def decode_monitor(user_id: str, monitor_id: str, value: bytes) -> Monitor | None:
    """The monitor of a table entry; None if the value is of another version of the schema."""
    if not value.startswith(_header("monitor")):
        return None
    kind, at = _read_text(value, schemas.HEADER_LENGTH)
    config, at = _read_text(value, at)
    schedule, at = _read_schedule(value, at)
    policy = _AFTER_SCHEDULE.match(value, at)
    assert policy is not None  # the pattern matches whatever this module or fastavro wrote
    version, since, state, state_since = policy.group(3, 4, 5, 6)
    reason, at = _read_text(value, policy.end())
    streak, at = read(value, at)
    judged_at, at = read(value, at)
    last_signal, at = read(value, at)
    return Monitor(
        user_id,
        MonitorSpec(monitor_id, kind, config, schedule, _policy_of(policy[1])),
        _ORIGINS[_number(policy[2])],
        _number(version),
        _number(since),
        _STATES[_number(state)],
        _number(state_since),
        reason,
        streak,
        judged_at,
        last_signal,
    )


_V = rb"[\x80-\xff]*[\x00-\x7f]"
# policy, origin | version, since, state, state_since
_AFTER_SCHEDULE = re.compile(rb"((?:%b){6})(%b)(%b)(%b)(%b)(%b)" % ((_V,) * 6))


@lru_cache(maxsize=4_096)
def _policy_of(encoded: bytes) -> Policy:
    numbers, at = [], 0
    while at < len(encoded):
        number, at = read(encoded, at)
        numbers.append(number)
    timeout_ms, failures, successes, misfire, grace_ms, priority = numbers
    return Policy(timeout_ms, failures, successes, _MISFIRES[misfire], grace_ms, _PRIORITIES[priority])


def _read_schedule(value: bytes, at: int) -> tuple[Schedule, int]:
    branch, at = value[at], at + 1
    if branch == _CRON[0]:
        expression, at = _read_text(value, at)
        timezone, at = _read_text(value, at)
        return Cron(expression, timezone), at
    number, at = read(value, at)
    return (Every(number) if branch == _EVERY[0] else At(number)), at


# --- what the timetable needs of a monitor ----------------------------------------------------------------------------


class Plan(NamedTuple):
    """When a monitor is due, and the value of its tick."""

    kind: str
    schedule: Schedule
    policy: Policy
    since: int
    asleep: bool
    tick: bytes


ASLEEP = (State.PAUSED, State.DONE)
_ASLEEP_BYTES = frozenset(SMALL[_STATE_NUMBERS[state]] for state in ASLEEP)
# schedule (every or at) | policy | origin | version | since | state
_PLAN = re.compile(rb"([\x00\x04]%b)((%b)(?:%b){5})%b(%b)(%b)(%b)" % ((_V,) * 7))


def plan_of(monitor: Monitor) -> Plan:
    """The plan of a monitor."""
    spec = monitor.spec
    return Plan(
        spec.kind,
        spec.schedule,
        spec.policy,
        monitor.since,
        monitor.state in ASLEEP,
        b"".join(
            (
                _header("tick"),
                _text(spec.monitor_id),
                _remembered_kind_and_config(spec.kind, spec.config)
                if len(spec.config) <= REMEMBERED
                else _kind_and_config(spec.kind, spec.config),
                encode(spec.policy.timeout_ms),
                encode(monitor.version),
                b"\x02",
            )
        ),
    )


def _kind_and_config(kind: str, config: str) -> bytes:
    return _text(kind) + _text(config)


_remembered_kind_and_config = lru_cache(maxsize=8_192)(_kind_and_config)


def read_plan(monitor_id: bytes, value: bytes) -> Plan | None:
    """The plan of the monitor in a table entry, read without decoding the rest.

    None where that cannot be (another version of the schema, a cron schedule): decode the entry then.
    """
    if not value.startswith(_header("monitor")):
        return None
    kind_end, config_end = _after_kind_and_config(value)
    found = _PLAN.match(value, config_end)
    if found is None:
        return None
    schedule, policy, timeout, version, since, state = found.groups()
    tick = b"%b%b%b%b%b%b\x02" % (
        _header("tick"),
        encode(len(monitor_id)),
        monitor_id,
        value[schemas.HEADER_LENGTH : config_end],
        timeout,
        version,
    )
    return Plan(
        _name_of(value[schemas.HEADER_LENGTH : kind_end]),
        _schedule_of(schedule) if schedule[0] == 0 else At(_number(schedule[1:])),
        _policy_of(policy),
        _instant(since),
        state in _ASLEEP_BYTES,
        tick,
    )


def _after_kind_and_config(value: bytes) -> tuple[int, int]:
    """Where the kind and the config of an entry end. Short ones, which most are, are read the short way."""
    length = value[schemas.HEADER_LENGTH]
    if length < 0x80:
        kind_end = schemas.HEADER_LENGTH + 1 + (length >> 1)
    else:
        length, at = read(value, schemas.HEADER_LENGTH)
        kind_end = at + length
    length = value[kind_end]
    if length < 0x80:
        return kind_end, kind_end + 1 + (length >> 1)
    length, at = read(value, kind_end)
    return kind_end, at + length


@lru_cache(maxsize=1_024)
def _name_of(kind: bytes) -> str:
    return _read_text(kind, 0)[0]


# many monitors are put in one unit of work, and so since the same instant
_instant = lru_cache(maxsize=8_192)(_number)


@lru_cache(maxsize=4_096)
def _schedule_of(encoded: bytes) -> Every:
    return Every(_number(encoded[1:]))


# --- users ------------------------------------------------------------------------------------------------------------


def encode_user(user: User) -> bytes:
    """The value of a user's table entry."""
    attributes = user.attributes
    return b"".join(
        (
            _header("user"),
            _text(user.plan),
            _attributes_bytes(attributes) if attributes else b"\0",
            _remembered_names_bytes(user.monitor_ids)
            if len(user.monitor_ids) <= FEW
            else _names_bytes(user.monitor_ids),
            encode(user.registered_at),
            encode(user.updated_at),
        )
    )


def _attributes_bytes(attributes: dict[str, Any]) -> bytes:
    parts = [encode(len(attributes))]
    for name, value in attributes.items():
        parts += (_text(name), _scalar_bytes(value))
    parts.append(b"\0")
    return b"".join(parts)


def _scalar_bytes(value: Any) -> bytes:
    if value is None:
        return b"\x00"
    if isinstance(value, bool):
        return b"\x02\x01" if value else b"\x02\x00"
    if isinstance(value, int):
        return b"\x04" + encode(value)
    if isinstance(value, float):
        return b"\x06" + _DOUBLE.pack(value)
    return b"\x08" + _text(value)


def _names_bytes(names: tuple[str, ...]) -> bytes:
    return b"".join((encode(len(names)), *(_text(name) for name in names), b"\0")) if names else b"\0"


_remembered_names_bytes = lru_cache(maxsize=4_096)(_names_bytes)


def read_at(value: bytes) -> tuple[int, int] | None:
    """``at`` and ``since`` of the one-shot task in a table entry; None for any other entry."""
    if not value.startswith(_header("monitor")):
        return None
    _, at = _after_kind_and_config(value)
    if value[at] != _AT[0]:
        return None
    found = _PLAN.match(value, at)
    assert found is not None  # the pattern matches every task
    return _number(found[1][1:]), _number(found[5])


# --- what signals and results need of a monitor -----------------------------------------------------------------------

_HEARTBEAT = _text("heartbeat")
_SETTLED = frozenset({(State.UP, Status.SUCCESS), (State.DOWN, Status.FAILURE), (State.LATE, Status.LATE)})
_STATUSES = tuple(Status)


def takes_signals(value: bytes) -> bool | None:
    """Whether the entry is a heartbeat monitor's; None if it is of another version of the schema."""
    if not value.startswith(_header("monitor")):
        return None
    return value.startswith(_HEARTBEAT, schemas.HEADER_LENGTH)


def with_signal(value: bytes, at: int) -> bytes | None:
    """The entry of a heartbeat monitor after a heartbeat at ``at``; None if it knows a newer one."""
    begin = start_before(value, len(value))
    return value[:begin] + encode(at) if at > read(value, begin)[0] else None


def stays_as_it_is(value: bytes, status: Status) -> bool:
    """Whether a result with this status surely changes nothing about the monitor in a table entry.

    True only where ``lifecycle.after_result`` gives back the same monitor, whatever else the result says: a monitor
    that is up and stays up. False where that takes a closer look.
    """
    if not value.startswith(_header("monitor")):
        return False
    found = _PLAN.match(value, _after_kind_and_config(value)[1])
    if found is None or found[1][0] != _EVERY[0]:
        return False
    if status is Status.SKIPPED:
        return True
    # from the end: last_signal, judged_at, streak
    begin = start_before(value, start_before(value, len(value)))
    return value[begin - 1] == 0 and value[begin - 2] < 0x80 and (_STATES[_number(found[6])], status) in _SETTLED


def read_verdict(value: bytes) -> tuple[bytes, bytes, Status] | None:
    """``user_id``, ``monitor_id`` and status of an Avro result; None if it is none of this schema, or mangled."""
    if not value.startswith(_header("result")):
        return None
    try:
        length, at = read(value, schemas.HEADER_LENGTH)
        user_id = value[at : at + length]
        length, at = read(value, at + length)
        monitor_id = value[at : at + length]
        found = _VERDICT.match(value, at + length)
        if found is None:
            return None
        length, at = read(value, found.end())
        found = _VERDICT.match(value, at + length)
        return (user_id, monitor_id, _STATUSES[_number(found[2])]) if found else None
    except IndexError:
        return None


# scheduled_at and attempt, or version and status
_VERDICT = re.compile(rb"(%b)(%b)" % (_V, _V))
