"""Correlation: when many monitors of many users fail at one target, operators get one alert of the target. Pure.

A target has a few numbers and its newest failures, however many monitors fail: one value for each target at which any
monitor fails now.
"""

from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from everwatch.notifier.alerts import Alert, AlertKind, Severity, derived_id
from everwatch.notifier.incidents import Incident
from everwatch.schedule.duration import MINUTE_MS

PACED_AFTER_MS = 10 * MINUTE_MS
"""Recoveries come in crowds, too: users' messages are paced this long after the incident of a target has closed."""


class Correlation(msgspec.Struct, frozen=True):
    """Rules of when failures at one target are an incident of the target.

    At least ``monitors`` monitors of ``users`` users fail within ``within_ms``; ``monitors`` 0: never. ``per_s``: how
    many messages about it one server gets for users each second.
    """

    monitors: int = 20
    users: int = 5
    within_ms: int = MINUTE_MS
    per_s: int = 50


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """A monitor that failed at a target, as an executor found."""

    at: int
    user_id: str
    monitor_id: str
    executor: str = ""


class TargetIncident(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of a target, with its incident if one is open.

    ``failing``: monitors that fail there now; ``before``: of these, how many failed before the incident began;
    ``most``: the most that failed at once meanwhile. ``recent``: the newest failures, while no incident is open.
    ``incident_id``: "" while none is open; what follows is then of the last one. ``since``: monitors that fail since
    then belong to it. ``opened_at``, ``closed_at``: ms. ``routes``: routes of operators that were told of it.
    ``executors``: who found the failures that opened it.
    """

    target: str
    failing: int = 0
    before: int = 0
    most: int = 0
    recent: tuple[Failure, ...] = ()
    incident_id: str = ""
    since: int = 0
    opened_at: int = 0
    closed_at: int = 0
    routes: tuple[str, ...] = ()
    executors: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Tell whether an incident of the target is open."""
        return bool(self.incident_id)

    def has(self, opened_at: int) -> bool:
        """Tell whether a monitor of this target that failed at ``opened_at`` belongs to the open incident."""
        return self.is_open and opened_at >= self.since

    def had(self, opened_at: int) -> bool:
        """Tell whether a monitor of this target that failed at ``opened_at`` belongs to the one that closed last."""
        return not self.is_open and self.closed_at > 0 and self.since <= opened_at <= self.closed_at

    def paces(self, now: int) -> bool:
        """Tell whether users' messages about this target are paced."""
        return self.is_open or (self.closed_at > 0 and now - self.closed_at < PACED_AFTER_MS)


class Ended(NamedTuple):
    """A target after one of its monitors stopped failing; ``closed``: its incident, if that is over now."""

    target: TargetIncident
    closed: TargetIncident | None


def after_failure(known: TargetIncident, failure: Failure, rules: Correlation) -> TargetIncident:
    """Return the target after one more monitor fails there; an incident is open afterwards if it was one too many."""
    failing = known.failing + 1
    if known.is_open:
        return replace(known, failing=failing, most=max(known.most, failing - known.before))
    if not rules.monitors:
        return replace(known, failing=failing)
    recent = _recent(known.recent, failure, rules)
    if len(recent) < rules.monitors or len({each.user_id for each in recent}) < rules.users:
        return replace(known, failing=failing, recent=recent)
    return replace(
        known,
        failing=failing,
        before=max(0, failing - len(recent)),
        most=len(recent),
        recent=(),
        incident_id=derived_id("target", known.target, failure.at),
        since=failure.at - rules.within_ms,
        opened_at=failure.at,
        routes=(),
        executors=tuple(sorted({each.executor for each in recent})),
    )


def after_end(known: TargetIncident, at: int, rules: Correlation) -> Ended:
    """Return the target after one of its monitors recovered, was paused or deleted, at ``at``.

    The incident is over when a twentieth of its monitors is left, or fewer than half as many as open one.
    """
    left = replace(known, failing=max(0, known.failing - 1), before=min(known.before, max(0, known.failing - 1)))
    if not known.is_open or left.failing - left.before > max(rules.monitors // 2, known.most // 20):
        return Ended(left, None)
    over = replace(left, incident_id="", closed_at=at, before=0, most=0)
    return Ended(over, replace(left, closed_at=at))


def alert_of(known: TargetIncident, kind: AlertKind, at: int) -> Alert:
    """Return the alert to operators about the incident of a target."""
    return Alert(
        kind=kind,
        incident_id=known.incident_id,
        user_id="",
        monitor_id="",
        state="up" if kind is AlertKind.CLOSED else "down",
        at=at,
        opened_at=known.opened_at,
        severity=Severity.CRITICAL,
        target=known.target,
        subject=f"target {known.target}",
        monitors=max(0, known.failing - known.before) if kind is not AlertKind.CLOSED else known.most,
    )


def is_counted(incident: Incident) -> bool:
    """Tell whether a monitor's incident counts as a failure at its target."""
    return incident.told and bool(incident.target)


def _recent(recent: tuple[Failure, ...], failure: Failure, rules: Correlation) -> tuple[Failure, ...]:
    """The failures that may still make an incident: each monitor once, and of each user as many as it takes."""
    if recent and failure.at <= recent[-1].at - rules.within_ms:
        # its partition is read late
        return recent
    kept = [
        each
        for each in recent
        if each.at > failure.at - rules.within_ms
        and (each.user_id, each.monitor_id) != (failure.user_id, failure.monitor_id)
    ]
    of_user = [each for each in kept if each.user_id == failure.user_id]
    if len(of_user) >= rules.monitors:
        kept.remove(of_user[0])
    return (*kept, failure)
