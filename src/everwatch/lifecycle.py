"""States of a monitor and how it gets from one to another. Pure.

A monitor that is up and stays up gives back the very same value: nothing to write. One that is due at a single instant
is over after its run, however that ended.
"""

import msgspec

from everwatch.model import At, Monitor, MonitorSpec, Origin, Result, State, Status, Transition

LEGAL: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.UP, State.DOWN, State.LATE, State.PAUSED, State.DONE}),
    State.UP: frozenset({State.DOWN, State.LATE, State.PAUSED, State.NEW, State.DONE}),
    State.DOWN: frozenset({State.UP, State.LATE, State.PAUSED, State.NEW, State.DONE}),
    State.LATE: frozenset({State.UP, State.DOWN, State.PAUSED, State.NEW, State.DONE}),
    State.PAUSED: frozenset({State.NEW, State.DONE}),
    State.DONE: frozenset({State.NEW}),
}
"""Which state may follow which. ``new`` follows when a monitor is resumed, checks something else than before or, once
done, is put again with any change. ``done`` follows ``paused`` when the one run was under way at the pause."""

ASLEEP = frozenset({State.PAUSED, State.DONE})
"""States in which nothing is due."""


def first_put(user_id: str, spec: MonitorSpec, origin: Origin, now: int, begin: int) -> Monitor:
    """A monitor put for the first time at the instant ``now``, due strictly after ``begin``."""
    return Monitor(user_id=user_id, spec=spec, origin=origin, version=1, since=begin, state_since=now)


def put_again(monitor: Monitor, spec: MonitorSpec, origin: Origin, at: int) -> Monitor:
    """The monitor under a spec put again at ``at``; the same value if nothing changes.

    It keeps its state unless it now checks something else (another kind or config): what is known of it is void then.
    One that is done begins anew with any change.
    """
    if spec == monitor.spec:
        return monitor if origin is monitor.origin else msgspec.structs.replace(monitor, origin=origin)
    version = monitor.version + 1
    since = max(at, monitor.since)
    changed = msgspec.structs.replace(monitor, spec=spec, origin=origin, version=version, since=since, streak=0)
    if monitor.state is State.DONE:
        return _enter(changed, State.NEW, at, "it was changed and begins anew")
    same_check = (spec.kind, spec.config) == (monitor.spec.kind, monitor.spec.config)
    if same_check or monitor.state in (State.PAUSED, State.NEW):
        return changed
    return _enter(changed, State.NEW, at, "it checks something else now")


def pause(monitor: Monitor, at: int) -> Monitor:
    """The monitor paused at ``at``; the same value if it is asleep already."""
    return monitor if monitor.state in ASLEEP else _enter(monitor, State.PAUSED, at, "paused by command")


def resume(monitor: Monitor, at: int) -> Monitor:
    """The monitor awake again: due strictly after ``at`` (or after it was put, if that is later).

    The same value if it is not paused.
    """
    if monitor.state is not State.PAUSED:
        return monitor
    return msgspec.structs.replace(_enter(monitor, State.NEW, at, "resumed by command"), since=max(at, monitor.since))


def after_signal(monitor: Monitor, at: int) -> Monitor:
    """The monitor after a heartbeat at ``at``; the same value if a newer one is known."""
    return monitor if at <= monitor.last_signal else msgspec.structs.replace(monitor, last_signal=at)


def after_result(monitor: Monitor, result: Result) -> Monitor:
    """The monitor after a result; the same value if nothing that must be remembered changes.

    A result of another version, one at or before the last that counted, and one from before the monitor was put or
    resumed say nothing of the state; nor does a skipped one, unless the monitor was due only this once.
    """
    if result.version != monitor.version or result.scheduled_at <= max(monitor.judged_at, monitor.since):
        return monitor
    if isinstance(monitor.spec.schedule, At):
        return _done(monitor, result)
    if monitor.state in ASLEEP or result.status is Status.SKIPPED:
        return monitor
    policy = monitor.spec.policy
    match result.status, monitor.state:
        case (Status.SUCCESS, State.NEW):
            return _judged(monitor, State.UP, result)
        case (Status.SUCCESS, State.UP) | (Status.FAILURE, State.DOWN) | (Status.LATE, State.LATE):
            return _judged(monitor, monitor.state, result) if monitor.streak else monitor
        case (Status.SUCCESS, _):
            return _counted(monitor, State.UP, policy.successes_to_up, result)
        case (Status.LATE, _):
            return _judged(monitor, State.LATE, result)
        case _:
            return _counted(monitor, State.DOWN, policy.failures_to_down, result)


def transition_between(before: Monitor, after: Monitor) -> Transition | None:
    """The transition that leads from one value of a monitor to the next, if its state changed."""
    if before.state is after.state:
        return None
    assert after.state in LEGAL[before.state], f"{before.state} to {after.state}"
    return Transition(
        user_id=after.user_id,
        monitor_id=after.monitor_id,
        at=after.state_since,
        from_state=before.state,
        to_state=after.state,
        reason=after.reason,
        version=after.version,
    )


def _counted(monitor: Monitor, state: State, threshold: int, result: Result) -> Monitor:
    """One more result towards ``state``: there at the threshold, else a longer streak."""
    if monitor.streak + 1 >= threshold:
        return _judged(monitor, state, result)
    return msgspec.structs.replace(monitor, streak=monitor.streak + 1, judged_at=result.scheduled_at)


def _judged(monitor: Monitor, state: State, result: Result) -> Monitor:
    """In ``state`` since this result, with no streak."""
    judged = msgspec.structs.replace(monitor, streak=0, judged_at=result.scheduled_at)
    return judged if state is monitor.state else _enter(judged, state, result.scheduled_at, result.reason)


def _done(monitor: Monitor, result: Result) -> Monitor:
    """Over after its one run: a pause that came meanwhile must not let it run once more."""
    if monitor.state is State.DONE:
        return monitor
    how = "" if result.status is Status.SUCCESS else f"{result.status}: "
    judged = msgspec.structs.replace(monitor, judged_at=result.scheduled_at)
    return _enter(judged, State.DONE, result.scheduled_at, (how + result.reason).removesuffix(": "))


def _enter(monitor: Monitor, state: State, at: int, reason: str) -> Monitor:
    return msgspec.structs.replace(monitor, state=state, state_since=at, reason=reason, streak=0)
