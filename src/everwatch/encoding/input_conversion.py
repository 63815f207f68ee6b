"""Conversion of input models into the values of ``everwatch.model``.

Rules that concern several fields of an input stand here; a refusal names its field.
"""

from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec
import orjson

from everwatch.core.bounds import RESERVED_USERS
from everwatch.core.errors import InvalidInput
from everwatch.encoding.contacts import with_contacts
from everwatch.encoding.input_models import (
    DAY_MS,
    LARGEST_PAYLOAD_BYTES,
    MINUTE_MS,
    MOST_LABELS,
    MOST_RUNS_BY_WALL_CLOCK,
    MOST_RUNS_BY_WALL_CLOCK_PER_SIGNUP,
    SECOND_MS,
    SEVERITY_LABEL,
    CommandInput,
    MaintenanceInput,
    MonitorInput,
    PolicyInput,
    RetriesInput,
    SignalInput,
    SignupInput,
)
from everwatch.encoding.schedule_conversion import cron_of, duration_of, is_by_wall_clock, schedule_of, taken
from everwatch.model import (
    At,
    Command,
    CommandType,
    Maintenance,
    MonitorSpec,
    Policy,
    Retries,
    Signal,
    SignalType,
    Signup,
)
from everwatch.schedule.instant import parse_instant_ms


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
    attributes = with_contacts(given.attributes, given.contacts)
    return Signup(
        given.user_id,
        given.plan,
        attributes,
        monitors,
        windows,
        given.signup_id,
        given.reply,
        given.request_digest,
        given.if_registration,
    )


def check_runs(monitors: Iterable[MonitorSpec]) -> None:
    """Raise InvalidInput if this many ``max_runs`` by the wall clock take too long to look for in one signup."""
    runs = sum([spec.max_runs for spec in monitors if spec.max_runs and is_by_wall_clock(spec.schedule)])
    if runs > MOST_RUNS_BY_WALL_CLOCK_PER_SIGNUP:
        raise InvalidInput(
            f"by the wall clock the max_runs of a signup must be at most {MOST_RUNS_BY_WALL_CLOCK_PER_SIGNUP} together,"
            f" and these are {runs}",
            "$.monitors",
        )


_OF_USERS = frozenset(
    {
        CommandType.PAUSE_USER,
        CommandType.RESUME_USER,
        CommandType.SET_USER,
        CommandType.REENCRYPT_USER,
    }
)

_ENDS_USER = frozenset({CommandType.DEREGISTER, CommandType.PURGE})

_NAMELESS = _OF_USERS | _ENDS_USER

_PAUSES = frozenset({CommandType.PAUSE, CommandType.PAUSE_USER})

_ONE_OR_ALL = frozenset({CommandType.CANCEL, CommandType.MAINTAIN})


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
    of_one = command is CommandType.MAINTAIN and monitor_id
    if given.until is not None and command not in _PAUSES and not of_one:
        raise InvalidInput(f"a {command} takes no until", "$.until")
    if given.reason and command is not CommandType.PAUSE and not of_one:
        raise InvalidInput(f"a {command} takes no reason", "$.reason")
    if given.maintenance and of_one:
        raise InvalidInput("a maintain of one monitor takes until in place of windows", "$.maintenance")
    if given.maintenance and command is not CommandType.MAINTAIN:
        raise InvalidInput(f"a {command} takes no maintenance", "$.maintenance")
    if command is CommandType.SET_USER:
        attributes = with_contacts(given.attributes, given.contacts)
        if given.plan is None and not attributes and not given.remove_attributes:
            raise InvalidInput("a set_user needs a plan, attributes or contacts to change", "$.plan")
        if both := sorted(set(given.remove_attributes).intersection(attributes)):
            raise InvalidInput(f"{both[0]!r} cannot be set and removed", "$.remove_attributes")
    else:
        attributes = {}
        for name in ("plan", "attributes", "remove_attributes", "contacts", "if_registration"):
            if getattr(given, name):
                raise InvalidInput(f"a {command} takes no {name}", f"$.{name}")
    return Command(
        command,
        given.user_id,
        monitor_id,
        monitor,
        given.command_id,
        given.if_version,
        0 if given.until is None else taken(parse_instant_ms, given.until, "$.until"),
        windows_of(given.maintenance, "$.maintenance"),
        given.reply,
        given.plan,
        attributes,
        tuple(given.remove_attributes),
        given.reason,
        given.request_digest,
        given.if_registration,
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
            body=given.body,
        )
    if type_ is SignalType.LOG:
        if not given.body:
            raise InvalidInput("a log is its body", "$.body")
        for name in ("exit_code", "duration_ms", "value"):
            if getattr(given, name) is not None:
                raise InvalidInput("a log says nothing of how a run went", f"$.{name}")
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
        given.body,
    )


def monitor_of(given: MonitorInput, path: str, monitor_id: str = "") -> MonitorSpec:
    """The monitor that ``given`` means; its config is not yet judged by the kind. Raises InvalidInput.

    The schedule of one that is due ``in`` a delay is not resolved yet: see ``resolved``.
    """
    named = given.schedule
    schedule = schedule_of(named, path)
    start_at, end_at = (
        0 if instant is None else taken(parse_instant_ms, instant, f"{path}.schedule.{name}")
        for name, instant in (("start_at", named.start_at), ("end_at", named.end_at))
    )
    if start_at and end_at and end_at < start_at:
        raise InvalidInput("the end lies before the start", f"{path}.schedule.end_at")
    if (named.max_runs or 0) > MOST_RUNS_BY_WALL_CLOCK and is_by_wall_clock(schedule):
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
        labels=_labels_of(given, path),
    )


def _labels_of(given: MonitorInput, path: str) -> tuple[tuple[str, str], ...]:
    """The labels, the severity of the policy among them: transitions carry labels, and no policy."""
    labels, severity = given.labels, given.policy.severity
    if severity is None or labels.get(SEVERITY_LABEL) == severity:
        return tuple(sorted(labels.items())) if labels else ()
    if SEVERITY_LABEL in labels:
        raise InvalidInput(f"the label {SEVERITY_LABEL} says {labels[SEVERITY_LABEL]!r}", f"{path}.policy.severity")
    if len(labels) >= MOST_LABELS:
        raise InvalidInput(
            f"it takes one of the {MOST_LABELS} labels, and they are all in use", f"{path}.policy.severity"
        )
    return tuple(sorted({**labels, SEVERITY_LABEL: severity}.items()))


def resolved(spec: MonitorSpec, asked_at: int) -> MonitorSpec:
    """``spec`` with the instant that a delay counted from ``asked_at`` (ms) leads to."""
    schedule = spec.schedule
    if not isinstance(schedule, At) or schedule.at > 0:
        return spec
    return msgspec.structs.replace(spec, schedule=At(asked_at - schedule.at))


def _policy_of(given: PolicyInput, path: str) -> Policy:
    return Policy(
        timeout_ms=duration_of(given.timeout, f"{path}.timeout", 1, 10 * MINUTE_MS),
        failures_to_down=given.failures_to_down,
        successes_to_up=given.successes_to_up,
        misfire=given.misfire,
        misfire_grace_ms=duration_of(given.misfire_grace, f"{path}.misfire_grace", 5 * SECOND_MS, DAY_MS),
        priority=given.priority,
        retries=_NO_RETRIES if given.retries is None else _retries_of(given.retries, f"{path}.retries"),
        overlap=given.overlap,
        remind_every_ms=0
        if given.remind_every is None
        else duration_of(given.remind_every, f"{path}.remind_every", MINUTE_MS, 30 * DAY_MS),
        maintenance=windows_of(given.maintenance, f"{path}.maintenance"),
        # in one order: monitors of the same regions share batches
        regions=tuple(sorted(set(given.regions))) if given.regions else (),
        quorum=given.quorum,
    )


_NO_RETRIES = Retries()


def _retries_of(given: RetriesInput, path: str) -> Retries:
    if not given.max:
        return _NO_RETRIES
    base_ms = duration_of(given.base, f"{path}.base", SECOND_MS, DAY_MS)
    cap_ms = duration_of(given.cap, f"{path}.cap", SECOND_MS, 7 * DAY_MS)
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
        cron = cron_of(given.cron, zone, 0, path)
        duration_ms = duration_of(given.duration, f"{path}.duration", MINUTE_MS, 30 * DAY_MS)
        return Maintenance(cron=cron.expression, timezone=cron.timezone, duration_ms=duration_ms)
    if given.timezone is not None or given.duration is not None:
        raise InvalidInput("timezone and duration go with cron", path)
    if given.start is None or given.end is None:
        raise InvalidInput("a window needs start and end, or cron and duration", path)
    start, end = (
        taken(parse_instant_ms, instant, f"{path}.{name}")
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
