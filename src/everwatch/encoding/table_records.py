"""Records of the hot paths, encoded by hand: the table's entries, and ticks.

The bytes are those of the Avro schemas (``schemas/``), as fastavro would write them; property tests compare the two.
Only the current schema is known here: bytes of an older one are for ``avro_schemas.decode``.

A due monitor needs little of its entry, and most of that is copied from it as it stands: see ``TimetableFields``.

All in one file: one layout of bytes, which every function here reads or writes a part of, changes in one place.
"""

import re
import struct
from functools import cache, lru_cache
from typing import Any, NamedTuple

import msgspec

from everwatch.core.bounds import LONGEST_KEY_BYTES, RESERVED_USERS
from everwatch.encoding import avro_schemas, result_decoder
from everwatch.encoding.ended_monitors import split_outcome
from everwatch.encoding.varint import SMALL, encode, read, start_before
from everwatch.model import (
    ASLEEP,
    NO_SIGNALS,
    NOTHING,
    Agenda,
    Align,
    At,
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
    Quorum,
    Retries,
    Schedule,
    SignalState,
    State,
    Status,
    User,
)
from everwatch.schedule.at import due_instant

_MISFIRES = tuple(Misfire)
_PRIORITIES = tuple(Priority)
_ORIGINS = tuple(Origin)
_STATES = tuple(State)
_EVERY, _CRON, _AT, _ALIGNED = b"\x00", b"\x02", b"\x04", b"\x06"
_ALIGNS = (Align.EPOCH, Align.MIDNIGHT)
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
    return avro_schemas.header(name)


# --- monitors ---------------------------------------------------------------------------------------------------------


def encode_monitor(monitor: Monitor) -> bytes:
    """The value of a monitor's table entry."""
    return b"".join(
        (
            _remembered_spec_bytes(monitor.spec, monitor.origin)
            if len(monitor.spec.config) + len(monitor.spec.payload) <= REMEMBERED
            else _spec_bytes(monitor.spec, monitor.origin),
            encode(monitor.version),
            encode(monitor.since),
            SMALL[_STATE_NUMBERS[monitor.state]],
            encode(monitor.state_since),
            _text(monitor.reason) if monitor.reason else b"\0",
            _life_bytes(monitor) if monitor.agenda is not NOTHING or monitor.outcome else b"\0",
            encode(monitor.streak),
            encode(monitor.judged_at),
            _json(monitor.signals) if monitor.signals is not NO_SIGNALS else b"\0",
            encode(monitor.last_signal),
        )
    )


_STATE_NUMBERS = {state: number for number, state in enumerate(_STATES)}


class More(msgspec.Struct, frozen=True, omit_defaults=True):
    """Name, labels and the rarer parts of schedule and policy, which most monitors leave at their defaults."""

    retries: Retries = Retries()
    overlap: Overlap = Overlap.SKIP
    remind_every_ms: int = 0
    maintenance: tuple[Maintenance, ...] = ()
    start_at: int = 0
    end_at: int = 0
    max_runs: int = 0
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    weight: int = 1
    regions: tuple[str, ...] = ()
    quorum: Quorum = Quorum.MAJORITY


_USUAL = More()
_to_json = msgspec.json.Encoder().encode
_agenda_of = msgspec.json.Decoder(Agenda).decode
_signals_of = msgspec.json.Decoder(SignalState).decode
_windows_of = msgspec.json.Decoder(tuple[Maintenance, ...]).decode


def _json(value: msgspec.Struct | tuple[Maintenance, ...]) -> bytes:
    """JSON as an Avro string; empty for a value of defaults only."""
    data = _to_json(value)
    return encode(len(data)) + data if len(data) > len(b"{}") else b"\0"


def _more_bytes(spec: MonitorSpec) -> bytes:
    policy = spec.policy
    return _json(
        More(
            # a default is left out only if it is the very same object
            policy.retries if policy.retries != _USUAL.retries else _USUAL.retries,
            policy.overlap,
            policy.remind_every_ms,
            policy.maintenance,
            spec.start_at,
            spec.end_at,
            spec.max_runs,
            spec.name,
            spec.labels,
            policy.weight,
            policy.regions,
            policy.quorum,
        )
    )


@lru_cache(maxsize=1_024)
def _more_of(text: str) -> More:
    return msgspec.json.decode(text, type=More) if text else _USUAL


class _Ended(Agenda, frozen=True, omit_defaults=True):
    """An agenda with how the monitor ended beside it: a field of its own would be another schema, and the entries of
    the old one slow to read until each of them is written anew."""

    outcome: Status | None = None


_ended_of = msgspec.json.Decoder(_Ended).decode


def _life_bytes(monitor: Monitor) -> bytes:
    if monitor.outcome is None:
        return _json(monitor.agenda)
    return _json(_Ended(**msgspec.structs.asdict(monitor.agenda), outcome=monitor.outcome))


def read_life(state: State, reason: str, agenda: str) -> tuple[str, Agenda, Status | None]:
    """Reason, agenda and outcome of a table entry that holds ``reason`` and the text ``agenda``."""
    planned = _agenda_of(agenda) if agenda else NOTHING
    if state is not State.DONE:
        return reason, planned, None
    outcome = _ended_of(agenda).outcome if agenda else None
    if outcome is None:
        outcome, reason = split_outcome(state, reason)
    return reason, planned if planned != NOTHING else NOTHING, outcome


def read_signals(text: str) -> SignalState:
    """Decode a monitor's signals from the ``text`` of its table entry."""
    return _signals_of(text) if text else NO_SIGNALS


def read_maintenance(text: str) -> tuple[Maintenance, ...]:
    """The windows that a user's entry holds as ``text``."""
    return _windows_of(text) if text else ()


def completed_spec(spec: MonitorSpec, more_text: str) -> MonitorSpec:
    """A spec with what a table entry holds as text."""
    if not more_text:
        return spec
    more = _more_of(more_text)
    return MonitorSpec(
        spec.monitor_id,
        spec.kind,
        spec.config,
        spec.schedule,
        _policy_with(spec.policy, more_text),
        spec.payload,
        more.start_at,
        more.end_at,
        more.max_runs,
        more.name,
        more.labels,
    )


@lru_cache(maxsize=1_024)
def _policy_with(usual: Policy, more_text: str) -> Policy:
    more = _more_of(more_text)
    return msgspec.structs.replace(
        usual,
        retries=more.retries,
        overlap=more.overlap,
        remind_every_ms=more.remind_every_ms,
        maintenance=more.maintenance,
        weight=more.weight,
        regions=more.regions,
        quorum=more.quorum,
    )


def _spec_bytes(spec: MonitorSpec, origin: Origin) -> bytes:
    """Everything of an entry that does not change while the monitor runs."""
    policy = spec.policy
    return b"".join(
        (
            _header("monitor"),
            _text(spec.kind),
            _text(spec.config),
            _text(spec.payload) if spec.payload else b"\0",
            _schedule_bytes(spec.schedule),
            encode(policy.timeout_ms),
            encode(policy.failures_to_down),
            encode(policy.successes_to_up),
            encode(_MISFIRES.index(policy.misfire)),
            encode(policy.misfire_grace_ms),
            encode(_PRIORITIES.index(policy.priority)),
            encode(_ORIGINS.index(origin)),
            _more_bytes(spec),
        )
    )


_remembered_spec_bytes = lru_cache(maxsize=8_192)(_spec_bytes)


def _schedule_bytes(schedule: Schedule) -> bytes:
    match schedule:
        case Every(interval_ms, Align.PHASE):
            return _EVERY + encode(interval_ms)
        case Every(interval_ms, align, timezone):
            return _ALIGNED + encode(interval_ms) + encode(_ALIGNS.index(align)) + _text(timezone)
        case Cron(expression, timezone, spread_ms):
            return _CRON + _text(expression) + _text(timezone) + encode(spread_ms)
        case At(at):
            return _AT + encode(at)


def decode_monitor(user_id: str, monitor_id: str, value: bytes) -> Monitor | None:
    """The monitor of a table entry; None if the value is of another version of the schema."""
    if not value.startswith(_header("monitor")):
        return None
    kind, at = _read_text(value, avro_schemas.HEADER_LENGTH)
    config, at = _read_text(value, at)
    payload, at = _read_text(value, at)
    schedule, at = _read_schedule(value, at)
    policy = _POLICY.match(value, at)
    assert policy is not None  # the pattern matches whatever this module or fastavro wrote
    more, at = _read_text(value, policy.end())
    life = _LIFE.match(value, at)
    assert life is not None
    version, since, state, state_since = life.groups()
    reason, at = _read_text(value, life.end())
    agenda, at = _read_text(value, at)
    streak, at = read(value, at)
    judged_at, at = read(value, at)
    signals, at = _read_text(value, at)
    last_signal, at = read(value, at)
    entered = _STATES[_number(state)]
    reason, known_agenda, outcome = read_life(entered, reason, agenda)
    return Monitor(
        user_id,
        completed_spec(MonitorSpec(monitor_id, kind, config, schedule, _policy_of(policy[1]), payload), more),
        _ORIGINS[_number(policy[2])],
        _number(version),
        _number(since),
        entered,
        _number(state_since),
        reason,
        streak,
        judged_at,
        last_signal,
        known_agenda,
        read_signals(signals),
        outcome,
    )


_V = rb"[\x80-\xff]*+[\x00-\x7f]"
# policy, origin
_POLICY = re.compile(rb"((?:%b){6})(%b)" % ((_V,) * 2))
# version, since, state, state_since
_LIFE = re.compile(rb"(%b)(%b)(%b)(%b)" % ((_V,) * 4))


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
        spread_ms, at = read(value, at)
        return Cron(expression, timezone, spread_ms), at
    number, at = read(value, at)
    if branch == _ALIGNED[0]:
        align, at = read(value, at)
        timezone, at = _read_text(value, at)
        return Every(number, _ALIGNS[align], timezone), at
    return (Every(number) if branch == _EVERY[0] else At(number)), at


# --- what the timetable needs of a monitor ----------------------------------------------------------------------------


class TimetableFields(NamedTuple):
    """Fields of a monitor that the timetable needs, and the value of its tick.

    ``starts_at``: since when its owner wants it to be due, 0 for at once. ``ends_at``: the last instant at which it is
    due, 0 for none. ``retry``: when the tick of which instant is tried again, and the value of that tick.
    """

    kind: str
    schedule: Schedule
    policy: Policy
    since: int
    asleep: bool
    tick: bytes
    starts_at: int = 0
    ends_at: int = 0
    retry: tuple[int, int, bytes] | None = None


ASLEEP_BYTES = frozenset(SMALL[_STATE_NUMBERS[state]] for state in ASLEEP)
"""The states in which a monitor is not due, as they stand in a table entry."""
# schedule (plain every, or at) | policy | origin | nothing more | version | since | state | state_since
_PLAN = re.compile(rb"([\x00\x04]%b)((%b)%b%b(%b%b)%b)%b\x00(%b)(%b)(%b)%b" % ((_V,) * 12))
# the same for a plain every, and nothing taken out of it
_RECURRING = re.compile(rb"\x00%b%b%b%b%b%b%b%b\x00%b%b%b%b" % ((_V,) * 12))


def timetable_fields_of(monitor: Monitor) -> TimetableFields:
    """Return what the timetable needs of a monitor."""
    spec, agenda = monitor.spec, monitor.agenda
    asleep = monitor.state in ASLEEP
    # one that begins later by its owner's wish, and not because it was put or resumed only then
    starts_at = spec.start_at if spec.start_at > 0 and monitor.since == spec.start_at - 1 else 0
    retry = None
    if agenda.retry_at and not asleep:
        retry = agenda.retry_at, agenda.retry_of, tick_value(monitor, agenda.retry_attempt)
    return TimetableFields(
        spec.kind,
        spec.schedule,
        spec.policy,
        monitor.since,
        asleep,
        tick_value(monitor),
        starts_at,
        agenda.ends_at,
        retry,
    )


def tick_value(monitor: Monitor, attempt: int = 1, *, manual: bool = False) -> bytes:
    """The value of a tick of a monitor."""
    spec = monitor.spec
    return b"".join(
        (
            _header("tick"),
            _text(spec.monitor_id),
            _remembered_kind_and_config(spec.kind, spec.config)
            if len(spec.config) <= REMEMBERED
            else _kind_and_config(spec.kind, spec.config),
            encode(spec.policy.timeout_ms),
            encode(monitor.version),
            encode(attempt),
            b"\1" if spec.policy.overlap is Overlap.ALLOW else b"\0",
            b"\1" if manual else b"\0",
            _text(spec.payload) if spec.payload else b"\0",
            encode(_MISFIRES.index(spec.policy.misfire)),
            encode(spec.policy.misfire_grace_ms),
            encode(spec.policy.weight),
        )
    )


def _kind_and_config(kind: str, config: str) -> bytes:
    return _text(kind) + _text(config)


_remembered_kind_and_config = lru_cache(maxsize=8_192)(_kind_and_config)


def read_timetable_fields(monitor_id: bytes, value: bytes) -> TimetableFields | None:
    """Return what the timetable needs of the monitor in a table entry, read without decoding the rest.

    None where that cannot be (another version of the schema, a schedule or policy with the rarer parts, something on
    its agenda): decode the entry then.
    """
    found = read_shape(monitor_id, value)
    if found is None:
        return None
    shape, since, state, tick = found
    kind, schedule, policy = fields_of(shape)
    return TimetableFields(kind, schedule, policy, instant_of(since), state in ASLEEP_BYTES, tick)


MonitorShape = tuple[bytes, bytes, bytes]
"""Kind, schedule and policy as they stand in a table entry."""


def is_task(shape: MonitorShape) -> bool:
    """Tell whether the schedule of a shape is an instant (the second branch of its union), not an interval."""
    return shape[1][0] != 0


def read_shape(monitor_id: bytes, value: bytes) -> tuple[MonitorShape, bytes, bytes, bytes] | None:
    """Shape, ``since`` and state of the monitor in a table entry, still encoded, and the value of its tick.

    None where ``read_timetable_fields`` has None.
    """
    if not value.startswith(_header("monitor")):
        return None
    kind_end, config_end = _after_kind_and_config(value)
    schedule_at = _after_text(value, config_end)
    found = _PLAN.match(value, schedule_at)
    if found is None or value[_after_text(value, found.end())]:
        return None
    schedule, policy, timeout, misfire, version, since, state = found.groups()
    tick = b"%b%b%b%b%b%b\x02\x00\x00%b%b\x02" % (
        _header("tick"),
        encode(len(monitor_id)),
        monitor_id,
        value[avro_schemas.HEADER_LENGTH : config_end],
        timeout,
        version,
        value[config_end:schedule_at],
        misfire,
    )
    return (value[avro_schemas.HEADER_LENGTH : kind_end], schedule, policy), since, state, tick


def fields_of(shape: MonitorShape) -> tuple[str, Every | At, Policy]:
    """Decode kind, schedule and policy."""
    kind, schedule, policy = shape
    when = _schedule_of(schedule) if schedule[0] == 0 else At(_number(schedule[1:]))
    return _name_of(kind), when, _policy_of(policy)


def _after_kind_and_config(value: bytes) -> tuple[int, int]:
    """Return the end of an entry's kind and config."""
    kind_end = _after_text(value, avro_schemas.HEADER_LENGTH)
    return kind_end, _after_text(value, kind_end)


def _after_text(value: bytes, at: int) -> int:
    """Return the end of the text that begins at ``at``. Short texts, which most are, take the short way."""
    length = value[at]
    if length < 0x80:
        return at + 1 + (length >> 1)
    length, at = read(value, at)
    return at + length


@lru_cache(maxsize=1_024)
def _name_of(kind: bytes) -> str:
    return _read_text(kind, 0)[0]


# many monitors are put in one unit of work, and so since the same instant
instant_of = lru_cache(maxsize=8_192)(_number)


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
            _json(user.maintenance) if user.maintenance else b"\0",
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


class Dates(NamedTuple):
    """Instants at which something is to happen to a monitor; what an index by time is made of.

    ``due``: those that the timetable must know of. ``agenda``: those at which the monitor itself changes.
    """

    due: tuple[int, ...] = ()
    agenda: tuple[int, ...] = ()


NO_DATES = Dates()


def has_no_dates(value: bytes) -> bool:
    """Tell whether the monitor in a table entry surely has no dates: an interval, with nothing on its agenda.

    False where that takes a closer look. Raises IndexError for bytes that are no entry.
    """
    if not value.startswith(_header("monitor")):
        return False
    kind_end = _after_text(value, avro_schemas.HEADER_LENGTH)
    found = _RECURRING.match(value, _after_text(value, _after_text(value, kind_end)))
    return found is not None and not value[_after_text(value, found.end())]


def dates_of(monitor_id: bytes, value: bytes) -> Dates | None:
    """The dates of the monitor in a table entry; None if it is of another version of the schema."""
    if has_no_dates(value):
        return NO_DATES
    fields = read_timetable_fields(monitor_id, value)
    if fields is not None:
        return Dates((due_instant(fields.schedule, fields.since),)) if isinstance(fields.schedule, At) else NO_DATES
    monitor = decode_monitor("", monitor_id.decode(), value)
    return None if monitor is None else dates_of_monitor(monitor)


def dates_of_monitor(monitor: Monitor) -> Dates:
    """The dates of a monitor."""
    schedule, agenda = monitor.spec.schedule, monitor.agenda
    if agenda is NOTHING and not monitor.spec.start_at:
        return Dates((due_instant(schedule, monitor.since),)) if isinstance(schedule, At) else NO_DATES
    due = []
    if isinstance(schedule, At):
        due.append(due_instant(schedule, monitor.since))
    elif monitor.spec.start_at:
        due.append(monitor.since)
    due += [instant for instant in (agenda.ends_at, agenda.retry_at) if instant]
    changes = [instant for instant in (agenda.remind_at, agenda.resume_at, agenda.forget_at) if instant]
    changes += [run.decide_at for run in agenda.runs_in_regions]
    return Dates(tuple(due), tuple(changes))


# --- what signals and results need of a monitor -----------------------------------------------------------------------

_HEARTBEAT = _text("heartbeat")
_SETTLED = frozenset({(State.UP, Status.SUCCESS), (State.DOWN, Status.FAILURE), (State.LATE, Status.LATE)})
_STATUSES = tuple(Status)


def with_signal(value: bytes, at: int) -> bytes | None:
    """The entry of a heartbeat monitor after a plain heartbeat at ``at``; the very same if it knows a newer one.

    None where that takes a closer look: another kind, another version of the schema, or one of whose signals more is
    known than the newest.
    """
    if not value.startswith(_header("monitor")) or not value.startswith(_HEARTBEAT, avro_schemas.HEADER_LENGTH):
        return None
    begin = start_before(value, len(value))
    # what stands before is the last byte of the text of signals: a brace, or the length of an empty one
    if value[begin - 1]:
        return None
    try:
        return value[:begin] + encode(at) if at > read(value, begin)[0] else value
    except IndexError:  # mangled: decoding it raises the error
        return None


def stays_as_it_is(value: bytes, status: Status) -> bool:
    """Tell whether a result with this status surely changes nothing about the monitor in a table entry.

    True only where ``lifecycle.after_result`` gives back the same monitor, whatever else the result says: a monitor
    that is up and stays up. False where that takes a closer look.
    """
    try:
        return _stays_as_it_is(value, status)
    except (IndexError, ValueError, OverflowError):  # mangled: decoding it raises the error
        return False


def _stays_as_it_is(value: bytes, status: Status) -> bool:
    if not value.startswith(_header("monitor")):
        return False
    found = _PLAN.match(value, _after_text(value, _after_kind_and_config(value)[1]))
    if found is None or found[1][0] != _EVERY[0]:
        return False
    at = _after_text(value, found.end())
    # nothing on its agenda, and after that no streak
    if value[at]:
        return False
    return status is Status.SKIPPED or (not value[at + 1] and (_STATES[_number(found[7])], status) in _SETTLED)


def read_verdict(value: bytes) -> tuple[bytes, bytes, Status] | None:
    """``user_id``, ``monitor_id`` and status of an Avro result; None if a closer look is needed.

    So it is for another schema, mangled bytes, and ids that no user or monitor may have.
    """
    if not value.startswith(result_decoder.HEADERS):
        return None
    try:
        length, at = read(value, avro_schemas.HEADER_LENGTH)
        # a mangled length may be any number, and a slice takes only some
        if not 0 < length <= LONGEST_KEY_BYTES:
            return None
        user_id = value[at : at + length]
        length, at = read(value, at + length)
        if not 0 < length <= LONGEST_KEY_BYTES:
            return None
        monitor_id = value[at : at + length]
        # together they must not be the key of an entry that is no monitor's
        if 0 in user_id or user_id in _RESERVED or monitor_id[0] < 0x20:
            return None
        found = _VERDICT.match(value, at + length)
        if found is None:
            return None
        length, at = read(value, found.end())
        if not 0 <= length <= len(value):
            return None
        found = _VERDICT.match(value, at + length)
        status = _number(found[2]) if found else -1
        return (user_id, monitor_id, _STATUSES[status]) if status >= 0 else None
    except IndexError:
        return None


_RESERVED = frozenset(name.encode() for name in RESERVED_USERS)


# scheduled_at and attempt, or version and status
_VERDICT = re.compile(rb"(%b)(%b)" % (_V, _V))
