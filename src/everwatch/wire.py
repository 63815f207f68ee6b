"""What users may send, as strict types: unknown fields are refused, and every refusal names its field.

JSON and Avro input meet here: both become the same plain objects, and one set of rules judges them.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import msgspec
import orjson

from everwatch.errors import InvalidInput
from everwatch.model import (
    At,
    Command,
    CommandType,
    Cron,
    Every,
    Json,
    Misfire,
    MonitorSpec,
    Policy,
    Priority,
    Schedule,
    Signal,
    Signup,
)
from everwatch.schedule.cron import check_expression, zone_named
from everwatch.schedule.duration import describe_duration, parse_duration_ms
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.schedule.instant import LATEST_MS, parse_instant_ms

# no control characters: ids go into keys (NUL separates), logs and terminals
NO_CONTROL = r"^[^\x00-\x1f\x7f]*\Z"  # "$" would let a newline at the end pass
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=NO_CONTROL)]
MonitorId = Annotated[str, msgspec.Meta(max_length=128, pattern=NO_CONTROL)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=NO_CONTROL)]
Threshold = Annotated[int, msgspec.Meta(ge=1, le=100)]
Duration = str | int | float
CronText = Annotated[str, msgspec.Meta(max_length=256)]
ZoneName = Annotated[str, msgspec.Meta(max_length=64)]
Instant = Annotated[str, msgspec.Meta(max_length=64)] | int
# what an Avro long holds: a greater number would come back as another one
Attribute = str | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | float | bool | None

MOST_MONITORS_PER_SIGNUP = 1_000
SECOND_MS = 1_000
DAY_MS = 86_400_000
LONGEST_INTERVAL_MS = 400 * DAY_MS


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ScheduleInput(_Strict, frozen=True):
    every: Duration | None = None
    cron: CronText | None = None
    timezone: ZoneName | None = None
    at: Instant | None = None


class PolicyInput(_Strict, frozen=True):
    timeout: Duration = "10s"
    failures_to_down: Threshold = 1
    successes_to_up: Threshold = 1
    misfire: Misfire = Misfire.FIRE_LAST
    misfire_grace: Duration = "1m"
    priority: Priority = Priority.NORMAL


class MonitorInput(_Strict, frozen=True):
    monitor_id: MonitorId = ""
    kind: Name = "http"
    config: dict[str, Any] = {}
    schedule: ScheduleInput = ScheduleInput()
    policy: PolicyInput = PolicyInput()


class SignupInput(_Strict, frozen=True):
    user_id: UserId
    plan: Name = "default"
    attributes: dict[str, Attribute] = {}
    monitors: Annotated[list[MonitorInput], msgspec.Meta(max_length=MOST_MONITORS_PER_SIGNUP)] = []


class CommandInput(_Strict, frozen=True):
    command: CommandType
    user_id: UserId
    monitor_id: MonitorId = ""
    monitor: MonitorInput | None = None


class SignalInput(_Strict, frozen=True):
    user_id: UserId
    monitor_id: Name
    at: Annotated[int, msgspec.Meta(ge=0, le=LATEST_MS)] = 0


T = TypeVar("T", bound=msgspec.Struct)
Given = TypeVar("Given")
Meant = TypeVar("Meant")
# the default of a schedule that names none; the kind has the last word, at admission
NO_SCHEDULE = Every(interval_ms=0)


_signal_decoder = msgspec.json.Decoder(SignalInput)


def parse_signal(data: bytes) -> SignalInput:
    """JSON bytes as a signal. Raises InvalidInput with the field's path."""
    try:
        return _signal_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return parse_json(data, SignalInput)


def parse_json(data: bytes, kind_of_input: type[T]) -> T:
    """JSON bytes as ``kind_of_input``. Raises InvalidInput with the field's path."""
    try:
        return msgspec.json.decode(data, type=kind_of_input)
    except msgspec.ValidationError as error:
        raise refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidInput("arrays and objects are nested too deeply") from None


def parse_object(value: Json, kind_of_input: type[T]) -> T:
    """A plain object (from Avro) as ``kind_of_input``. Raises InvalidInput with the field's path."""
    try:
        return msgspec.convert(value, type=kind_of_input)
    except msgspec.ValidationError as error:
        raise refusal(error) from None


def refusal(error: msgspec.ValidationError, prefix: str = "$") -> InvalidInput:
    """msgspec's message taken apart into a reason and a path that starts with ``prefix``, in words for a stranger."""
    found = re.match(r"^(?P<reason>.*?)(?: - at `(?:key` in `|key in )?\$?(?P<path>[^`]*)`)?$", str(error), re.DOTALL)
    assert found is not None  # the pattern matches any text
    reason, path = found["reason"], f"{prefix}{found['path'] or ''}"
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", reason, re.DOTALL):
        return InvalidInput(f"there is no field {unknown[1]!r}", f"{path}.{unknown[1]}")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", reason):
        return InvalidInput("this field is missing", f"{path}.{missing[1]}")
    if "matching regex" in reason:
        return InvalidInput("control characters are not allowed", path)
    if wrong := re.fullmatch(r"Invalid enum value (.*)", reason, re.DOTALL):
        choices = _CHOICES.get(path.rpartition(".")[2])
        return InvalidInput(f"{wrong[1]} is not one of {', '.join(choices)}" if choices else reason, path)
    if bound := re.fullmatch(r"Expected `(\w+)`(?: of length)? ([<>]=) (-?\d+)", reason):
        return InvalidInput(_bound_told(bound[1], bound[2] == ">=", int(bound[3])), path)
    for theirs, ours in _TYPE_NAMES.items():
        reason = re.sub(rf"(?<=[` ]){theirs}(?=[` ])", ours, reason)
    return InvalidInput(reason[:1].lower() + reason[1:].replace("`", "").replace(" | ", " or "), path)


_CHOICES = {"command": CommandType, "misfire": Misfire, "priority": Priority}
_TYPE_NAMES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}


def _bound_told(type_name: str, least: bool, bound: int) -> str:
    if least and bound == 1 and type_name == "str":
        return "this must not be empty"
    unit = {"str": " characters long", "array": " entries long"}.get(type_name, "")
    return f"this must be at {'least' if least else 'most'} {bound}{unit}"


def signup_of(given: SignupInput) -> Signup:
    """The signup that ``given`` means. Raises InvalidInput."""
    monitors = tuple(monitor_of(m, f"$.monitors[{i}]") for i, m in enumerate(given.monitors))
    seen: set[str] = set()
    for i, monitor in enumerate(monitors):
        if monitor.monitor_id in seen:
            raise InvalidInput(f"a second monitor has the id {monitor.monitor_id!r}", f"$.monitors[{i}].monitor_id")
        seen.add(monitor.monitor_id)
    return Signup(given.user_id, given.plan, given.attributes, monitors)


def command_of(given: CommandInput) -> Command:
    """The command that ``given`` means. Raises InvalidInput."""
    if given.command is CommandType.PUT:
        if given.monitor is None:
            raise InvalidInput("a put needs the monitor to put", "$.monitor")
        monitor = monitor_of(given.monitor, "$.monitor", given.monitor_id)
        if given.monitor_id and monitor.monitor_id != given.monitor_id:
            raise InvalidInput(
                f"this is {given.monitor_id!r}, but the monitor says {monitor.monitor_id!r}", "$.monitor_id"
            )
        return Command(given.command, given.user_id, monitor.monitor_id, monitor)
    if given.monitor is not None:
        raise InvalidInput(f"a {given.command} takes no monitor", "$.monitor")
    if given.command is CommandType.DEREGISTER and given.monitor_id:
        raise InvalidInput("a deregister ends the whole user and takes no monitor_id", "$.monitor_id")
    if given.command is not CommandType.DEREGISTER and not given.monitor_id:
        raise InvalidInput(f"a {given.command} needs the monitor_id", "$.monitor_id")
    return Command(given.command, given.user_id, given.monitor_id)


def signal_of(given: SignalInput) -> Signal:
    """The signal that ``given`` means."""
    return Signal(given.user_id, given.monitor_id, given.at)


def monitor_of(given: MonitorInput, path: str, monitor_id: str = "") -> MonitorSpec:
    """The monitor that ``given`` means; its config is not yet judged by the kind. Raises InvalidInput."""
    policy = given.policy
    return MonitorSpec(
        monitor_id=given.monitor_id or monitor_id or given.kind,
        kind=given.kind,
        config=_text_of(given.config, f"{path}.config"),
        schedule=_schedule_of(given.schedule, path),
        policy=Policy(
            timeout_ms=_duration(policy.timeout, f"{path}.policy.timeout", 1, 10 * 60 * SECOND_MS),
            failures_to_down=policy.failures_to_down,
            successes_to_up=policy.successes_to_up,
            misfire=policy.misfire,
            misfire_grace_ms=_duration(policy.misfire_grace, f"{path}.policy.misfire_grace", 5 * SECOND_MS, DAY_MS),
            priority=policy.priority,
        ),
    )


def _text_of(config: dict[str, Any], path: str) -> str:
    try:
        return orjson.dumps(config, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError as error:
        # deeper nesting and greater integers than any kind has use for
        raise InvalidInput(f"this cannot be kept as JSON: {str(error).lower()}", path) from None


def _schedule_of(given: ScheduleInput, path: str) -> Schedule:
    path = f"{path}.schedule"
    named = [name for name in ("every", "cron", "at") if getattr(given, name) is not None]
    if len(named) > 1:
        raise InvalidInput(f"a schedule is one of every, cron and at, not {' and '.join(named)}", path)
    if given.timezone is not None and given.cron is None:
        raise InvalidInput("only a cron schedule has a timezone", f"{path}.timezone")
    if given.cron is not None:
        return _cron_of(given.cron, "UTC" if given.timezone is None else given.timezone, path)
    if given.at is not None:
        return At(_taken(parse_instant_ms, given.at, f"{path}.at"))
    return NO_SCHEDULE if given.every is None else _every_of(given.every, f"{path}.every")


def _every_of(every: Duration, path: str) -> Every:
    interval_ms = _duration(every, path, SECOND_MS, LONGEST_INTERVAL_MS)
    if interval_ms % PHASE_STEP_MS:
        raise InvalidInput(f"an interval is a whole multiple of {PHASE_STEP_MS} ms", path)
    return Every(interval_ms)


def _cron_of(cron: str, timezone: str, path: str) -> Cron:
    expression = " ".join(cron.split())
    _taken(check_expression, expression, f"{path}.cron")
    _taken(zone_named, timezone, f"{path}.timezone")
    return Cron(expression, timezone)


# the same few durations come with every signup
_parsed = lru_cache(maxsize=1_000)(parse_duration_ms)


def _duration(value: Duration, path: str, least_ms: int, most_ms: int) -> int:
    # a long text is not worth remembering, and nobody writes one
    known = not isinstance(value, str) or len(value) <= 64
    duration_ms = _taken(_parsed if known else parse_duration_ms, value, path)
    if not least_ms <= duration_ms <= most_ms:
        bounds = f"{describe_duration(least_ms)} and {describe_duration(most_ms)}"
        raise InvalidInput(f"{value!r} is not between {bounds}", path)
    return duration_ms


def _taken(parse: Callable[[Given], Meant], value: Given, path: str) -> Meant:
    """``value`` as ``parse`` takes it; its ValueError becomes a refusal that names the field."""
    try:
        return parse(value)
    except ValueError as error:
        raise InvalidInput(str(error), path) from None
