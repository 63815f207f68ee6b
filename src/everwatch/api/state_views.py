"""Answers about a monitor's past, refused records and the system itself, as types.

Every instant is ms since 1970 (UTC).
"""

from typing import Any

import msgspec

from everwatch.api.problems import InvalidField
from everwatch.api.views import Instant
from everwatch.encoding.input_models import MonitorInput
from everwatch.kafka.process_figures import GroupMembers, PartitionLag, TopicLag
from everwatch.model import Agenda, Origin, Quorum, Result, State, Status, Transition
from everwatch.operations.explanation import ExplainedRun, LastRun, RegionState, Silence


class BarView(msgspec.Struct, frozen=True):
    """A part of time: for how many ms the monitor was in which state, and its availability (0 to 1; null: unknown)."""

    begin: Instant
    end: Instant
    state: State | None
    by_state: dict[State, int]
    maintenance_ms: int
    availability: float | None


class TimelineView(msgspec.Struct, frozen=True):
    """The whole interval, and the parts of it."""

    whole: BarView
    bars: list[BarView]


class MonitorStates(msgspec.Struct, frozen=True):
    """The gravest state of a monitor in each part of time (null: not known, or maintenance), and its availability.

    ``certificate_ends_at``: when the certificate ends that the last run saw; null where none was looked at.
    """

    user_id: str
    monitor_id: str
    availability: float | None
    states: list[State | None]
    certificate_ends_at: int | None = None


class TimelinesView(msgspec.Struct, frozen=True):
    """States of several monitors between ``begin`` and ``end``, in parts of equal length."""

    begin: Instant
    end: Instant
    items: list[MonitorStates]


class LatencyPart(msgspec.Struct, frozen=True):
    """An hour or a day of a monitor: what its ticks came to, and durations in ms (within 2 %; null: nothing ran)."""

    at: Instant
    length_ms: int
    successes: int
    failures: int
    lates: int
    skips: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class LatencyView(msgspec.Struct, frozen=True):
    """The parts of an interval, the earliest first; those without results are left out."""

    step: str
    items: list[LatencyPart]


class LetterView(msgspec.Struct, frozen=True):
    """A dead letter. ``letter``: PARTITION/OFFSET on its topic. ``path``: of the field that was wrong.

    ``value``: a document, or the text, without secrets; null: there was none. ``problem``: why it could not be decoded.
    ``cut``: what of it is not whole.
    """

    letter: str
    refused_at: Instant
    refused_by: str
    reason: str
    path: str
    code: str
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    source_timestamp: int | None
    key: str
    encoding: str
    problem: str
    value: Any
    value_base64: str | None
    cut: list[str]
    redriven_at: int | None
    redriven_to: str | None


class LetterCountView(msgspec.Struct, frozen=True):
    """Number of letters with one kind of reason, quoted texts and numbers left out."""

    source: str
    code: str
    reason: str
    count: int
    newest: Instant


class LettersView(msgspec.Struct, frozen=True):
    """A page of dead letters, the latest first, and on the first page how many there are of each kind of reason.

    Those of the interval are counted, of one without a begin those of the last 7 days: since ``counted_since``.
    ``truncated``: there is a next page. Totals as of any page: of all that the list has, whenever it was refused.
    """

    items: list[LetterView]
    next: str | None
    truncated: bool
    counted_since: Instant
    counts: list[LetterCountView]
    total: int | None = None
    total_at_least: bool = False


class FindingView(msgspec.Struct, frozen=True):
    """One check: its finding, and the remedy if that is a fault."""

    name: str
    ok: bool
    says: str
    remedy: str


class DiagnosisView(msgspec.Struct, frozen=True):
    """The checks of an instant (ms). ``running``: newer ones are under way; ``at`` 0: they are the first."""

    at: Instant
    running: bool
    findings: list[FindingView]


class LagView(msgspec.Struct, frozen=True):
    """The lag of each topic and group, at an instant (ms)."""

    at: int
    items: list[TopicLag]


class PartitionsView(msgspec.Struct, frozen=True):
    """The lag of each partition, at an instant (ms)."""

    at: int
    items: list[PartitionLag]


class WorkerView(msgspec.Struct, frozen=True):
    """A process: its kind, its client id and host, and how many partitions of topics it owns."""

    process: str
    client_id: str
    host: str
    partitions: int


class WorkersView(msgspec.Struct, frozen=True):
    """All workers, executors and sinks, at an instant (ms)."""

    at: int
    items: list[WorkerView]


class CountView(msgspec.Struct, frozen=True):
    """Number of monitors of a state, kind and plan (of the user)."""

    state: str
    kind: str
    plan: str
    monitors: int


class CountsView(msgspec.Struct, frozen=True):
    """Numbers of monitors, and of users by plan; zeros are left out."""

    monitors: list[CountView]
    users: dict[str, int]


class ExplanationView(msgspec.Struct, frozen=True):
    """A monitor explained. Instants in ms, 0 for none.

    ``since``: ticks are due strictly after it. ``policy``: where it differs from the default. ``silence``: ticks were
    due and no result came; the state is that of the last result then. ``last_run``: what the state rests on.
    ``owners``: the processes that look after it, null if that is not known, for the reason ``broker``. ``inline``: a
    worker judges it, so no executor does. ``config``: with secrets redacted. ``regions``: what each region found last.
    """

    user_id: str
    monitor_id: str
    state: State
    state_since: Instant
    reason: str
    kind: str
    version: int
    origin: Origin
    since: Instant
    schedule_text: str
    policy: dict[str, Any]
    maintenance_until: Instant
    agenda: Agenda
    next_runs: tuple[ExplainedRun, ...]
    results: tuple[Result, ...]
    transitions: tuple[Transition, ...]
    silence: Silence | None
    last_run: LastRun | None
    partition: int | None
    inline: bool
    owners: GroupMembers | None
    broker: str
    config: dict[str, Any]
    outcome: Status | None = None
    regions: tuple[RegionState, ...] = ()


class RedrivenView(msgspec.Struct, frozen=True):
    """A dead letter that was chosen. ``source``: TOPIC/PARTITION that it goes back to; null: not known.

    ``to``: TOPIC/PARTITION/OFFSET where its record is now; ``left_out``: why it was not sent back. Both are null where
    it would be sent.
    """

    letter: str
    source: str | None
    to: str | None
    left_out: str | None


class RedriveView(msgspec.Struct, frozen=True):
    """Outcome of each dead letter that was chosen. ``missing``: those named that the topic does not hold.

    ``sent``: how many were sent back, or would be. ``truncated``: more were chosen than one request sends.
    """

    dry_run: bool
    sent: int
    left_out: int
    items: list[RedrivenView]
    missing: list[str]
    truncated: bool


class FacetsView(msgspec.Struct, frozen=True):
    """Numbers of monitors by state, kind and plan, each under what the other filters say.

    ``plans`` is null where a filter takes more than counters. ``complete``: false where there are more than were
    counted, so that the counts are the least there are.
    """

    states: dict[State, int]
    kinds: dict[str, int]
    plans: dict[str, int] | None
    complete: bool


class TrialView(msgspec.Struct, frozen=True):
    """Outcome of a trial of a check; nothing of it is stored. ``executor``: the one that ran it."""

    status: Status
    reason: str
    started_at: Instant
    duration_ms: float
    timings: dict[str, float]
    detail: str
    executor: str


class ValidationView(msgspec.Struct, frozen=True):
    """Verdict on a monitor: would it be admitted, apart from plans and quotas, which the worker checks.

    ``spec``: as it would be stored, secrets redacted; null if it is refused. ``next_runs``: when it would be due, ms;
    of an interval another monitor's phase, so only the distance counts.
    """

    valid: bool
    errors: list[InvalidField]
    spec: MonitorInput | None
    next_runs: list[int]


class PlanView(msgspec.Struct, frozen=True):
    """A plan: what it allows (null: no limit) and the ids of its monitors ("" where the user's attributes make it).

    ``regions``, ``quorum``: of monitors that name no regions.
    """

    plan: str
    max_monitors: int | None
    shortest_interval_ms: int | None
    weight: int
    monitors: list[str]
    required_attributes: list[str]
    regions: tuple[str, ...] = ()
    quorum: Quorum = Quorum.MAJORITY


class PlansView(msgspec.Struct, frozen=True):
    """The plans of this process's file."""

    items: list[PlanView]
