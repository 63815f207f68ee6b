"""Stored values as the API answers them."""

from typing import Any, cast

import msgspec
import orjson

from everwatch.api.state_views import PlanView
from everwatch.api.views import MonitorView, OutcomeView, ResultView, TaskView, UserView
from everwatch.encoding.input_models import MaintenanceInput, MonitorInput
from everwatch.encoding.input_rendering import monitor_form, window_form
from everwatch.kinds.execution.config_secrets import ConfigSecrets, redacted_spec
from everwatch.model import Monitor, MonitorSpec, Reply, Result, User
from everwatch.plans.plan import Plans
from everwatch.schedule.due import upcoming
from everwatch.store.stored_values import ListedUser, StoredResult, StoredTask


def user_view(listed: ListedUser) -> UserView:
    """Return a user as it is answered."""
    user: User = listed.user
    windows = [msgspec.convert(window_form(window), MaintenanceInput) for window in user.maintenance]
    return UserView(
        user.user_id,
        user.plan,
        user.attributes,
        windows,
        user.registered_at,
        user.updated_at,
        listed.by_state,
        list(user.monitor_ids),
    )


def monitor_view(monitor: Monitor, now: int, secrets: ConfigSecrets | None = None) -> MonitorView:
    """Return a monitor as it is answered; ``secrets``: to show them, else they are redacted. Raises InvalidInput."""
    spec = redacted_spec(monitor.spec) if secrets is None else secrets.decrypted_spec(monitor.spec)
    coming = upcoming(monitor, now, 1)
    return MonitorView(
        monitor.user_id,
        monitor.monitor_id,
        monitor.version,
        monitor.origin,
        monitor.since,
        monitor.state,
        monitor.state_since,
        monitor.reason,
        coming[0] if coming else None,
        monitor.last_signal,
        # it is encoded as it stands, and read back by clients as what it says
        cast(MonitorInput, msgspec.Raw(spec_json(spec))),
        monitor.agenda,
        monitor.outcome,
        monitor.signals.body,
        monitor.signals.body_at,
    )


def spec_json(spec: MonitorSpec) -> bytes:
    """Return a monitor as PUT takes it, as JSON."""
    said: dict[str, Any] = monitor_form(spec)
    del said["monitor_id"]
    return orjson.dumps(said)


def result_view(stored: StoredResult) -> ResultView:
    """Return a result as it is answered."""
    result: Result = stored.result
    return ResultView(
        result.user_id,
        result.monitor_id,
        result.scheduled_at,
        result.attempt,
        result.kind,
        result.version,
        result.status,
        result.reason,
        result.started_at,
        result.duration_ms,
        result.timings,
        result.executor,
        result.skipped_until,
        result.skipped_count,
        result.manual,
        result.detail,
        stored.stored_at,
        stored.deliveries,
        result.region,
    )


def task_view(task: StoredTask) -> TaskView:
    """Return a task as it is answered."""
    return TaskView(
        task.user_id,
        task.monitor_id,
        task.kind,
        task.due_at,
        task.status,
        task.paused,
        task.reason,
        task.created_at,
        task.ended_at,
        task.attempt,
        task.version,
        task.partition,
        task.outcome,
    )


def outcome(reply: Reply) -> OutcomeView:
    """Return the answer to a command as it is answered here."""
    return OutcomeView(
        reply.command_id or reply.signup_id or reply.signal_id,
        reply.command,
        reply.user_id,
        reply.monitor_id,
        reply.answer,
        reply.version,
        reply.at,
        reply.code,
        reply.reason,
        reply.path,
        position_text(reply),
    )


def position_text(reply: Reply) -> str:
    """Return where the changelog holds what a reply says; "" where that does not matter."""
    return f"{reply.partition}@{reply.offset}" if reply.offset >= 0 else ""


def plan_views(plans: Plans) -> list[PlanView]:
    """Return plans as they are answered, by name."""
    return [
        PlanView(
            plan.name,
            plan.limits.max_monitors,
            plan.limits.shortest_ms,
            plan.limits.weight,
            [monitor.monitor_id for monitor in plan.monitors],
            plan.required,
            plan.limits.regions,
            plan.limits.quorum,
        )
        for _, plan in sorted(plans.all.items())
    ]
