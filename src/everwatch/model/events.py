"""Ticks, outcomes, results and transitions: what flows out of a worker and an executor."""

import msgspec

from everwatch.core.bounds import (
    Detail,
    ExecutorName,
    Host,
    InstantMs,
    KindName,
    Labels,
    Large,
    LongestDuration,
    MonitorKey,
    OfRegion,
    Percent,
    PlanName,
    Sentence,
    Small,
    Timeout,
    UserKey,
    Weight,
)
from everwatch.model.values import Misfire, State, Status


class Tick(msgspec.Struct, frozen=True):
    """One due firing, as an executor sees it.

    On the wire the record's value holds only what does not change from one firing to the next; ``user_id`` is the
    record's key, ``scheduled_at`` its timestamp, ``partition`` the one that the signup came on. ``manual``: asked for
    by the command ``run_now``, beside the schedule. ``misfire`` and its grace: for an executor that is behind; a tick
    of a version that did not say them is never skipped for its age.
    """

    user_id: UserKey
    monitor_id: MonitorKey
    scheduled_at: InstantMs
    kind: KindName
    config: str
    timeout_ms: Timeout
    version: Small
    partition: int
    attempt: Small = 1
    may_overlap: bool = False
    manual: bool = False
    payload: str = ""
    misfire: Misfire = Misfire.FIRE_ALL
    misfire_grace_ms: InstantMs = 60_000
    weight: Weight = 1

    @property
    def is_scheduled(self) -> bool:
        """Tell whether it is the first attempt at an instant of the schedule, so that its timestamp gives its age."""
        return self.attempt == 1 and not self.manual


class Outcome(msgspec.Struct, frozen=True):
    """Outcome of a run: a status, a sentence for a person, and times in ms: of each phase, and of what has one left.

    ``detail``: more about a failure, of any number of lines; "" where there is nothing to show.
    ``waited_ms``: for how long it waited for its turn before it began, which is delay and no part of its duration.
    """

    status: Status
    reason: str = ""
    timings: dict[str, float] = {}
    detail: str = ""
    waited_ms: float = 0.0


class Result(msgspec.Struct, frozen=True):
    """The outcome of one attempt at one tick. Identity: user_id, monitor_id, scheduled_at, attempt, region.

    With status ``skipped`` it stands for ``skipped_count`` ticks, due from ``scheduled_at`` to ``skipped_until``.
    ``unreached``: if the target was not reached, the percentage of the targets of the last minute that its executor did
    not reach; 0 if there were fewer than 50, and for a target that was reached.
    ``region``: that of its executor; empty for an executor without one.
    """

    user_id: UserKey
    monitor_id: MonitorKey
    scheduled_at: InstantMs
    kind: KindName
    version: Small
    status: Status
    reason: Sentence
    started_at: InstantMs
    duration_ms: LongestDuration
    attempt: Small = 1
    timings: dict[str, float] = {}
    executor: ExecutorName = ""
    skipped_until: InstantMs = 0
    skipped_count: Large = 0
    manual: bool = False
    detail: Detail = ""
    unreached: Percent = 0
    region: OfRegion = ""


INLINE_EXECUTOR = "everwatch-timer"
"""The ``executor`` of results that the worker found out itself."""


class Transition(msgspec.Struct, frozen=True):
    """A change of a monitor's state. Identity: user_id, monitor_id, at, to_state.

    ``alert``: an alert should be sent (``lifecycle.is_alarm``, outside maintenance windows). ``reminder``: nothing has
    changed, it is still down or late (then both states are the same). ``kind``, ``target`` (the host that is checked),
    ``plan`` and ``labels`` are the monitor's and its user's at that time; ``lasted_ms``: how long ``from_state`` had
    lasted. ``executor``, its ``region`` and ``unreached`` are those of the result that caused it, if one did.
    ``outcome``: of one to ``done``, how the last run ended; None if no run ended it. Fields that versions before did
    not have are empty or 0.
    """

    user_id: UserKey
    monitor_id: MonitorKey
    at: InstantMs
    from_state: State
    to_state: State
    reason: Sentence
    version: Small
    alert: bool = True
    reminder: bool = False
    kind: KindName = ""
    target: Host = ""
    plan: PlanName = ""
    labels: Labels = {}
    lasted_ms: Large = 0
    executor: ExecutorName = ""
    unreached: Percent = 0
    outcome: Status | None = None
    region: OfRegion = ""
