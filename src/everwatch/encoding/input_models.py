"""Input models: inputs as strict types. Unknown fields are refused, and every refusal names its field.

JSON and Avro input meet here: both become the same plain objects, and one set of rules judges them.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from everwatch.core.bounds import LATEST_MS, MOST_REGIONS, REGION_PATTERN, REGION_RULE, RESERVED_USERS, RegionName
from everwatch.core.errors import InvalidInput
from everwatch.core.printable import HIDDEN
from everwatch.core.validation_errors import fault_of
from everwatch.encoding.contacts import MOST_CONTACTS
from everwatch.model import (
    Align,
    Backoff,
    CommandType,
    Every,
    Json,
    Misfire,
    Overlap,
    Priority,
    Quorum,
    ReplyOn,
    SignalType,
)

# ids go into keys (NUL separates), logs and terminals, and two that look the same must be the same
NO_HIDDEN = rf"^[^{HIDDEN}]*\Z"  # "$" would let a newline at the end pass
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=NO_HIDDEN)]
MonitorId = Annotated[str, msgspec.Meta(max_length=128, pattern=NO_HIDDEN)]
# several are kept with a monitor
RunId = Annotated[str, msgspec.Meta(max_length=64, pattern=NO_HIDDEN)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=NO_HIDDEN)]
LONGEST_REASON = 256
Reason = Annotated[str, msgspec.Meta(max_length=LONGEST_REASON, pattern=NO_HIDDEN)]
LONGEST_SIGNAL_BODY = 4_096
"""Characters of a signal's body that are kept with its monitor."""
DEFAULT_KIND = "http"
"""The kind of a monitor that names none."""
# as Kubernetes and Prometheus have them; no "=", which stands behind the key on command lines
LABEL_KEY = r"^[A-Za-z0-9_./-]*\Z"
MOST_LABELS = 16
SEVERITY_LABEL = "severity"
"""The label of a monitor that says how urgent its alerts are."""
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

ContactValue = Annotated[str, msgspec.Meta(min_length=1, max_length=2_048, pattern=NO_HIDDEN)]
Contacts = Annotated[dict[str, ContactValue], msgspec.Meta(max_length=MOST_CONTACTS)]

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


SeverityName = Literal["info", "warning", "error", "critical"]


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


Regions = Annotated[list[RegionName], msgspec.Meta(max_length=MOST_REGIONS)]


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
    severity: SeverityName | None = None
    regions: Regions = []
    quorum: Quorum = Quorum.MAJORITY


class MonitorInput(_Strict, frozen=True):
    monitor_id: MonitorId = ""
    kind: Name = DEFAULT_KIND
    config: dict[str, Any] = {}
    schedule: ScheduleInput = ScheduleInput()
    policy: PolicyInput = PolicyInput()
    payload: Any = None
    name: MonitorId = ""
    labels: Labels = {}


Digest = Annotated[str, msgspec.Meta(max_length=64, pattern=NO_HIDDEN)]


class SignupInput(_Strict, frozen=True):
    user_id: UserId
    plan: Name = "default"
    attributes: dict[str, Attribute] = {}
    monitors: Annotated[list[MonitorInput], msgspec.Meta(max_length=MOST_MONITORS_PER_SIGNUP)] = []
    maintenance: Windows = []
    signup_id: MonitorId = ""
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME
    contacts: Contacts = {}
    request_digest: Digest = ""
    if_registration: Digest = ""


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
    reason: Reason = ""
    request_digest: Digest = ""
    contacts: Contacts = {}
    if_registration: Digest = ""


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
    body: Annotated[str, msgspec.Meta(max_length=LONGEST_SIGNAL_BODY)] = ""


T = TypeVar("T", bound=msgspec.Struct)
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
    """Return a validation error as a reason in plain words and a path that starts with ``prefix``."""
    fault = fault_of(error)
    reason, path = fault.reason, f"{prefix}{fault.path}"
    if fault.unknown is not None:
        return InvalidInput(f"there is no field {fault.unknown!r}", f"{path}.{fault.unknown}")
    if fault.missing is not None:
        return InvalidInput("this field is missing", f"{path}.{fault.missing}")
    if "matching regex" in reason and LABEL_KEY in reason:
        return InvalidInput("a label's key has letters, digits, '_', '.', '/' and '-' only", path)
    if fault.is_about(REGION_PATTERN):
        return InvalidInput(REGION_RULE, path)
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
