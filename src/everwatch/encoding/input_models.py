"""What users may send, as strict types: unknown fields are refused, and every refusal names its field.

JSON and Avro input meet here: both become the same plain objects, and one set of rules judges them.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any, TypeVar

import msgspec
import orjson

from everwatch.core.bounds import LATEST_MS, RESERVED_USERS
from everwatch.core.errors import InvalidInput
from everwatch.core.printable import HIDDEN
from everwatch.model import (
    Align,
    At,
    Backoff,
    Command,
    CommandType,
    Cron,
    Every,
    Json,
    Maintenance,
    Misfire,
    MonitorSpec,
    Overlap,
    Policy,
    Priority,
    ReplyOn,
    Retries,
    Schedule,
    Signal,
    SignalType,
    Signup,
)
from everwatch.schedule.cron import read_expression, zone_named
from everwatch.schedule.duration import describe_duration, parse_duration_ms
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.schedule.instant import parse_instant_ms
from everwatch.schedule.midnight import check_alignment

# ids go into keys (NUL separates), logs and terminals, and two that look the same must be the same
NO_HIDDEN = rf"^[^{HIDDEN}]*\Z"  # "$" would let a newline at the end pass
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=NO_HIDDEN)]
MonitorId = Annotated[str, msgspec.Meta(max_length=128, pattern=NO_HIDDEN)]
# several are kept with a monitor
RunId = Annotated[str, msgspec.Meta(max_length=64, pattern=NO_HIDDEN)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=NO_HIDDEN)]
DEFAULT_KIND = "http"
"""The kind of a monitor that names none."""
# as Kubernetes and Prometheus have them; no "=", which stands behind the key on command lines
LABEL_KEY = r"^[A-Za-z0-9_./-]*\Z"
MOST_LABELS = 16
LabelKey = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=LABEL_KEY)]
LabelValue = Annotated[str, msgspec.Meta(max_length=128, pattern=NO_HIDDEN)]
Labels = Annotated[dict[LabelKey, LabelValue], msgspec.Meta(max_length=MOST_LABELS)]
Threshold = Annotated[int, msgspec.Meta(ge=1, le=100)]
Duration = str | int | float
CronText = Annotated[str, msgspec.Meta(max_length=256)]
ZoneName = Annotated[str, msgspec.Meta(max_length=64)]
Instant = Annotated[str, msgspec.Meta(max_length=64)] | int
# what an Avro long holds: a greater number would come back as another one
Attribute = str | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | float | bool | None

MOST_MONITORS_PER_SIGNUP = 1_000
MOST_WINDOWS = 20
MOST_RETRIES = 20
MOST_RUNS = 1_000_000_000
# where each run has to be looked for one after the other
MOST_RUNS_BY_WALL_CLOCK = 1_000
MOST_RUNS_BY_WALL_CLOCK_PER_SIGNUP = 10_000
LARGEST_PAYLOAD_BYTES = 64 * 1024
SECOND_MS = 1_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
LONGEST_INTERVAL_MS = 400 * DAY_MS
LONGEST_SPREAD_MS = DAY_MS


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ScheduleInput(_Strict, frozen=True, rename={"in_": "in"}):
    every: Duration | None = None
    cron: CronText | None = None
    timezone: ZoneName | None = None
    at: Instant | None = None
    in_: Duration | None = None
    align: Align | None = None
    spread: Duration | None = None
    start_at: Instant | None = None
    end_at: Instant | None = None
    max_runs: Annotated[int, msgspec.Meta(ge=1, le=MOST_RUNS)] | None = None


class RetriesInput(_Strict, frozen=True):
    max: Annotated[int, msgspec.Meta(ge=0, le=MOST_RETRIES)] = 0
    backoff: Backoff = Backoff.EXPONENTIAL
    base: Duration = "5s"
    cap: Duration = "5m"
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1


class MaintenanceInput(_Strict, frozen=True):
    start: Instant | None = None
    end: Instant | None = None
    cron: CronText | None = None
    timezone: ZoneName | None = None
    duration: Duration | None = None


Windows = Annotated[list[MaintenanceInput], msgspec.Meta(max_length=MOST_WINDOWS)]


class PolicyInput(_Strict, frozen=True):
    timeout: Duration = "10s"
    failures_to_down: Threshold = 1
    successes_to_up: Threshold = 1
    misfire: Misfire = Misfire.FIRE_LAST
    misfire_grace: Duration = "1m"
    priority: Priority = Priority.NORMAL
    retries: RetriesInput | None = None
    overlap: Overlap = Overlap.SKIP
    remind_every: Duration | None = None
    maintenance: Windows = []


class MonitorInput(_Strict, frozen=True):
    monitor_id: MonitorId = ""
    kind: Name = DEFAULT_KIND
    config: dict[str, Any] = {}
    schedule: ScheduleInput = ScheduleInput()
    policy: PolicyInput = PolicyInput()
    payload: Any = None
    name: MonitorId = ""
    labels: Labels = {}


class SignupInput(_Strict, frozen=True):
    user_id: UserId
    plan: Name = "default"
    attributes: dict[str, Attribute] = {}
    monitors: Annotated[list[MonitorInput], msgspec.Meta(max_length=MOST_MONITORS_PER_SIGNUP)] = []
    maintenance: Windows = []
    signup_id: MonitorId = ""
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME


class CommandInput(_Strict, frozen=True):
    command: CommandType
    user_id: UserId
    monitor_id: MonitorId = ""
    monitor: MonitorInput | None = None
    command_id: MonitorId = ""
    if_version: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    until: Instant | None = None
    maintenance: Windows = []
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME
    plan: Name | None = None
    attributes: dict[str, Attribute] = {}
    remove_attributes: list[str] = []


class SignalInput(_Strict, frozen=True):
    user_id: UserId
    monitor_id: Name
    at: Annotated[int, msgspec.Meta(ge=0, le=LATEST_MS)] = 0
    type: SignalType = SignalType.SUCCESS
    exit_code: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    duration_ms: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_INTERVAL_MS)] | None = None
    value: float | None = None
    signal_id: MonitorId = ""
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME
    run: RunId = ""


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
    if "matching regex" in reason and LABEL_KEY in reason:
        return InvalidInput("a label's key has letters, digits, '_', '.', '/' and '-' only", path)
    if "matching regex" in reason:
        reserved = f", and neither are the names {' and '.join(RESERVED_USERS)}" if RESERVED_USERS[0] in reason else ""
        return InvalidInput(f"control, direction and invisible characters are not allowed{reserved}", path)
    if wrong := re.fullmatch(r"Invalid enum value (.*)", reason, re.DOTALL):
        choices = _CHOICES.get(path.rpartition(".")[2])
        return InvalidInput(f"{wrong[1]} is not one of {', '.join(choices)}" if choices else reason, path)
    if bound := re.fullmatch(r"Expected `(\w+)`(?: of length)? ([<>]=) (-?\d+)(?:\.0)?", reason):
        return InvalidInput(_bound_told(bound[1], bound[2] == ">=", int(bound[3])), path)
    for theirs, ours in _TYPE_NAMES.items():
        reason = re.sub(rf"(?<=[` ]){theirs}(?=[` ])", ours, reason)
    return InvalidInput(reason[:1].lower() + reason[1:].replace("`", "").replace(" | ", " or "), path)


_CHOICES = {
    "command": CommandType,
    "misfire": Misfire,
    "priority": Priority,
    "align": Align,
    "backoff": Backoff,
    "overlap": Overlap,
    "type": SignalType,
    "reply": ReplyOn,
}
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


def _check_user(user_id: str) -> None:
    if user_id in RESERVED_USERS:
        raise InvalidInput("this user_id is reserved", "$.user_id")


def signup_of(given: SignupInput) -> Signup:
    """The signup that ``given`` means. Raises InvalidInput."""
    _check_user(given.user_id)
    monitors = tuple(monitor_of(m, f"$.monitors[{i}]") for i, m in enumerate(given.monitors))
    seen: set[str] = set()
    for i, monitor in enumerate(monitors):
        if monitor.monitor_id in seen:
            raise InvalidInput(f"a second monitor has the id {monitor.monitor_id!r}", f"$.monitors[{i}].monitor_id")
        seen.add(monitor.monitor_id)
    check_runs(monitors)
    windows = windows_of(given.maintenance, "$.maintenance")
    return Signup(given.user_id, given.plan, given.attributes, monitors, windows, given.signup_id, given.reply)


def check_runs(monitors: Iterable[MonitorSpec]) -> None:
    """Raises InvalidInput if so many ``max_runs`` by the wall clock take too long to look for in one signup."""
    runs = sum([spec.max_runs for spec in monitors if spec.max_runs and _is_by_wall_clock(spec.schedule)])
    if runs > MOST_RUNS_BY_WALL_CLOCK_PER_SIGNUP:
        raise InvalidInput(
            f"by the wall clock the max_runs of a signup must be at most {MOST_RUNS_BY_WALL_CLOCK_PER_SIGNUP} together,"
            f" and these are {runs}",
            "$.monitors",
        )


_OF_USERS = frozenset(
    {
        CommandType.MAINTAIN,
        CommandType.PAUSE_USER,
        CommandType.RESUME_USER,
        CommandType.SET_USER,
        CommandType.REENCRYPT_USER,
    }
)
_ENDS_USER = frozenset({CommandType.DEREGISTER, CommandType.PURGE})
_NAMELESS = _OF_USERS | _ENDS_USER
_PAUSES = frozenset({CommandType.PAUSE, CommandType.PAUSE_USER})
_ONE_OR_ALL = frozenset({CommandType.CANCEL})


def command_of(given: CommandInput) -> Command:
    """The command that ``given`` means. Raises InvalidInput."""
    _check_user(given.user_id)
    command, monitor_id, monitor = given.command, given.monitor_id, None
    if command is CommandType.PUT:
        if given.monitor is None:
            raise InvalidInput("a put needs the monitor to put", "$.monitor")
        monitor = monitor_of(given.monitor, "$.monitor", monitor_id)
        if monitor_id and monitor.monitor_id != monitor_id:
            raise InvalidInput(f"this is {monitor_id!r}, but the monitor says {monitor.monitor_id!r}", "$.monitor_id")
        monitor_id = monitor.monitor_id
    elif given.monitor is not None:
        raise InvalidInput(f"a {command} takes no monitor", "$.monitor")
    elif command in _NAMELESS and monitor_id:
        whole = "ends the whole user" if command in _ENDS_USER else "is for the whole user"
        raise InvalidInput(f"a {command} {whole} and takes no monitor_id", "$.monitor_id")
    elif command not in _NAMELESS | _ONE_OR_ALL and not monitor_id:
        raise InvalidInput(f"a {command} needs the monitor_id", "$.monitor_id")
    if given.if_version is not None and command is not CommandType.PUT:
        raise InvalidInput(f"a {command} takes no if_version", "$.if_version")
    if given.until is not None and command not in _PAUSES:
        raise InvalidInput(f"a {command} takes no until", "$.until")
    if given.maintenance and command is not CommandType.MAINTAIN:
        raise InvalidInput(f"a {command} takes no maintenance", "$.maintenance")
    if command is CommandType.SET_USER:
        if given.plan is None and not given.attributes and not given.remove_attributes:
            raise InvalidInput("a set_user needs a plan or attributes to change", "$.plan")
        if both := sorted(set(given.remove_attributes).intersection(given.attributes)):
            raise InvalidInput(f"{both[0]!r} cannot be set and removed", "$.remove_attributes")
    else:
        for name in ("plan", "attributes", "remove_attributes"):
            if getattr(given, name):
                raise InvalidInput(f"a {command} takes no {name}", f"$.{name}")
    return Command(
        command,
        given.user_id,
        monitor_id,
        monitor,
        given.command_id,
        given.if_version,
        0 if given.until is None else _taken(parse_instant_ms, given.until, "$.until"),
        windows_of(given.maintenance, "$.maintenance"),
        given.reply,
        given.plan,
        given.attributes,
        tuple(given.remove_attributes),
    )


def signal_of(given: SignalInput) -> Signal:
    """The signal that ``given`` means: an exit code other than 0 makes it a failure. Raises InvalidInput."""
    _check_user(given.user_id)
    type_, exit_code, duration_ms, value = given.type, given.exit_code, given.duration_ms, given.value
    if type_ is SignalType.SUCCESS and exit_code is None and duration_ms is None and value is None:
        return Signal(
            given.user_id,
            given.monitor_id,
            given.at,
            signal_id=given.signal_id,
            reply=given.reply,
            run=given.run,
        )
    if value is not None:
        # Avro has numbers that are none
        if not isfinite(value):
            raise InvalidInput("not a finite number", "$.value")
        said = {
            "type": type_ is not SignalType.SUCCESS,
            "exit_code": exit_code,
            "duration_ms": duration_ms,
            "run": given.run or None,
        }
        for name, other in said.items():
            if other is not None and other is not False:
                raise InvalidInput("a signal is a value or says how a job's run went, not both", f"$.{name}")
    elif type_ is SignalType.START:
        for name, other in (("exit_code", exit_code), ("duration_ms", duration_ms)):
            if other is not None:
                raise InvalidInput("a run that has only begun has none", f"$.{name}")
    elif exit_code:
        type_ = SignalType.FAIL
    return Signal(
        given.user_id,
        given.monitor_id,
        given.at,
        type_,
        exit_code or None,
        duration_ms,
        value,
        given.signal_id,
        given.reply,
        given.run,
    )


def monitor_of(given: MonitorInput, path: str, monitor_id: str = "") -> MonitorSpec:
    """The monitor that ``given`` means; its config is not yet judged by the kind. Raises InvalidInput.

    The schedule of one that is due ``in`` a delay is not settled yet: see ``settled``.
    """
    named = given.schedule
    schedule = _schedule_of(named, path)
    start_at, end_at = (
        0 if instant is None else _taken(parse_instant_ms, instant, f"{path}.schedule.{name}")
        for name, instant in (("start_at", named.start_at), ("end_at", named.end_at))
    )
    if start_at and end_at and end_at < start_at:
        raise InvalidInput("the end lies before the start", f"{path}.schedule.end_at")
    if (named.max_runs or 0) > MOST_RUNS_BY_WALL_CLOCK and _is_by_wall_clock(schedule):
        raise InvalidInput(
            f"by the wall clock this must be at most {MOST_RUNS_BY_WALL_CLOCK}", f"{path}.schedule.max_runs"
        )
    return MonitorSpec(
        monitor_id=given.monitor_id or monitor_id or given.kind,
        kind=given.kind,
        config=_text_of(given.config, f"{path}.config"),
        schedule=schedule,
        policy=_policy_of(given.policy, f"{path}.policy"),
        payload=_payload_of(given.payload, f"{path}.payload"),
        start_at=start_at,
        end_at=end_at,
        max_runs=named.max_runs or 0,
        name=given.name,
        labels=tuple(sorted(given.labels.items())) if given.labels else (),
    )


def settled(spec: MonitorSpec, asked_at: int) -> MonitorSpec:
    """``spec`` with the instant that a delay counted from ``asked_at`` (ms) leads to."""
    schedule = spec.schedule
    if not isinstance(schedule, At) or schedule.at > 0:
        return spec
    return msgspec.structs.replace(spec, schedule=At(asked_at - schedule.at))


def _policy_of(given: PolicyInput, path: str) -> Policy:
    return Policy(
        timeout_ms=_duration(given.timeout, f"{path}.timeout", 1, 10 * MINUTE_MS),
        failures_to_down=given.failures_to_down,
        successes_to_up=given.successes_to_up,
        misfire=given.misfire,
        misfire_grace_ms=_duration(given.misfire_grace, f"{path}.misfire_grace", 5 * SECOND_MS, DAY_MS),
        priority=given.priority,
        retries=_NO_RETRIES if given.retries is None else _retries_of(given.retries, f"{path}.retries"),
        overlap=given.overlap,
        remind_every_ms=0
        if given.remind_every is None
        else _duration(given.remind_every, f"{path}.remind_every", MINUTE_MS, 30 * DAY_MS),
        maintenance=windows_of(given.maintenance, f"{path}.maintenance"),
    )


_NO_RETRIES = Retries()


def _retries_of(given: RetriesInput, path: str) -> Retries:
    if not given.max:
        return _NO_RETRIES
    base_ms = _duration(given.base, f"{path}.base", SECOND_MS, DAY_MS)
    cap_ms = _duration(given.cap, f"{path}.cap", SECOND_MS, 7 * DAY_MS)
    return Retries(given.max, given.backoff, base_ms, max(base_ms, cap_ms), given.jitter)


def windows_of(given: list[MaintenanceInput], path: str) -> tuple[Maintenance, ...]:
    """Return the windows that are meant. Raises InvalidInput with the path of a wrong one."""
    return tuple(_window_of(window, f"{path}[{i}]") for i, window in enumerate(given)) if given else ()


def _window_of(given: MaintenanceInput, path: str) -> Maintenance:
    if given.cron is not None:
        if given.start is not None or given.end is not None:
            raise InvalidInput("a window is start and end, or cron and duration, not both", path)
        if given.duration is None:
            raise InvalidInput("a repeated window needs its duration", f"{path}.duration")
        # the default itself, however it was given: encoders leave it out then
        zone = "UTC" if given.timezone in (None, "UTC") else given.timezone
        cron = _cron_of(given.cron, zone, 0, path)
        duration_ms = _duration(given.duration, f"{path}.duration", MINUTE_MS, 30 * DAY_MS)
        return Maintenance(cron=cron.expression, timezone=cron.timezone, duration_ms=duration_ms)
    if given.timezone is not None or given.duration is not None:
        raise InvalidInput("timezone and duration go with cron", path)
    if given.start is None or given.end is None:
        raise InvalidInput("a window needs start and end, or cron and duration", path)
    start, end = (
        _taken(parse_instant_ms, instant, f"{path}.{name}")
        for name, instant in (("start", given.start), ("end", given.end))
    )
    if end <= start:
        raise InvalidInput("the end does not lie after the start", f"{path}.end")
    return Maintenance(start=start, end=end)


def _payload_of(payload: Any, path: str) -> str:
    if payload is None:
        return ""
    text = _text_of(payload, path)
    if len(text) > LARGEST_PAYLOAD_BYTES or len(text.encode()) > LARGEST_PAYLOAD_BYTES:
        raise InvalidInput(f"a payload may have at most {LARGEST_PAYLOAD_BYTES} bytes as JSON", path)
    return text


def _text_of(value: Any, path: str) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError as error:
        # deeper nesting and greater integers than any kind has use for
        raise InvalidInput(f"this cannot be kept as JSON: {str(error).lower()}", path) from None


def _schedule_of(given: ScheduleInput, path: str) -> Schedule:
    path = f"{path}.schedule"
    said = {"every": given.every, "cron": given.cron, "at": given.at, "in": given.in_}
    named = [name for name, value in said.items() if value is not None]
    if len(named) > 1:
        raise InvalidInput(f"a schedule is one of every, cron, at and in, not {' and '.join(named)}", path)
    if given.align is not None and given.every is None:
        raise InvalidInput("only an interval (every) can be aligned", f"{path}.align")
    if given.spread is not None and given.cron is None:
        raise InvalidInput("only a cron schedule can be spread", f"{path}.spread")
    if given.timezone is not None and given.cron is None and given.align is not Align.MIDNIGHT:
        raise InvalidInput("a timezone goes with cron, or with every aligned to midnight", f"{path}.timezone")
    if given.cron is not None:
        spread_ms = 0 if given.spread is None else _duration(given.spread, f"{path}.spread", 0, LONGEST_SPREAD_MS)
        return _cron_of(given.cron, "UTC" if given.timezone is None else given.timezone, spread_ms, path)
    if given.at is not None:
        return At(_taken(parse_instant_ms, given.at, f"{path}.at"))
    if given.in_ is not None:
        # the instant that it counts from is known when the record is; until then the delay stands in its place
        return At(-_duration(given.in_, f"{path}.in", 0, LONGEST_INTERVAL_MS))
    if given.every is None:
        return NO_SCHEDULE
    return _every_of(given.every, given.align or Align.PHASE, given.timezone, path)


def _is_by_wall_clock(schedule: Schedule) -> bool:
    return isinstance(schedule, Cron) or (isinstance(schedule, Every) and schedule.align is Align.MIDNIGHT)


def _every_of(every: Duration, align: Align, timezone: str | None, path: str) -> Every:
    interval_ms = _duration(every, f"{path}.every", SECOND_MS, LONGEST_INTERVAL_MS)
    if interval_ms % PHASE_STEP_MS:
        raise InvalidInput(f"an interval is a whole multiple of {PHASE_STEP_MS} ms", f"{path}.every")
    if align is not Align.MIDNIGHT:
        return Every(interval_ms, align)
    _taken(check_alignment, interval_ms, f"{path}.every")
    zone = "UTC" if timezone is None else timezone
    _taken(zone_named, zone, f"{path}.timezone")
    return Every(interval_ms, align, zone)


def _cron_of(cron: str, timezone: str, spread_ms: int, path: str) -> Cron:
    expression = _taken(read_expression, cron, f"{path}.cron")
    _taken(zone_named, timezone, f"{path}.timezone")
    return Cron(expression, timezone, spread_ms)


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
