"""Bytes <-> model. Inputs are JSON, Avro single-object encoding or Confluent wire format; outputs, too.

All in one file: it is the list of what there is on topics, a short function each way.
"""

from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from typing import Any, TypeVar

import msgspec
import orjson

from everwatch.core.bounds import LATEST_MS, LONGEST_KEY_BYTES
from everwatch.core.errors import InvalidInput, UndecodableEntry
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import (
    avro_schemas,
    input_conversion,
    input_models,
    registered_schemas,
    result_decoder,
    table_records,
)
from everwatch.encoding.ended_monitors import with_outcome
from everwatch.model import (
    NOTHING,
    Align,
    At,
    AuditEntry,
    Command,
    Cron,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Reply,
    Result,
    Schedule,
    Signal,
    Signup,
    State,
    Tick,
    Transition,
    User,
)
from everwatch.schedule.due import next_due
from everwatch.schedule.every import PHASE_STEP_MS

SEPARATOR = b"\x00"
# no id begins with a control character: what else the table remembers of a user stands behind one
_BOOKKEEPING = b"\x01"
# what is made of an input (table entries) must fit into a record too
LARGEST_INPUT_BYTES = 512 * 1024
LARGEST_RESULT_BYTES = 256 * 1024
_CONFLUENT = registered_schemas.MAGIC[0]

Input = TypeVar("Input", bound=msgspec.Struct)
Output = TypeVar("Output", Result, Transition, Reply, AuditEntry)


# --- keys -----------------------------------------------------------------------------------------------------------


def user_key(user_id: str) -> bytes:
    """The key of every record about a user, on every public topic."""
    return user_id.encode()


def table_key(user_id: str, monitor_id: str = "") -> bytes:
    """The key in the table ``monitors``: of one monitor, or (without ``monitor_id``) of the user itself."""
    return user_id.encode() + SEPARATOR + monitor_id.encode()


def commands_key(user_id: str) -> bytes:
    """The table key of a user's remembered ids: of recent commands, and of some signups."""
    return user_id.encode() + SEPARATOR + _BOOKKEEPING + b"commands"


def is_bookkeeping(monitor_id: bytes) -> bool:
    """Tell whether the part of a table key behind the user is no monitor's id."""
    return monitor_id.startswith(_BOOKKEEPING)


def split_key(key: bytes) -> tuple[str, str]:
    """``user_id`` and ``monitor_id`` ("" for the user itself) of a table key."""
    user_id, _, monitor_id = key.partition(SEPARATOR)
    return user_id.decode(), monitor_id.decode()


# --- what users send ------------------------------------------------------------------------------------------------


def decode_signup(data: bytes | None) -> Signup:
    """The signup in ``data``. Raises InvalidInput. The kinds have not judged the configs yet: see ``admission``."""
    return input_conversion.signup_of(_decode_input(data, "signup", input_models.SignupInput, _inline_json))


def decode_command(data: bytes | None) -> Command:
    """The command in ``data``. Raises InvalidInput."""
    return input_conversion.command_of(_decode_input(data, "command", input_models.CommandInput, _inline_json))


def decode_signal(data: bytes | None) -> Signal:
    """The signal in ``data``. Raises InvalidInput."""
    if data and data[:1] == b"{" and len(data) <= LARGEST_INPUT_BYTES:
        return input_conversion.signal_of(input_models.parse_signal(data))
    return input_conversion.signal_of(_decode_input(data, "signal", input_models.SignalInput, _as_it_is))


def _decode_input(
    data: bytes | None, name: str, type_: type[Input], prepare: Callable[[dict[str, Any]], None]
) -> Input:
    if not data:
        raise InvalidInput(f"the record is empty: expected a {name} as JSON or Avro")
    if len(data) > LARGEST_INPUT_BYTES:
        raise InvalidInput(f"the record has {len(data)} bytes; a {name} may have at most {LARGEST_INPUT_BYTES}")
    if data.startswith(avro_schemas.MAGIC):
        record = avro_schemas.decode(name, data)
        prepare(record)
        return input_models.parse_object(record, type_)
    if data[:1] == registered_schemas.MAGIC:
        return _decode_input(registered_schemas.plain(data), name, type_, prepare)
    if data.lstrip()[:1] != b"{":
        raise InvalidInput(
            f"neither JSON (starts with '{{') nor Avro single-object encoding (starts with C3 01): it starts with"
            f" {data[:4].hex(' ')}"
        )
    return input_models.parse_json(data, type_)


def _as_it_is(_: dict[str, Any]) -> None:
    pass


def _inline_json(record: dict[str, Any]) -> None:
    """In Avro a config and a payload are JSON text; make them the objects that they are in JSON."""
    single = record.get("monitor")
    prefixed = [(single, "$.monitor")] if single else []
    for monitor, path in prefixed + [(m, f"$.monitors[{i}]") for i, m in enumerate(record.get("monitors", ()))]:
        for name in ("config", "payload"):
            try:
                monitor[name] = None if monitor[name] is None else orjson.loads(monitor[name])
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"not valid JSON: {error}", f"{path}.{name}") from None


# --- ticks ----------------------------------------------------------------------------------------------------------


def encode_tick(tick: Tick) -> bytes:
    """The value of a tick's record: what does not change from one firing to the next."""
    return avro_schemas.encode(
        "tick",
        {
            "monitor_id": tick.monitor_id,
            "kind": tick.kind,
            "config": tick.config,
            "timeout_ms": tick.timeout_ms,
            "version": tick.version,
            "attempt": tick.attempt,
            "may_overlap": tick.may_overlap,
            "manual": tick.manual,
            "payload": tick.payload,
            "misfire": tick.misfire.value,
            "misfire_grace_ms": tick.misfire_grace_ms,
            "weight": tick.weight,
        },
    )


def decode_tick(key: bytes | None, value: bytes | None, timestamp_ms: int, partition: int) -> Tick:
    """The tick in a record. Raises InvalidInput."""
    if not key or not value or not value.startswith(avro_schemas.MAGIC):
        raise InvalidInput("not a tick: expected a key and an Avro single-object encoded value")
    record = avro_schemas.decode("tick", value)
    record |= {"user_id": _text(key), "scheduled_at": timestamp_ms, "partition": partition}
    try:
        return msgspec.convert(record, type=Tick)
    except msgspec.ValidationError as error:
        raise input_models.refusal(error) from None


# --- what consumers read --------------------------------------------------------------------------------------------


def encode_result(result: Result, output_format: OutputFormat) -> bytes:
    """A result for the topic ``results``."""
    return _encode_output("result", result, output_format)


def decode_result(data: bytes | None) -> Result:
    """A result, in whichever encoding it was written. Raises InvalidInput."""
    if data and len(data) > LARGEST_RESULT_BYTES:
        raise InvalidInput(f"the record has {len(data)} bytes; a result may have at most {LARGEST_RESULT_BYTES}")
    if data and data[0] == _CONFLUENT:
        data = registered_schemas.plain(data)
    result = _newest_result(data) or _decode_output("result", data, Result)
    if result.timings and not all(map(isfinite, result.timings.values())):
        raise InvalidInput("not finite numbers", "$.timings")
    return result


def _newest_result(data: bytes | None) -> Result | None:
    """A result of one of the two newest schemas; None if the record is of another one, or wrong in any way."""
    if not data or not data.startswith(result_decoder.HEADERS):
        return None
    try:
        return msgspec.convert(result_decoder.decode(data), type=Result)
    except (result_decoder.Unsure, msgspec.ValidationError):
        return None


def check_not_ahead(instant: int, latest: int, path: str) -> None:
    """Raise InvalidInput if ``instant`` lies after ``latest`` (both in ms)."""
    if instant > latest:
        raise InvalidInput(f"it is from the future: {(instant - latest) / 1000:g} s later than is taken", path)


def encode_transition(transition: Transition, output_format: OutputFormat) -> bytes:
    """A transition for the topic ``transitions``."""
    return _encode_output("transition", transition, output_format)


def decode_transition(data: bytes | None) -> Transition:
    """A transition, in whichever encoding it was written. Raises InvalidInput."""
    return with_outcome(_decode_output("transition", data, Transition))


def encode_reply(reply: Reply, output_format: OutputFormat) -> bytes:
    """A reply for the topic ``replies``."""
    return _encode_output("reply", reply, output_format)


def decode_reply(data: bytes | None) -> Reply:
    """A reply, in whichever encoding it was written. Raises InvalidInput."""
    return _decode_output("reply", data, Reply)


def encode_audit_entry(entry: AuditEntry, output_format: OutputFormat) -> bytes:
    """An entry for the topic ``audit``."""
    return _encode_output("audit", entry, output_format)


def decode_audit_entry(data: bytes | None) -> AuditEntry:
    """An entry of the topic ``audit``, in whichever encoding it was written. Raises InvalidInput."""
    return _decode_output("audit", data, AuditEntry)


def _encode_output(name: str, record: Result | Transition | Reply | AuditEntry, output_format: OutputFormat) -> bytes:
    if output_format is OutputFormat.JSON:
        return msgspec.json.encode(record)
    fields = msgspec.structs.asdict(record)
    if output_format is OutputFormat.CONFLUENT:  # the id in its header is that of the current schema
        return registered_schemas.wrapped(name, avro_schemas.encode(name, fields))
    if name in avro_schemas.BEFORE:
        return avro_schemas.encode_for_older(name, fields)
    return avro_schemas.encode(name, fields)


def _decode_output(name: str, data: bytes | None, type_: type[Output]) -> Output:
    if not data:
        raise InvalidInput(f"the record is empty: expected a {name}")
    if data[0] == _CONFLUENT:
        data = registered_schemas.plain(data)
    try:
        if data.startswith(avro_schemas.MAGIC):
            return msgspec.convert(avro_schemas.decode(name, data), type=type_)
        # as text: of fields that are not known msgspec does not look at the bytes, and other readers of JSON do
        return msgspec.json.decode(data.decode(), type=type_)
    except msgspec.ValidationError as error:
        raise input_models.refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"neither an Avro nor a JSON {name}: {error}") from None


# --- the table ------------------------------------------------------------------------------------------------------


def encode_entry(entry: User | Monitor) -> bytes:
    """The value of a table entry; its key is ``table_key`` of the same entry."""
    return table_records.encode_user(entry) if isinstance(entry, User) else table_records.encode_monitor(entry)


def decode_entry(key: bytes, value: bytes) -> User | Monitor:
    """The user or monitor of a table entry. Raises UndecodableEntry, whatever is wrong with key or value."""
    try:
        entry = _decode_entry(key, value)
        if isinstance(entry, Monitor):
            _check_plausible(entry)
        return entry
    except Exception as error:  # bytes that were not written by this version may fail in any way
        raise UndecodableEntry(key, error) from error


def _decode_entry(key: bytes, value: bytes) -> User | Monitor:
    user_id, monitor_id = split_key(key)
    if not monitor_id:
        record = avro_schemas.decode("user", value)
        windows = table_records.read_maintenance(record["maintenance"])
        return User(user_id=user_id, **record | {"monitor_ids": tuple(record["monitor_ids"]), "maintenance": windows})
    monitor = table_records.decode_monitor(user_id, monitor_id, value)
    if monitor is not None:
        return monitor
    record = avro_schemas.decode("monitor", value)
    policy = record.pop("policy")
    plain = MonitorSpec(
        monitor_id,
        record.pop("kind"),
        record.pop("config"),
        _schedule_of(record.pop("schedule")),
        msgspec.convert(policy, type=Policy) if policy else Policy(),
        record.pop("payload"),
    )
    spec = table_records.completed_spec(plain, record.pop("more"))
    state = State(record["state"])
    reason, agenda, outcome = table_records.read_life(state, record["reason"], record["agenda"])
    known = {"origin": Origin(record["origin"]), "state": state, "reason": reason, "agenda": agenda, "outcome": outcome}
    return Monitor(
        user_id=user_id, spec=spec, **record | known | {"signals": table_records.read_signals(record["signals"])}
    )


def _check_plausible(monitor: Monitor) -> None:
    """Raise ValueError for a monitor that no timetable can hold: mangled bytes may be decoded, too."""
    spec, agenda = monitor.spec, monitor.agenda
    schedule = spec.schedule
    plain = isinstance(schedule, Every) and schedule.align is Align.PHASE
    due = schedule.interval_ms if isinstance(schedule, Every) else schedule.at if isinstance(schedule, At) else 1
    if isinstance(schedule, Every) and due < PHASE_STEP_MS:
        raise ValueError(f"an interval of {due} ms")
    instants: tuple[int, ...] = (due, monitor.since, spec.policy.misfire_grace_ms, spec.policy.timeout_ms)
    if agenda is not NOTHING:
        instants += (agenda.ends_at, agenda.retry_at, agenda.retry_of, agenda.remind_at, agenda.resume_at)
        instants += (agenda.forget_at, agenda.maintained_from, agenda.maintained_until)
    if min(instants) < -1 or max(instants) > LATEST_MS:
        raise ValueError("an instant or a duration that is none")
    if not plain and not isinstance(schedule, At):
        _check_usable(schedule)


@lru_cache(maxsize=1_024)
def _check_usable(schedule: Schedule) -> None:
    """Raise ValueError for a schedule by a wall clock that cannot be followed."""
    next_due(schedule, b"", 0, 0)


def _schedule_of(branch: dict[str, Any]) -> Schedule:
    """The schedule of a branch of the Avro union; no two branches have a field in common."""
    if "interval_ms" in branch:
        return Every(**branch | {"align": Align(branch.get("align", Align.PHASE))})
    return Cron(**branch) if "expression" in branch else At(**branch)


def _text(key: bytes) -> str:
    if len(key) > LONGEST_KEY_BYTES:
        raise InvalidInput(f"the key has {len(key)} bytes; a user_id may have at most {LONGEST_KEY_BYTES}")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise InvalidInput("the key is not UTF-8 text") from None
