"""Model <-> rows, column by column as in ``schema``."""

from collections.abc import Sequence
from typing import Any

import msgspec

from everwatch.model import (
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Result,
    Schedule,
    State,
    Status,
    Transition,
    User,
)
from everwatch.store.interface import Identity, StoredResult, Stretch

Row = tuple[Any, ...]

_encode = msgspec.json.Encoder().encode
_timings = msgspec.json.Decoder(dict[str, float])
_schedule = msgspec.json.Decoder(Schedule)
_policy = msgspec.json.Decoder(Policy)


def text_of(value: object) -> str:
    """JSON text."""
    return _encode(value).decode()


def result_row(result: Result, stored_at: int) -> Row:
    """A row of ``results``, delivered once."""
    return (
        result.user_id,
        result.scheduled_at,
        result.monitor_id,
        result.attempt,
        result.kind,
        result.version,
        result.status.value,
        result.reason,
        result.started_at,
        result.duration_ms,
        text_of(result.timings) if result.timings else "{}",
        result.executor,
        result.skipped_until,
        result.skipped_count,
        stored_at,
        1,
    )


def stored_result(row: Sequence[Any]) -> StoredResult:
    """The result of a row of ``results``."""
    user_id, scheduled_at, monitor_id, attempt, kind, version, status, reason, started_at, duration_ms = row[:10]
    timings, executor, skipped_until, skipped_count, stored_at, deliveries = row[10:]
    result = Result(
        user_id=user_id,
        monitor_id=monitor_id,
        scheduled_at=scheduled_at,
        kind=kind,
        version=version,
        status=Status(status),
        reason=reason,
        started_at=started_at,
        duration_ms=duration_ms,
        attempt=attempt,
        timings=_timings.decode(timings),
        executor=executor,
        skipped_until=skipped_until,
        skipped_count=skipped_count,
    )
    return StoredResult(result, stored_at, deliveries)


def transition_row(transition: Transition) -> Row:
    """A row of ``transitions``."""
    return (
        transition.user_id,
        transition.monitor_id,
        transition.at,
        transition.to_state.value,
        transition.from_state.value,
        transition.reason,
        transition.version,
    )


def transition(row: Sequence[Any]) -> Transition:
    """The transition of a row of ``transitions``."""
    user_id, monitor_id, at, to_state, from_state, reason, version = row
    return Transition(user_id, monitor_id, at, State(from_state), State(to_state), reason, version)


def user_row(user: User, partition: int) -> Row:
    """A row of ``users``."""
    return (user.user_id, user.plan, text_of(user.attributes), user.registered_at, user.updated_at, partition)


def monitor_row(monitor: Monitor, partition: int) -> Row:
    """A row of ``monitors``."""
    return (
        monitor.user_id,
        monitor.monitor_id,
        monitor.spec.kind,
        monitor.spec.config,
        text_of(monitor.spec.schedule),
        text_of(monitor.spec.policy),
        monitor.origin.value,
        monitor.version,
        monitor.since,
        monitor.state.value,
        monitor.state_since,
        monitor.reason,
        monitor.streak,
        monitor.judged_at,
        monitor.last_signal,
        partition,
    )


def monitor(row: Sequence[Any]) -> Monitor:
    """The monitor of a row of ``monitors``."""
    user_id, monitor_id, kind, config, schedule, policy, origin, version, since, state = row[:10]
    state_since, reason, streak, judged_at, last_signal, _partition = row[10:]
    spec = MonitorSpec(monitor_id, kind, config, _schedule.decode(schedule), _policy.decode(policy))
    return Monitor(
        user_id=user_id,
        spec=spec,
        origin=Origin(origin),
        version=version,
        since=since,
        state=State(state),
        state_since=state_since,
        reason=reason,
        streak=streak,
        judged_at=judged_at,
        last_signal=last_signal,
    )


def history_row(monitor: Monitor, until: int | None) -> Row:
    """A row of ``monitor_history``: the stretch that began at the monitor's ``since``."""
    spec, policy = monitor.spec, monitor.spec.policy
    return (
        monitor.user_id,
        monitor.monitor_id,
        monitor.version,
        monitor.since,
        until,
        spec.kind,
        text_of(spec.schedule),
        text_of(policy),
        policy.misfire.value,
        policy.misfire_grace_ms,
    )


def stretch(row: Sequence[Any]) -> Stretch:
    """The stretch of a row of ``monitor_history``."""
    user_id, monitor_id, version, since, until, kind, schedule, policy = row[:8]
    return Stretch(user_id, monitor_id, version, since, until, kind, _schedule.decode(schedule), _policy.decode(policy))


def identity(row: Sequence[Any]) -> Identity:
    """The identity of a row of the columns that ``Identity`` names, in that order."""
    return Identity(*row)
