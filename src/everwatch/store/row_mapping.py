"""Model <-> rows, column by column as in ``sql_schema``.

All in one file: it is the list of what a row of each table holds, a short function each way.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from everwatch.encoding.ended_monitors import split_outcome
from everwatch.model import (
    NO_SIGNALS,
    NOTHING,
    Agenda,
    Maintenance,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Result,
    Scalar,
    Schedule,
    SignalState,
    State,
    Status,
    Transition,
    User,
)
from everwatch.store.bulk_statements import Row
from everwatch.store.stored_values import FormerSpec, Identity, StoredResult, StoredTask, Stretch, TaskStatus

_encode = msgspec.json.Encoder().encode
_timings = msgspec.json.Decoder(dict[str, float])
_schedule = msgspec.json.Decoder(Schedule)
_policy = msgspec.json.Decoder(Policy)
_agenda = msgspec.json.Decoder(Agenda)
_signals = msgspec.json.Decoder(SignalState)
_attributes = msgspec.json.Decoder(dict[str, Scalar])
_monitor_ids = msgspec.json.Decoder(tuple[str, ...])
_labels = msgspec.json.Decoder(tuple[tuple[str, str], ...])
_label_map = msgspec.json.Decoder(dict[str, str])
_maintenance = msgspec.json.Decoder(tuple[Maintenance, ...])


def text_of(value: object) -> str:
    """JSON text."""
    return _encode(value).decode()


def result_row(result: Result, stored_at: int, status: object) -> Row:
    """A row of ``results``, delivered once; ``status``: as the database has it."""
    return (
        result.user_id,
        result.scheduled_at,
        result.monitor_id,
        result.attempt,
        result.region,
        result.kind,
        result.version,
        status,
        result.reason,
        result.started_at,
        result.duration_ms,
        text_of(result.timings) if result.timings else "{}",
        result.executor,
        result.skipped_until,
        result.skipped_count,
        stored_at,
        1,
        result.manual,
        result.detail,
    )


def stored_result(row: Sequence[Any]) -> StoredResult:
    """The result of a row of ``results``."""
    user_id, scheduled_at, monitor_id, attempt, region, kind, version, status, reason, started_at, duration_ms = row[
        :11
    ]
    timings, executor, skipped_until, skipped_count, stored_at, deliveries, manual, detail = row[11:]
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
        manual=manual,
        detail=detail,
        region=region,
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
        transition.alert,
        transition.reminder,
        transition.kind,
        transition.target,
        transition.plan,
        text_of(transition.labels) if transition.labels else "{}",
        transition.lasted_ms,
        outcome_text(transition.outcome),
    )


def transition(row: Sequence[Any]) -> Transition:
    """The transition of a row of ``transitions``."""
    user_id, monitor_id, at, to_state, from_state, reason, version, alert, reminder = row[:9]
    kind, target, plan, labels, lasted_ms, stored_outcome = row[9:]
    reached = State(to_state)
    outcome, reason = _ended(reached, stored_outcome, reason)
    return Transition(
        user_id,
        monitor_id,
        at,
        State(from_state),
        reached,
        reason,
        version,
        alert,
        reminder,
        kind,
        target,
        plan,
        _label_map.decode(labels) if labels != "{}" else {},
        lasted_ms,
        outcome=outcome,
    )


def outcome_text(outcome: Status | None) -> str:
    """Return the stored text of an outcome, "" for none."""
    return "" if outcome is None else outcome.value


def _ended(state: State, outcome: str, reason: str) -> tuple[Status | None, str]:
    """Outcome and reason of a row; one of an older version has both in ``reason``."""
    return (Status(outcome), reason) if outcome else split_outcome(state, reason)


def user_row(user: User, partition: int) -> Row:
    """A row of ``users``."""
    return (
        user.user_id,
        user.plan,
        text_of(user.attributes),
        user.registered_at,
        user.updated_at,
        partition,
        text_of(user.monitor_ids),
        text_of(user.maintenance) if user.maintenance else "[]",
    )


def user(row: Sequence[Any]) -> User:
    """The user of a row of ``users``."""
    user_id, plan, attributes, registered_at, updated_at, _partition, monitor_ids, maintenance = row
    return User(
        user_id=user_id,
        plan=plan,
        attributes=_attributes.decode(attributes),
        monitor_ids=_monitor_ids.decode(monitor_ids),
        registered_at=registered_at,
        updated_at=updated_at,
        maintenance=_maintenance.decode(maintenance),
    )


def spec_texts(spec: MonitorSpec) -> tuple[str, str]:
    """The spec's schedule and policy as JSON text, which two tables hold."""
    return text_of(spec.schedule), text_of(spec.policy)


def changed_at(monitor: Monitor) -> int:
    """Instant at which a monitor was last put, changed, resumed or came into its state, ms.

    That a monitor begins later than it was put is no change.
    """
    begins_later = monitor.since == monitor.spec.start_at - 1
    return monitor.state_since if begins_later else max(monitor.since, monitor.state_since)


def monitor_row(monitor: Monitor, partition: int, texts: tuple[str, str], plan: str, target: str) -> Row:
    """A row of ``monitors``; ``texts``: see ``spec_texts``, ``plan``: the user's, ``target``: of its kind."""
    spec, agenda = monitor.spec, monitor.agenda
    return (
        monitor.user_id,
        spec.monitor_id,
        spec.kind,
        spec.config,
        *texts,
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
        spec.payload,
        spec.start_at,
        spec.end_at,
        spec.max_runs,
        text_of(agenda) if agenda != NOTHING else "{}",
        agenda.retry_at,
        agenda.resume_at,
        text_of(monitor.signals) if monitor.signals is not NO_SIGNALS else "{}",
        spec.name,
        text_of(spec.labels) if spec.labels else "[]",
        plan,
        target,
        changed_at(monitor),
        outcome_text(monitor.outcome),
    )


def former_spec(row: Sequence[Any]) -> FormerSpec:
    """The earlier spec of a row of ``former_specs``."""
    version, origin, at = row[2], Origin(row[7]), row[-1]
    return FormerSpec(version, _spec((row[1], *row[3:7], *row[8:-1])), origin, at)


def _spec(columns: Sequence[Any]) -> MonitorSpec:
    """The spec of these columns, in the order of ``former_specs``."""
    monitor_id, kind, config, schedule, policy, payload, start_at, end_at, max_runs, name, labels = columns
    return MonitorSpec(
        monitor_id=monitor_id,
        kind=kind,
        config=config,
        schedule=_schedule.decode(schedule),
        policy=_policy.decode(policy),
        payload=payload,
        start_at=start_at,
        end_at=end_at,
        max_runs=max_runs,
        name=name,
        labels=_labels.decode(labels) if labels != "[]" else (),
    )


def label_rows(monitor: Monitor) -> list[Row]:
    """The rows of ``monitor_labels``."""
    return [(monitor.user_id, monitor.monitor_id, *label) for label in monitor.spec.labels]


def monitor(row: Sequence[Any]) -> Monitor:
    """The monitor of a row of ``monitors``."""
    user_id, monitor_id, *_, origin, version, since, state = row[:10]
    state_since, reason, streak, judged_at, last_signal = row[10:15]
    agenda, _retry_at, _resume_at, signals, name, labels, _plan, _target, _changed_at, stored_outcome = row[20:]
    entered = State(state)
    outcome, reason = _ended(entered, stored_outcome, reason)
    spec = _spec((monitor_id, *row[2:6], *row[16:20], name, labels))
    return Monitor(
        user_id=user_id,
        spec=spec,
        origin=Origin(origin),
        version=version,
        since=since,
        state=entered,
        state_since=state_since,
        reason=reason,
        streak=streak,
        judged_at=judged_at,
        last_signal=last_signal,
        agenda=_agenda.decode(agenda),
        signals=_signals.decode(signals),
        outcome=outcome,
    )


def history_row(monitor: Monitor, until: int | None, texts: tuple[str, str]) -> Row:
    """A row of ``monitor_history``: the stretch that began at ``since``; ``texts``: see ``spec_texts``."""
    spec, policy = monitor.spec, monitor.spec.policy
    return (
        monitor.user_id,
        monitor.monitor_id,
        monitor.version,
        monitor.since,
        until,
        spec.kind,
        *texts,
        policy.misfire.value,
        policy.misfire_grace_ms,
        spec.start_at,
        spec.end_at,
        spec.max_runs,
        monitor.agenda.runs,
        monitor.agenda.ends_at,
    )


def stretch(row: Sequence[Any]) -> Stretch:
    """The stretch of a row of ``monitor_history``."""
    user_id, monitor_id, version, since, until, kind, schedule, policy = row[:8]
    _misfire, _misfire_grace_ms, start_at, end_at, max_runs, runs, ends_at = row[8:]
    return Stretch(
        user_id=user_id,
        monitor_id=monitor_id,
        version=version,
        since=since,
        until=until,
        kind=kind,
        schedule=_schedule.decode(schedule),
        policy=_policy.decode(policy),
        start_at=start_at,
        end_at=end_at,
        max_runs=max_runs,
        runs=runs,
        ends_at=ends_at,
    )


def task_row(task: StoredTask) -> Row:
    """A row of ``tasks``."""
    return (
        task.user_id,
        task.monitor_id,
        task.kind,
        task.due_at,
        task.status.value,
        task.paused,
        task.reason,
        task.created_at,
        task.ended_at,
        task.attempt,
        task.version,
        task.partition,
        outcome_text(task.outcome),
    )


def stored_task(row: Sequence[Any]) -> StoredTask:
    """The task of a row of ``tasks``."""
    user_id, monitor_id, kind, due_at, status, *others, outcome = row
    others.append(Status(outcome) if outcome else None)
    return StoredTask(user_id, monitor_id, kind, due_at, TaskStatus(status), *others)


def identity(row: Sequence[Any]) -> Identity:
    """The identity of a row of the columns that ``Identity`` names, in that order."""
    return Identity(*row)
