"""States of a monitor and how it gets from one to another. Pure.

A monitor that is up and stays up gives back the very same value: nothing to write. One that is due at a single instant
is over after its run, however that ended.

All in one file: each transition is a few lines, and a reader must see all of them to know that none is missing.
"""

import math

import msgspec

from everwatch.core.bounds import MOST_AHEAD_MS
from everwatch.model import (
    NO_SIGNALS,
    NOTHING,
    Agenda,
    At,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Result,
    SignalState,
    State,
    Status,
    Transition,
    User,
)
from everwatch.schedule.due import NeverDue, count_due, ends_at_of
from everwatch.schedule.duration import describe_duration
from everwatch.schedule.maintenance import maintenance_end
from everwatch.schedule.retry import retry_delay_ms

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

ALARMING = frozenset({State.DOWN, State.LATE})
"""States that people are alerted of, and reminded of."""
_FAILED = frozenset({Status.FAILURE, Status.LATE, Status.SKIPPED})


def is_alarm(from_state: State, to_state: State, outcome: Status | None = None) -> bool:
    """Tell whether a transition is an alert, maintenance apart. ``outcome``: how the last run of one to done ended.

    Of a failure (down, late, a task or last run that failed) and of its end (up, or over after a last run that went
    well). Not of what its owner did (paused, resumed, changed) and not of a first success. A monitor that was down when
    it was paused or changed is new afterwards: its owner has seen to it, so only its next failure is an alarm.
    """
    if to_state in ALARMING or (from_state in ALARMING and to_state in (State.UP, State.DONE)):
        return True
    return to_state is State.DONE and outcome in _FAILED


def is_muted(transition: Transition) -> bool:
    """Tell whether an alarm fell into a maintenance window, which suppresses it."""
    return not transition.alert and is_alarm(transition.from_state, transition.to_state, transition.outcome)


def first_put(user_id: str, spec: MonitorSpec, origin: Origin, now: int, begin: int) -> Monitor:
    """A monitor put for the first time at the instant ``now``, due strictly after ``begin``. Raises NeverDue."""
    since = max(begin, spec.start_at - 1)
    monitor = Monitor(user_id=user_id, spec=spec, origin=origin, version=1, since=since, state_since=now)
    monitor = _counting_from(monitor)
    return monitor if not is_bounded(spec) else _with_end(monitor, 0)


def put_again(monitor: Monitor, spec: MonitorSpec, origin: Origin, at: int) -> Monitor:
    """The monitor under a spec put again at ``at``; the same value if nothing changes. Raises NeverDue.

    It keeps its state unless it now checks something else (another kind or config): what is known of it is void then.
    Its signals are forgotten with another kind, and what its config made of them with another config.
    One that is done begins anew with any change but of name and labels. Its runs are counted on while its schedule
    stays the same.
    """
    old = monitor.agenda
    if spec == monitor.spec:
        if origin is monitor.origin:
            return monitor
        # a monitor that a signup names is not forgotten
        return msgspec.structs.replace(monitor, origin=origin, agenda=_on(old, forget_at=0))
    if spec == msgspec.structs.replace(monitor.spec, name=spec.name, labels=spec.labels):
        # another name or label is nothing that runs, or begins anew
        kept_for = old if origin is monitor.origin else _on(old, forget_at=0)
        return msgspec.structs.replace(monitor, spec=spec, origin=origin, version=monitor.version + 1, agenda=kept_for)
    # where only its old start_at kept it from being due, that counts no more
    begun = 0 if monitor.since == monitor.spec.start_at - 1 else monitor.since
    since = max(at, begun, spec.start_at - 1)
    same_schedule = spec.schedule == monitor.spec.schedule and monitor.state is not State.DONE
    ran_until = min(at, monitor.state_since) if monitor.state is State.PAUSED else at
    runs = runs_until(monitor, ran_until) if same_schedule and spec.max_runs else 0
    kept = NOTHING
    if monitor.state is not State.DONE:
        kept = _on(
            NOTHING,
            resume_at=old.resume_at,
            remind_at=_reminded_under(spec.policy, monitor, at),
            maintained_from=old.maintained_from,
            maintained_until=old.maintained_until,
            maintained_why=old.maintained_why,
        )
    changed = msgspec.structs.replace(
        monitor, spec=spec, origin=origin, version=monitor.version + 1, since=since, streak=0, agenda=kept
    )
    if spec.kind != monitor.spec.kind:
        changed = after_signals(changed, 0, NO_SIGNALS)
    elif spec.config != monitor.spec.config:
        judged_anew = msgspec.structs.replace(monitor.signals, value=None, beyond_since=0, breached=False)
        changed = after_signals(changed, monitor.last_signal, judged_anew)
    changed = _counting_from(changed)
    if is_bounded(spec):
        changed = _with_end(changed, runs)
    if monitor.state is State.DONE:
        return _enter(changed, State.NEW, at, "it was changed and begins anew")
    same_check = (spec.kind, spec.config) == (monitor.spec.kind, monitor.spec.config)
    if same_check or monitor.state in (State.PAUSED, State.NEW):
        return changed
    return _enter(_quiet(changed), State.NEW, at, "it checks something else now")


PAUSED_WITH_USER = "paused with its user"
"""The reason of monitors that a pause of the whole user paused, and that its end resumes."""


PAUSED_BY_COMMAND = "paused by command"


def pause(monitor: Monitor, at: int, until: int = 0, reason: str = PAUSED_BY_COMMAND) -> Monitor:
    """The monitor paused at ``at``, until the instant ``until`` or (0) until it is resumed.

    The same value if it is over, or paused just so already. A retry that was pending is given up.
    """
    asleep = monitor.state is State.PAUSED
    # one that its user's pause paused, and that is to stay so when that is over; or the reason is another one now
    renamed = asleep and reason != monitor.reason and reason != PAUSED_BY_COMMAND
    renamed = renamed or (asleep and monitor.reason == PAUSED_WITH_USER != reason)
    if monitor.state is State.DONE or (asleep and monitor.agenda.resume_at == until and not renamed):
        return monitor
    paused = msgspec.structs.replace(
        monitor,
        agenda=_on(monitor.agenda, retry_at=0, retry_of=0, retry_attempt=0, remind_at=0, resume_at=until),
        reason=reason if renamed else monitor.reason,
    )
    return paused if asleep else _enter(paused, State.PAUSED, at, reason)


def pause_with_user(monitor: Monitor, at: int, until: int = 0) -> Monitor:
    """The monitor paused as one of all of its user; the same value if it was paused by itself before, or is over."""
    if monitor.state is State.PAUSED and monitor.reason != PAUSED_WITH_USER:
        return monitor
    return pause(monitor, at, until, PAUSED_WITH_USER)


def resume_with_user(monitor: Monitor, at: int) -> Monitor:
    """The monitor awake again if the pause of its user paused it; else the same value."""
    return resume(monitor, at, "resumed with its user") if monitor.reason == PAUSED_WITH_USER else monitor


def resume(monitor: Monitor, at: int, reason: str = "resumed by command") -> Monitor:
    """The monitor awake again: due strictly after ``at`` (or after it was put, if that is later).

    The same value if it is not paused. It is over if nothing is due any more.
    """
    if monitor.state is not State.PAUSED:
        return monitor
    spec = monitor.spec
    runs = runs_until(monitor, monitor.state_since) if spec.max_runs else 0
    since = max(at, monitor.since)
    awake = msgspec.structs.replace(
        _enter(monitor, State.NEW, at, reason), since=since, agenda=_on(monitor.agenda, resume_at=0)
    )
    awake = _counting_from(awake)
    if not is_bounded(spec):
        return awake
    try:
        return _with_end(awake, runs)
    except NeverDue as error:
        return _enter(msgspec.structs.replace(awake, agenda=NOTHING), State.DONE, at, str(error))


def maintain(monitor: Monitor, now: int, until: int, reason: str = "") -> Monitor:
    """The monitor in maintenance from ``now``, until the instant ``until``; 0: no longer. Checks still run.

    The same value if it is so already. One that fails when its maintenance is ended is reminded of at once.
    """
    agenda = monitor.agenda
    is_on = agenda.maintained_from <= now < agenda.maintained_until
    if not until and not is_on:
        return monitor
    if is_on and (until, reason) == (agenda.maintained_until, agenda.maintained_why):
        return monitor
    begin = agenda.maintained_from if is_on else now
    why = reason if until else agenda.maintained_why
    planned = _on(agenda, maintained_from=begin, maintained_until=until or now, maintained_why=why)
    maintained = msgspec.structs.replace(monitor, agenda=planned)
    if is_on and monitor.state in ALARMING and agenda.remind_at == agenda.maintained_until:
        return reminded_at(maintained, until or now)
    return maintained


def is_bounded(spec: MonitorSpec) -> bool:
    """Tell whether the owner says when it is to begin or end."""
    return bool(spec.start_at or spec.end_at or spec.max_runs)


def runs_until(monitor: Monitor, at: int) -> int:
    """Return how many of its ticks up to ``at`` count towards ``max_runs``."""
    runs, most = monitor.agenda.runs, monitor.spec.max_runs
    if at <= monitor.since or not most:
        return runs
    upto = min(at, monitor.agenda.ends_at or at)
    return runs + count_due(monitor.spec.schedule, monitor.key, monitor.since, upto, most - runs)


def _with_end(monitor: Monitor, runs: int) -> Monitor:
    """With the last instant at which it is due worked out. Raises NeverDue."""
    ends_at = ends_at_of(monitor.spec, monitor.key, monitor.since, runs)
    return msgspec.structs.replace(monitor, agenda=_on(monitor.agenda, runs=runs, ends_at=ends_at))


def _on(agenda: Agenda, **changes: int | str) -> Agenda:
    changed = msgspec.structs.replace(agenda, **changes)
    return changed if changed != NOTHING else NOTHING


def after_signals(monitor: Monitor, last_signal: int, signals: SignalState) -> Monitor:
    """The monitor with what its signals say; the same value if that is known."""
    if (last_signal, signals) == (monitor.last_signal, monitor.signals):
        return monitor
    known = signals if signals != NO_SIGNALS else NO_SIGNALS
    return msgspec.structs.replace(monitor, last_signal=last_signal, signals=known)


def _counting_from(monitor: Monitor) -> Monitor:
    """The monitor with its silence counted from ``since``, where an older signal is known or may come before it."""
    if not monitor.last_signal and monitor.since != monitor.spec.start_at - 1:
        return monitor
    counted = msgspec.structs.replace(monitor.signals, counted_from=monitor.since)
    return after_signals(monitor, monitor.last_signal, counted)


def after_result(monitor: Monitor, result: Result, earliest: int = 0) -> Monitor:
    """The monitor after a result; the same value if nothing that must be remembered changes.

    A result of another version, one at or before the last that counted, and one from before the monitor was put or
    resumed say nothing of the state; nor does a skipped one, unless the monitor was due only this once. Nor does a run
    by hand after a monitor's last tick, whose own result is to come.
    A failure that may be tried again says nothing yet either: the retry goes on the agenda, not before ``earliest``.
    A run that began late, after the misfire grace or when the next one was due, says so in the reason of the state.
    """
    last = max(result.scheduled_at, result.skipped_until)
    if result.version != monitor.version or last <= max(monitor.judged_at, monitor.since):
        return monitor
    agenda = monitor.agenda
    if last < agenda.retry_of or (result.manual and 0 < agenda.ends_at <= last):
        return monitor  # overtaken by a later tick, or it would overtake the last one
    is_task = isinstance(monitor.spec.schedule, At)
    if is_task and result.manual:
        return monitor  # beside its one run
    if monitor.state is State.DONE or (monitor.state is State.PAUSED and not is_task):
        return monitor
    own_retry = agenda.retry_at > 0 and agenda.retry_of == result.scheduled_at
    if own_retry and result.attempt < agenda.retry_attempt:
        return monitor  # known: its retry is pending
    if agenda.retry_at and not own_retry and result.status is not Status.SKIPPED:
        # the tick before is given up: it failed
        given_up = _counted(
            _without_retry(monitor), State.DOWN, agenda.retry_of, "its last failure was not tried again"
        )
        return after_result(given_up, result, earliest)
    retries = monitor.spec.policy.retries
    if result.status is Status.FAILURE and 0 < result.attempt <= retries.most and monitor.state is not State.PAUSED:
        finished = result.started_at + math.ceil(result.duration_ms)
        if earliest:
            # the end in a result may be any instant: its retry is not counted from far ahead
            finished = min(finished, earliest + MOST_AHEAD_MS)
        delay_ms = retry_delay_ms(retries, monitor.key, result.scheduled_at, result.attempt + 1)
        pending = _on(
            agenda,
            # never before the tick itself, of which a result may come early: clocks differ
            retry_at=max(finished + delay_ms, earliest, result.scheduled_at + 1),
            retry_of=result.scheduled_at,
            retry_attempt=result.attempt + 1,
        )
        return msgspec.structs.replace(monitor, agenda=pending)
    before = _without_retry(monitor) if own_retry else monitor
    if is_task:
        return _done(before, result)
    after = _after_verdict(before, _saying_how_late(before, result), retried=own_retry)
    if agenda.ends_at and last >= agenda.ends_at:
        over = msgspec.structs.replace(after, judged_at=result.scheduled_at, agenda=NOTHING)
        outcome = _last_outcome(after.state, result.status)
        why = f": {after.reason}" if outcome in _FAILED and after.reason else ""
        return _enter(over, State.DONE, result.scheduled_at, f"it ran for the last time{why}", outcome)
    return after


def _last_outcome(state: State, status: Status) -> Status | None:
    """Return the outcome of a monitor that is in ``state`` after its last run: one failure of several is not down."""
    if state in ALARMING:
        return Status.FAILURE if state is State.DOWN else Status.LATE
    return status if status is Status.SUCCESS else None


def latest_ms(spec: MonitorSpec) -> int:
    """Return how late a run may begin and still count for its due instant, ms: grace, or interval if shorter."""
    schedule, grace_ms = spec.schedule, spec.policy.misfire_grace_ms
    return min(grace_ms, schedule.interval_ms) if isinstance(schedule, Every) else grace_ms


def _saying_how_late(monitor: Monitor, result: Result) -> Result:
    """The result; its reason says how late the run began, if that is beyond ``late_limit``."""
    if result.attempt != 1 or result.manual or result.status is Status.SKIPPED:
        return result
    late_ms = result.started_at - result.scheduled_at
    if late_ms <= latest_ms(monitor.spec):
        return result
    note = f"run {describe_duration(late_ms // 1_000 * 1_000)} late"
    return msgspec.structs.replace(result, reason=f"{result.reason} ({note})" if result.reason else note)


def _after_verdict(monitor: Monitor, result: Result, *, retried: bool) -> Monitor:
    status = result.status
    if status is Status.SKIPPED:
        if not retried:
            return monitor
        status = Status.FAILURE  # what failed was to be tried again, and is not
    policy = monitor.spec.policy
    at, reason = result.scheduled_at, result.reason
    match status, monitor.state:
        case (Status.SUCCESS, State.NEW):
            return _judged(monitor, State.UP, at, reason)
        case (Status.SUCCESS, State.UP) | (Status.FAILURE, State.DOWN) | (Status.LATE, State.LATE):
            return _judged(monitor, monitor.state, at, reason) if monitor.streak or retried else monitor
        case (Status.SUCCESS, _):
            return _counted(monitor, State.UP, at, reason, policy.successes_to_up)
        case (Status.LATE, _):
            return _judged(monitor, State.LATE, at, reason)
        case _:
            return _counted(monitor, State.DOWN, at, reason, policy.failures_to_down)


def _without_retry(monitor: Monitor) -> Monitor:
    return msgspec.structs.replace(monitor, agenda=_on(monitor.agenda, retry_at=0, retry_of=0, retry_attempt=0))


def after_agenda(monitor: Monitor, now: int, emitted_to: int) -> tuple[Monitor, Transition | None]:
    """The monitor after its agenda up to ``now``, and the reminder that is due; the same value if nothing.

    ``emitted_to``: up to when ticks are emitted; a monitor whose pause is over is due after that. The caller deletes
    one to be forgotten: see ``is_to_be_forgotten``.
    """
    agenda = monitor.agenda
    if monitor.state is State.PAUSED and 0 < agenda.resume_at <= now:
        return resume(monitor, max(emitted_to, agenda.resume_at), "its pause was over"), None
    if not 0 < agenda.remind_at <= now:
        return monitor, None
    every_ms = monitor.spec.policy.remind_every_ms
    if monitor.state not in ALARMING:
        return reminded_at(monitor, 0), None
    # reminders that were missed become one
    following = agenda.remind_at + ((now - agenda.remind_at) // every_ms + 1) * every_ms if every_ms else 0
    return reminded_at(monitor, following), reminder(monitor, agenda.remind_at)


def reminder(monitor: Monitor, at: int) -> Transition:
    """Return the reminder that a monitor is still down or late; its sender adds target and plan."""
    lasted_ms = max(0, at - monitor.state_since)
    lasting = describe_duration(lasted_ms // 1_000 * 1_000)
    return Transition(
        user_id=monitor.user_id,
        monitor_id=monitor.monitor_id,
        at=at,
        from_state=monitor.state,
        to_state=monitor.state,
        reason=f"still {monitor.state} after {lasting}: {monitor.reason}".removesuffix(": "),
        version=monitor.version,
        reminder=True,
        kind=monitor.spec.kind,
        labels=dict(monitor.spec.labels),
        lasted_ms=lasted_ms,
    )


def is_to_be_forgotten(monitor: Monitor, now: int) -> bool:
    """Tell whether this is a task that was over long enough ago."""
    return monitor.state is State.DONE and 0 < monitor.agenda.forget_at <= now


def with_reminder(before: Monitor, after: Monitor, muted_until: int) -> Monitor:
    """``after`` with the instant at which to say again that it is down or late, if it has just become so.

    ``muted_until``: the end of the maintenance window that the change fell into, 0 if none.
    """
    if after.state is before.state:
        return after
    at = 0
    if after.state in ALARMING:
        every_ms = after.spec.policy.remind_every_ms
        at = muted_until or (after.state_since + every_ms if every_ms else 0)
    return reminded_at(after, at)


def reminded_at(monitor: Monitor, at: int) -> Monitor:
    """With ``at`` as the instant at which to say again that it is down or late; 0 for never."""
    if at == monitor.agenda.remind_at:
        return monitor
    return msgspec.structs.replace(monitor, agenda=_on(monitor.agenda, remind_at=at))


def _reminded_under(policy: Policy, monitor: Monitor, at: int) -> int:
    """Return when to remind of a monitor that is given another policy at ``at``."""
    every_ms = policy.remind_every_ms
    if monitor.state not in ALARMING or every_ms == monitor.spec.policy.remind_every_ms:
        return monitor.agenda.remind_at
    return at + every_ms if every_ms else 0


def forgotten_at(monitor: Monitor, at: int) -> Monitor:
    """With ``at`` as the instant at which it may be dropped, if it is a task that is over.

    Only tasks that commands put: one that a signup names would begin anew when the user signs up once more.
    """
    is_task = isinstance(monitor.spec.schedule, At) and monitor.origin is Origin.COMMAND
    if not is_task or monitor.state is not State.DONE:
        return monitor
    return msgspec.structs.replace(monitor, agenda=_on(monitor.agenda, forget_at=at))


def maintained_until(monitor: Monitor, user: User | None, at: int) -> int:
    """Return the end of the maintenance window of a monitor, or its user, that is open at ``at``; 0 if none is."""
    windows = monitor.maintenance + (user.maintenance if user else ())
    return maintenance_end(windows, at) if windows else 0


def with_transition(
    before: Monitor, after: Monitor, result: Result, user: User | None, forget_at: int
) -> tuple[Monitor, Transition]:
    """The monitor whose state a result has changed, with its new agenda, and the transition.

    ``forget_at``: when a task that is over now may be dropped.
    """
    transition = transition_between(before, after)
    assert transition is not None
    muted_until = maintained_until(before, user, transition.at)
    transition = msgspec.structs.replace(
        transition,
        executor=result.executor,
        unreached=result.unreached,
        region=result.region,
        alert=transition.alert and not muted_until,
    )
    return forgotten_at(with_reminder(before, after, muted_until), forget_at), transition


def transition_between(before: Monitor, after: Monitor) -> Transition | None:
    """The transition that leads from one value of a monitor to the next, if its state changed.

    Its sender adds target and plan, which a monitor's record does not hold.
    """
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
        alert=is_alarm(before.state, after.state, after.outcome),
        kind=after.spec.kind,
        labels=dict(after.spec.labels),
        lasted_ms=max(0, after.state_since - before.state_since),
        outcome=after.outcome,
    )


def _counted(monitor: Monitor, state: State, at: int, reason: str, threshold: int = 0) -> Monitor:
    """One more result towards ``state``: there at the threshold, else a longer streak."""
    if state is monitor.state or monitor.streak + 1 >= (threshold or monitor.spec.policy.failures_to_down):
        return _judged(monitor, state, at, reason)
    return msgspec.structs.replace(monitor, streak=monitor.streak + 1, judged_at=at)


def _judged(monitor: Monitor, state: State, at: int, reason: str) -> Monitor:
    """In ``state`` since the result of the tick due at ``at``, with no streak."""
    judged = msgspec.structs.replace(monitor, streak=0, judged_at=at)
    return judged if state is monitor.state else _enter(judged, state, at, reason)


def _done(monitor: Monitor, result: Result) -> Monitor:
    """Over after its one run: a pause that came meanwhile must not let it run once more."""
    if monitor.state is State.DONE:
        return monitor
    judged = msgspec.structs.replace(monitor, judged_at=result.scheduled_at, agenda=NOTHING)
    return _enter(judged, State.DONE, result.scheduled_at, result.reason, result.status)


def _quiet(monitor: Monitor) -> Monitor:
    return reminded_at(monitor, 0)


def _enter(monitor: Monitor, state: State, at: int, reason: str, outcome: Status | None = None) -> Monitor:
    return msgspec.structs.replace(monitor, state=state, state_since=at, reason=reason, streak=0, outcome=outcome)
