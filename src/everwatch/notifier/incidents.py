"""The incident of a monitor: open, flapping or closed, and which transitions raise alerts. Pure.

The same transition may come more than once (a worker sends it again after a crash, a topic is read anew): one that is
not newer than the last changes nothing.
"""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from everwatch.model import State, Transition
from everwatch.notifier.alerts import URGENCY, Alert, AlertKind, Severity, dated_id
from everwatch.notifier.meaning import Meaning, meaning_of, severity_of
from everwatch.schedule.duration import MINUTE_MS

FLAPPING_CHANGES = 5
FLAPPING_WITHIN_MS = 10 * MINUTE_MS
"""Changes of state within the window, above which a monitor flaps; flapping ends after a window without a change."""


RESOLVED = "resolved"
"""How the reason of an end begins that somebody asked for: the monitor has not changed its state."""


class Phase(StrEnum):
    """Phase of an incident. ``flapping`` lasts until the monitor has kept its state for ten minutes, down or up."""

    OPEN = "open"
    FLAPPING = "flapping"
    CLOSED = "closed"


LEGAL: dict[Phase, frozenset[Phase]] = {
    Phase.OPEN: frozenset({Phase.FLAPPING, Phase.CLOSED}),
    Phase.FLAPPING: frozenset({Phase.OPEN, Phase.CLOSED}),
    Phase.CLOSED: frozenset({Phase.OPEN, Phase.FLAPPING}),
}
"""Which phase may follow which. A monitor begins to flap from a closed incident, too: with the change that is one too
many."""


class Incident(msgspec.Struct, frozen=True):
    """The newest incident of a monitor.

    ``monitor_kind``, ``target`` and ``labels`` are the monitor's when it opened: receivers know it by them.
    ``opened_severity``: its severity then; ``severity``: the most urgent since.
    ``told``: people were told that it began (not within maintenance, and not of what was before the notifier began).
    ``state``: of the monitor, by the last transition, which was at ``changed_at``. ``reminded_at``: the last reminder.
    ``entered``: the states that were entered at ``changed_at``, mostly one.
    ``changes``: the instants of the last changes between up and down. ``settles_at``: when flapping is over, 0 if it
    is not flapping.
    ``counted``: it counts as a failure at its target. ``executor``: who found that it began. ``part_of``: the incident
    of many monitors that was open then, so that operators were not told of this one (see ``correlating.ITSELF``).
    ``silenced``: its beginning, or that it goes on, was not sent because of a silence.
    """

    user_id: str
    monitor_id: str
    incident_id: str
    phase: Phase
    state: str
    opened_at: int
    changed_at: int
    severity: Severity
    entered: tuple[str, ...] = ()
    opened_severity: Severity = Severity.CRITICAL
    told: bool = False
    reason: str = ""
    monitor_kind: str = ""
    target: str = ""
    labels: dict[str, str] = {}
    reminded_at: int = 0
    changes: tuple[int, ...] = ()
    settles_at: int = 0
    counted: bool = False
    part_of: str = ""
    executor: str = ""
    silenced: bool = False

    @property
    def is_open(self) -> bool:
        """Tell whether the incident is not closed."""
        return self.phase is not Phase.CLOSED


class Step(msgspec.Struct, frozen=True):
    """Effect of a transition: the incident after it, its alerts, and a word on why there is none."""

    incident: Incident | None
    alerts: tuple[Alert, ...] = ()
    verdict: str = "told"


def after_transition(incident: Incident | None, transition: Transition, *, silent: bool = False) -> Step:
    """Return what ``transition`` does to the monitor's incident.

    ``silent``: it is from before the notifier began, so it gives no alert.
    """
    meaning = meaning_of(transition)
    if incident is not None and _is_known(incident, transition):
        return Step(incident, verdict="known")
    if incident is not None and 0 < incident.settles_at <= transition.at:
        settled = after_silence(incident, incident.settles_at)
        step = after_transition(settled.incident, transition, silent=silent)
        return replace(step, alerts=settled.alerts + step.alerts)
    alert = transition.alert and not silent
    match meaning:
        case Meaning.OPENS:
            step = _opened(incident, transition, alert)
        case Meaning.REMINDS:
            step = _reminded(incident, transition, alert)
        case Meaning.CLOSES | Meaning.ENDS:
            step = _closed(incident, transition, meaning)
        case Meaning.FAILS:
            step = _failed(incident, transition, alert)
        case _:
            return Step(incident, verdict="no alert")
    if not step.alerts and silent:
        return replace(step, verdict="before the notifier began")
    return step


def after_silence(incident: Incident, now: int) -> Step:
    """Return the phase of a flapping incident that has kept its state until ``now``."""
    if not 0 < incident.settles_at <= now:
        return Step(incident, verdict="still flapping")
    is_up = incident.state not in (State.DOWN.value, State.LATE.value)
    settled = replace(incident, phase=Phase.CLOSED if is_up else Phase.OPEN, changes=(), settles_at=0)
    kind = AlertKind.SETTLED if is_up else AlertKind.CHANGED
    return Step(settled, (alert_of(settled, kind, incident.settles_at),))


def _is_known(incident: Incident, transition: Transition) -> bool:
    if transition.reminder:
        return transition.at <= incident.reminded_at
    if transition.at == incident.changed_at:
        return transition.to_state.value in incident.entered
    return transition.at < incident.changed_at


def _opened(before: Incident | None, transition: Transition, alert: bool) -> Step:
    if before is not None and before.phase is not Phase.CLOSED:
        # another bad state, or down again while it flaps
        after = _with(before, transition)
        if before.phase is Phase.FLAPPING:
            return _flaps_on(after, transition.at)
        if not alert:
            return Step(after, verdict="suppressed")
        kind = AlertKind.CHANGED if before.told else AlertKind.OPENED
        after = replace(after, told=True, silenced=False)
        return Step(after, (alert_of(after, kind, transition.at),))
    changes = _recent(before.changes if before else (), transition.at)
    severity = severity_of(transition)
    opened = Incident(
        user_id=transition.user_id,
        monitor_id=transition.monitor_id,
        incident_id=dated_id(transition.at, "incident", transition.user_id, transition.monitor_id),
        phase=Phase.OPEN,
        state=transition.to_state.value,
        opened_at=transition.at,
        changed_at=transition.at,
        severity=severity,
        entered=(transition.to_state.value,),
        opened_severity=severity,
        told=alert,
        reason=transition.reason,
        monitor_kind=transition.kind,
        target=transition.target,
        labels=transition.labels,
        executor=transition.executor,
        reminded_at=before.reminded_at if before else 0,
        changes=changes,
    )
    if not alert:
        return Step(opened, verdict="suppressed")
    if len(changes) > FLAPPING_CHANGES:
        return _begins_to_flap(opened, transition.at)
    return Step(opened, (alert_of(opened, AlertKind.OPENED, transition.at),))


def _reminded(before: Incident | None, transition: Transition, alert: bool) -> Step:
    if before is None:
        # the topic no longer has how it began
        return _opened(None, transition, alert)
    after = replace(before, reminded_at=transition.at)
    if before.phase is Phase.CLOSED:
        return Step(after, verdict="no incident is open")
    if before.phase is Phase.FLAPPING:
        return Step(after, verdict="flapping")
    if not alert:
        return Step(after, verdict="suppressed")
    after = replace(after, told=True, silenced=False, reason=transition.reason)
    # a reminder at the end of maintenance is the first alert of it
    kind = AlertKind.REMINDER if before.told else AlertKind.OPENED
    return Step(after, (alert_of(after, kind, transition.at),))


def _closed(before: Incident | None, transition: Transition, meaning: Meaning) -> Step:
    if before is None or before.phase is Phase.CLOSED:
        return Step(before, verdict="no incident is open")
    after = _with(before, transition)
    if before.phase is Phase.FLAPPING:
        if meaning is Meaning.CLOSES:
            return _flaps_on(after, transition.at)
        # its owner has seen to it
        after = replace(after, settles_at=0, changes=())
    if transition.to_state is State.PAUSED and transition.reason.startswith(RESOLVED):
        after = replace(after, state=before.state, changes=before.changes)
    closed = replace(after, phase=Phase.CLOSED)
    if not before.told:
        return Step(closed, verdict="its beginning was not told")
    if meaning is Meaning.CLOSES and len(closed.changes) > FLAPPING_CHANGES:
        return _begins_to_flap(after, transition.at)
    kind = AlertKind.CLOSED if meaning is Meaning.CLOSES else AlertKind.ENDED
    verdict = "told" if meaning is Meaning.CLOSES else "told to receivers that keep incidents"
    return Step(closed, (alert_of(closed, kind, transition.at),), verdict)


def _failed(before: Incident | None, transition: Transition, alert: bool) -> Step:
    opened = _opened(None, transition, alert).incident
    assert opened is not None
    over = replace(opened, phase=Phase.CLOSED, changes=(), settles_at=0)
    alerts: tuple[Alert, ...] = ()
    if before is not None and before.phase is not Phase.CLOSED and before.told:
        alerts = (alert_of(_with(before, transition), AlertKind.ENDED, transition.at),)
    if not alert:
        return Step(over, alerts, "suppressed")
    return Step(over, (*alerts, alert_of(over, AlertKind.FAILED, transition.at)))


def _with(incident: Incident, transition: Transition) -> Incident:
    """The incident with what the newest transition says of its monitor."""
    changed = (incident.state in _BAD) is not (transition.to_state.value in _BAD)
    bad = transition.to_state.value in _BAD
    return replace(
        incident,
        state=transition.to_state.value,
        changed_at=transition.at,
        entered=(*(incident.entered if transition.at == incident.changed_at else ()), transition.to_state.value),
        reason=transition.reason,
        # it never falls: the route that sent the beginning must send the end
        severity=max(incident.severity, severity_of(transition), key=URGENCY.index) if bad else incident.severity,
        changes=_recent(incident.changes, transition.at) if changed else incident.changes,
    )


def _begins_to_flap(incident: Incident, at: int) -> Step:
    flapping = replace(incident, phase=Phase.FLAPPING, settles_at=at + FLAPPING_WITHIN_MS)
    return Step(flapping, (alert_of(flapping, AlertKind.FLAPPING, at),))


def _flaps_on(incident: Incident, at: int) -> Step:
    return Step(replace(incident, settles_at=at + FLAPPING_WITHIN_MS), verdict="flapping")


def _recent(changes: tuple[int, ...], at: int) -> tuple[int, ...]:
    kept = tuple(each for each in changes if each > at - FLAPPING_WITHIN_MS)
    # one more than the threshold is all that is asked for
    return (*kept, at)[-FLAPPING_CHANGES - 1 :]


def alert_of(incident: Incident, kind: AlertKind, at: int) -> Alert:
    """Return an alert on an incident as it is now."""
    return Alert(
        kind=kind,
        incident_id=incident.incident_id,
        user_id=incident.user_id,
        monitor_id=incident.monitor_id,
        state=incident.state,
        at=at,
        opened_at=incident.opened_at,
        severity=incident.severity,
        opened_severity=incident.opened_severity,
        reason=incident.reason,
        monitor_kind=incident.monitor_kind,
        target=incident.target,
        labels=incident.labels,
        executor=incident.executor,
    )


_BAD = frozenset({State.DOWN.value, State.LATE.value})
