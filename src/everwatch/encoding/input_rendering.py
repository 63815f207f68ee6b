"""Model -> what a user would send: the way back of ``input_models``. Pure.

Defaults are left out, durations and instants are written as people write them, and configs and payloads stay the JSON
that they are, secrets included. Reading it again gives the same values: ``monitor_of(monitor_form(spec)) == spec`` for
every spec that was admitted.
"""

from typing import Any

import orjson

from everwatch.model import Align, At, Cron, Every, Maintenance, MonitorSpec, Policy, Retries, Schedule, Signup
from everwatch.schedule.duration import format_duration
from everwatch.schedule.instant import format_instant

_POLICY, _RETRIES = Policy(), Retries()


def signup_form(signup: Signup) -> dict[str, Any]:
    """A signup, for ``orjson.dumps``."""
    said: dict[str, Any] = {"user_id": signup.user_id, "plan": signup.plan}
    if signup.attributes:
        said["attributes"] = signup.attributes
    if signup.monitors:
        said["monitors"] = [monitor_form(spec) for spec in signup.monitors]
    if signup.maintenance:
        said["maintenance"] = [window_form(window) for window in signup.maintenance]
    return said


def monitor_form(spec: MonitorSpec) -> dict[str, Any]:
    """A monitor, for ``orjson.dumps``."""
    said: dict[str, Any] = {"monitor_id": spec.monitor_id, "kind": spec.kind, "config": orjson.Fragment(spec.config)}
    said["schedule"] = schedule_form(spec.schedule)
    if spec.start_at:
        said["schedule"]["start_at"] = format_instant(spec.start_at)
    if spec.end_at:
        said["schedule"]["end_at"] = format_instant(spec.end_at)
    if spec.max_runs:
        said["schedule"]["max_runs"] = spec.max_runs
    if policy := policy_form(spec.policy):
        said["policy"] = policy
    if spec.name:
        said["name"] = spec.name
    if spec.labels:
        said["labels"] = dict(spec.labels)
    if spec.payload:
        said["payload"] = orjson.Fragment(spec.payload)
    return said


def schedule_form(schedule: Schedule) -> dict[str, Any]:
    """A schedule without its bounds."""
    match schedule:
        case At(at) if at <= 0:
            # of a delay that is not resolved yet: see ``input_conversion.resolved``
            return {"in": format_duration(-at)}
        case At(at):
            return {"at": format_instant(at)}
        case Cron(expression, timezone, spread_ms):
            return {"cron": expression, "timezone": timezone} | _duration("spread", spread_ms, 0)
        case Every(interval_ms, align, timezone):
            said = {"every": format_duration(interval_ms)}
            if align is not Align.PHASE:
                said["align"] = align.value
            return said | ({"timezone": timezone} if timezone else {})


def policy_form(policy: Policy) -> dict[str, Any]:
    """Return the fields of a policy that differ from the default."""
    said = _duration("timeout", policy.timeout_ms, _POLICY.timeout_ms)
    said |= _duration("misfire_grace", policy.misfire_grace_ms, _POLICY.misfire_grace_ms)
    said |= _duration("remind_every", policy.remind_every_ms, _POLICY.remind_every_ms)
    for name in ("failures_to_down", "successes_to_up", "misfire", "priority", "overlap", "quorum"):
        if (value := getattr(policy, name)) != getattr(_POLICY, name):
            said[name] = value
    if policy.retries != _RETRIES:
        retries = policy.retries
        said["retries"] = {
            "max": retries.most,
            "backoff": retries.backoff.value,
            "base": format_duration(retries.base_ms),
            "cap": format_duration(retries.cap_ms),
            "jitter": retries.jitter,
        }
    if policy.regions:
        said["regions"] = list(policy.regions)
    if policy.maintenance:
        said["maintenance"] = [window_form(window) for window in policy.maintenance]
    return said


def window_form(window: Maintenance) -> dict[str, Any]:
    """A maintenance window."""
    if window.cron:
        return {
            "cron": window.cron,
            "timezone": window.timezone,
            "duration": format_duration(window.duration_ms),
        }
    return {"start": format_instant(window.start), "end": format_instant(window.end)}


def _duration(name: str, duration_ms: int, default_ms: int) -> dict[str, Any]:
    return {} if duration_ms == default_ms else {name: format_duration(duration_ms)}
