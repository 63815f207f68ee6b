"""Explanation of a monitor's state and of what happens next, from the facts of database and broker. Pure."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import msgspec

from everwatch.kafka.process_figures import GroupMembers
from everwatch.model import (
    ASLEEP,
    Agenda,
    At,
    Monitor,
    Origin,
    Policy,
    Result,
    Schedule,
    State,
    Status,
    Transition,
    User,
)
from everwatch.rules.lifecycle import latest_ms, maintained_until
from everwatch.schedule.cron import zone_named
from everwatch.schedule.due import last_due, next_due, upcoming
from everwatch.schedule.duration import MINUTE_MS
from everwatch.store.stored_values import StoredResult

MOST_SHOWN = 5
UNANSWERED_MS = MINUTE_MS
"""How much longer than its timeout a tick may be without a result."""
RECENT_MS = MINUTE_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MonitorFacts(msgspec.Struct, frozen=True):
    """Facts about a monitor from database, broker and kinds.

    ``user`` and ``partition`` are None if the user is not known (yet). ``results`` and ``transitions``: its newest, the
    latest first; more results than are shown, as manual ones are no ticks. ``stored_at``: when the newest
    result of any monitor was stored, 0 if there is none. ``owners``: None if no broker answered. ``inline``: workers
    judge its kind themselves.
    """

    monitor: Monitor
    user: User | None
    partition: int | None
    results: tuple[StoredResult, ...]
    transitions: tuple[Transition, ...]
    stored_at: int
    owners: GroupMembers | None
    inline: bool


class ExplainedRun(msgspec.Struct, frozen=True):
    """An instant at which a monitor is due: in ms, in UTC, and by the wall clock of its schedule (both ISO 8601)."""

    at: int
    utc: str
    local: str


class Silence(msgspec.Struct, frozen=True):
    """Ticks were due and have no result.

    ``since``: the last tick that has one, or when the monitor was put, changed or resumed. ``due_at``: the first tick
    that has none. ``cause``: what is the matter, as far as that can be told.
    """

    since: int
    due_at: int
    cause: str


class LastRun(msgspec.Struct, frozen=True):
    """The newest run of a monitor that its schedule asked for, which its state rests on.

    Instants and durations in ms. ``age_ms``: since it began. ``late_ms``: from ``due_at`` until it began.
    ``skipped_since``: later due instants whose ticks were skipped, ``skip_reason``: why the last of them was.
    ``is_stale``: the state tells of another time than it seems: the run began so late that the next one was due or the
    grace was over, or everything that was due in the length of a grace since was skipped.
    """

    due_at: int
    began_at: int
    age_ms: int
    late_ms: int
    skipped_since: int
    skip_reason: str
    is_stale: bool


class RegionState(msgspec.Struct, frozen=True):
    """The last outcome in one region of a monitor: the instant of the tick, ms; 0 and empty if it has not answered."""

    region: str
    status: str = ""
    scheduled_at: int = 0
    reason: str = ""
    executor: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """A monitor explained. Instants in ms, 0 for none.

    ``since``: ticks are due strictly after it. ``policy``: where it differs from the default, as in ``model.Policy``.
    ``inline``: a worker judges it, so ``owners`` names no executor.
    ``maintenance_until``: the end of the maintenance that is on now. ``agenda``: a retry that is pending, a reminder,
    the end of a pause, the last instant at which it is due. ``outcome``: of one that is done, how its last run ended.
    ``regions``: what each of its regions found last.
    """

    user_id: str
    monitor_id: str
    state: State
    state_since: int
    reason: str
    kind: str
    version: int
    origin: Origin
    since: int
    schedule: Schedule
    policy: dict[str, Any]
    maintenance_until: int
    agenda: Agenda
    next_runs: tuple[ExplainedRun, ...]
    results: tuple[Result, ...]
    transitions: tuple[Transition, ...]
    silence: Silence | None
    last_run: LastRun | None
    partition: int | None
    inline: bool
    owners: GroupMembers | None
    outcome: Status | None = None
    regions: tuple[RegionState, ...] = ()


def explain(known: MonitorFacts, now: int) -> Explanation:
    """A monitor as it stands at ``now``."""
    monitor, spec = known.monitor, known.monitor.spec
    zone = _zone_of(spec.schedule)
    return Explanation(
        user_id=monitor.user_id,
        monitor_id=monitor.monitor_id,
        state=monitor.state,
        state_since=monitor.state_since,
        reason=monitor.reason,
        kind=spec.kind,
        version=monitor.version,
        origin=monitor.origin,
        since=monitor.since,
        schedule=spec.schedule,
        policy=_policy_differences(spec.policy),
        maintenance_until=maintained_until(monitor, known.user, now),
        agenda=monitor.agenda,
        next_runs=tuple(_run(instant, zone) for instant in upcoming(monitor, now, MOST_SHOWN)),
        results=tuple(stored.result for stored in known.results[:MOST_SHOWN]),
        transitions=known.transitions[:MOST_SHOWN],
        silence=_silence(known, now),
        last_run=_last_run(known, now),
        partition=known.partition,
        inline=known.inline,
        owners=_without_executors(known.owners) if known.inline else known.owners,
        outcome=monitor.outcome,
        regions=tuple(_region_state(known, region) for region in spec.policy.regions),
    )


def _policy_differences(policy: Policy) -> dict[str, Any]:
    """The fields of a policy that differ from the default, by value: a stored default is equal, not identical."""
    said: dict[str, Any] = msgspec.to_builtins(policy)
    return {name: value for name, value in said.items() if value not in ({}, [])}


def _region_state(known: MonitorFacts, region: str) -> RegionState:
    for result in (stored.result for stored in known.results):
        if result.region == region and result.status is not Status.SKIPPED:
            return RegionState(region, result.status.value, result.scheduled_at, result.reason, result.executor)
    return RegionState(region)


def _without_executors(owners: GroupMembers | None) -> GroupMembers | None:
    return None if owners is None else GroupMembers(worker=owners.worker, executor="", executors=())


def _silence(known: MonitorFacts, now: int) -> Silence | None:
    """Tell whether results have stopped coming although the monitor is due."""
    monitor, agenda = known.monitor, known.monitor.agenda
    schedule, since = monitor.spec.schedule, monitor.since
    if known.inline or monitor.state in ASLEEP:
        return None
    upto = now - monitor.spec.policy.timeout_ms - UNANSWERED_MS
    if agenda.ends_at:
        upto = min(upto, agenda.ends_at)
    last = last_due(schedule, monitor.key, since, upto) if since < upto else None
    answered = max(
        (max(r.result.scheduled_at, r.result.skipped_until) for r in known.results if not r.result.manual), default=0
    )
    if last is None or last <= answered:
        return None
    first = next_due(schedule, monitor.key, since, answered)
    assert first is not None  # the last one at least
    return Silence(since=answered or since, due_at=first, cause=_cause(known, now))


def _last_run(known: MonitorFacts, now: int) -> LastRun | None:
    """Return the newest scheduled run among the results that are known; None if there is none."""
    monitor = known.monitor
    skipped: list[Result] = []
    for result in (stored.result for stored in known.results if not stored.result.manual):
        if result.status is Status.SKIPPED:
            skipped.append(result)
            continue
        # a retry is late by intention
        late_ms = max(0, result.started_at - result.scheduled_at) if result.attempt == 1 else 0
        most_ms = latest_ms(monitor.spec)
        passed_ms = max((max(r.scheduled_at, r.skipped_until) for r in skipped), default=0) - result.scheduled_at
        judged = not known.inline and monitor.state not in ASLEEP
        return LastRun(
            due_at=result.scheduled_at,
            began_at=result.started_at,
            age_ms=max(0, now - result.started_at),
            late_ms=late_ms,
            skipped_since=sum(r.skipped_count for r in skipped),
            skip_reason=skipped[0].reason if skipped else "",
            is_stale=judged and (late_ms > most_ms or passed_ms > monitor.spec.policy.misfire_grace_ms),
        )
    return None


def _cause(known: MonitorFacts, now: int) -> str:
    owners = known.owners
    if owners is not None and not owners.worker:
        return "no worker owns its partition, so no ticks go out"
    if owners is not None and not owners.executors:
        return "ticks went out, and no executor is there to run them"
    went_out = "ticks went out" if owners is not None else "ticks went out, if workers run"
    if now - known.stored_at > RECENT_MS:
        return f"{went_out}; executors or the sink are behind or gone: no result of any monitor was stored lately"
    return f"{went_out}; executors are behind or gone: results of other monitors are stored"


def _zone_of(schedule: Schedule) -> tzinfo:
    if isinstance(schedule, At):
        return UTC
    # an interval names a zone only if it is counted from midnight there
    name = schedule.timezone
    return zone_named(name) if name else UTC


def _run(instant_ms: int, zone: tzinfo) -> ExplainedRun:
    at = _EPOCH + timedelta(milliseconds=instant_ms)
    precision = "milliseconds" if instant_ms % 1000 else "seconds"
    utc = at.isoformat(timespec=precision).removesuffix("+00:00") + "Z"
    return ExplainedRun(instant_ms, utc, at.astimezone(zone).isoformat(timespec=precision))
