"""Users, monitors, schedules and policies as a worker keeps them, frozen. Every instant is whole milliseconds since the
epoch (UTC).

Inputs of users (``Signup``, ``Command``, ``Signal``) are in ``requests``, outputs (``Tick``, ``Result``,
``Transition``) in ``events``. Field by field all of them are the Avro records in ``schemas/``.
"""

from enum import StrEnum
from typing import Any

import msgspec

Scalar = str | int | float | bool | None


class State(StrEnum):
    """State of a monitor."""

    NEW = "new"
    UP = "up"
    DOWN = "down"
    LATE = "late"
    PAUSED = "paused"
    DONE = "done"


ASLEEP = frozenset({State.PAUSED, State.DONE})
"""States in which nothing is due."""


class Status(StrEnum):
    """Status of one run. ``late``: a heartbeat did not come; ``skipped``: not run, under a rule of its policy."""

    SUCCESS = "success"
    FAILURE = "failure"
    LATE = "late"
    SKIPPED = "skipped"


class Misfire(StrEnum):
    """Rule for ticks that could not be emitted within the grace: all run, only the last one, or none."""

    FIRE_ALL = "fire_all"
    FIRE_LAST = "fire_last"
    SKIP = "skip"


class Priority(StrEnum):
    """Priority of a monitor's ticks: each has a topic of its own."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Origin(StrEnum):
    """Origin of a monitor: the user's signup (which may take it away again) or a command."""

    SIGNUP = "signup"
    COMMAND = "command"


class Align(StrEnum):
    """Start of an interval: a stable hash of the monitor's key, 1970 in UTC, or each local midnight."""

    PHASE = "phase"
    EPOCH = "epoch"
    MIDNIGHT = "midnight"


class Every(msgspec.Struct, frozen=True, tag="every", tag_field="type", omit_defaults=True):
    """Due at every instant t with t mod ``interval_ms`` = phase.

    The phase is a stable hash of the monitor's key, or 0 if aligned to the epoch. Aligned to midnight, the interval is
    counted from each midnight of ``timezone`` (empty with any other alignment).
    """

    interval_ms: int
    align: Align = Align.PHASE
    timezone: str = ""


class Cron(msgspec.Struct, frozen=True, tag="cron", tag_field="type", omit_defaults=True):
    """Due when the wall clock of ``timezone`` (an IANA name) matches a cron expression of five fields.

    ``spread_ms`` > 0: each monitor that much later at most, by a stable hash of its key.
    """

    expression: str
    timezone: str = "UTC"
    spread_ms: int = 0


class At(msgspec.Struct, frozen=True, tag="at", tag_field="type", omit_defaults=True):
    """Due once, at the instant ``at``, and over after that one run: a delayed task."""

    at: int


Schedule = Every | Cron | At


class Backoff(StrEnum):
    """Growth of the delay before a retry with the number of the retry."""

    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class Retries(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tick that failed is tried again, ``most`` times at most.

    The delay is ``base_ms`` (times the retry's number, times two for each one before it), at most ``cap_ms``, more or
    less by the share ``jitter`` of it, which is a stable hash of the attempt.
    """

    most: int = 0
    backoff: Backoff = Backoff.EXPONENTIAL
    base_ms: int = 5_000
    cap_ms: int = 300_000
    jitter: float = 0.1


class Overlap(StrEnum):
    """Rule for a tick whose monitor's tick before is still running: skipped, or run beside it."""

    SKIP = "skip"
    ALLOW = "allow"


class Quorum(StrEnum):
    """Share of the regions that answered that must fail for a run to count as failed."""

    ANY = "any"
    MAJORITY = "majority"
    ALL = "all"


class Maintenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """A window in which runs go on and no alert is sent: from ``start`` to ``end``, or ``duration_ms`` from each
    time that ``cron`` matches in ``timezone``.
    """

    start: int = 0
    end: int = 0
    cron: str = ""
    timezone: str = "UTC"
    duration_ms: int = 0


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """Policy of a monitor: how its ticks are run and judged. ``remind_every_ms`` 0: no reminders while it is down.

    ``weight``: the user's share of a busy executor; the plan sets it, users cannot.
    ``regions``: those whose executors run each tick; none: the executors without a region.
    """

    timeout_ms: int = 10_000
    failures_to_down: int = 1
    successes_to_up: int = 1
    misfire: Misfire = Misfire.FIRE_LAST
    misfire_grace_ms: int = 60_000
    priority: Priority = Priority.NORMAL
    retries: Retries = Retries()
    overlap: Overlap = Overlap.SKIP
    remind_every_ms: int = 0
    maintenance: tuple[Maintenance, ...] = ()
    weight: int = 1
    regions: tuple[str, ...] = ()
    quorum: Quorum = Quorum.MAJORITY


class MonitorSpec(msgspec.Struct, frozen=True):
    """Specification of a monitor: the part that only its owner changes.

    ``config`` is the kind's own configuration as canonical JSON text (keys sorted), already checked by the kind.
    ``payload``: JSON text that is handed to the kind at each run; empty for none.
    ``start_at`` and ``end_at``: due in start_at <= t <= end_at only; ``max_runs``: and so often at most; 0 for none.
    ``name``: what people call it; ``labels``: key and value of each, by key, to find it by.
    """

    monitor_id: str
    kind: str
    config: str
    schedule: Schedule
    policy: Policy = Policy()
    payload: str = ""
    start_at: int = 0
    end_at: int = 0
    max_runs: int = 0
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class User(msgspec.Struct, frozen=True):
    """A user as the worker keeps it. ``monitor_ids`` are those that the last signup named."""

    user_id: str
    plan: str
    attributes: dict[str, Scalar]
    monitor_ids: tuple[str, ...]
    registered_at: int
    updated_at: int
    maintenance: tuple[Maintenance, ...] = ()


class RegionOutcome(msgspec.Struct, frozen=True, array_like=True):
    """Outcome of one attempt in one region: who ran it, and what ``Result`` says of it."""

    region: str
    status: Status
    reason: str = ""
    executor: str = ""
    unreached: int = 0


class RegionalRun(msgspec.Struct, frozen=True, array_like=True):
    """One attempt at a tick of a monitor in several regions that is not decided yet.

    ``decide_at``: when it is decided by the regions that have answered until then. ``is_complete``: that all answers
    are known; False if the partition moved to another worker meanwhile.
    """

    scheduled_at: int
    attempt: int
    decide_at: int
    is_complete: bool
    outcomes: tuple[RegionOutcome, ...]
    started_at: int = 0
    duration_ms: float = 0.0
    manual: bool = False


class Agenda(msgspec.Struct, frozen=True, omit_defaults=True):
    """Planned instants of a monitor apart from its schedule; 0 for none.

    ``runs``: how many ticks were due before ``since`` that count towards ``max_runs``.
    ``ends_at``: the last instant at which it is due.
    ``retry_at``: when the tick due at ``retry_of`` is tried again, as attempt ``retry_attempt``.
    ``remind_at``: when to say again that it is down or late. ``resume_at``: when its pause is over.
    ``forget_at``: when a task that is over is dropped from the table.
    ``runs_in_regions``: runs in regions that wait for more answers (``rules.regional_runs``), the oldest first.
    ``maintained_from`` and ``maintained_until``: the maintenance that a command asked for, and ``maintained_why``, for
    people; it stays when it is over, because availability leaves it out.
    """

    runs: int = 0
    ends_at: int = 0
    retry_at: int = 0
    retry_of: int = 0
    retry_attempt: int = 0
    remind_at: int = 0
    resume_at: int = 0
    forget_at: int = 0
    runs_in_regions: tuple[RegionalRun, ...] = ()
    maintained_from: int = 0
    maintained_until: int = 0
    maintained_why: str = ""

    @property
    def maintenance(self) -> tuple[Maintenance, ...]:
        """The maintenance that a command asked for, on or over; empty if there was none."""
        if not self.maintained_until:
            return ()
        return (Maintenance(self.maintained_from, self.maintained_until),)


NOTHING = Agenda()


class JobRun(msgspec.Struct, frozen=True, array_like=True):
    """A run of a job, distinguished by its signals: its id, when it began last and when it ended last; 0 for never."""

    run: str
    started_at: int = 0
    ended_at: int = 0


class SignalState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Signals of a monitor apart from the instant of the newest success or value.

    Of a job: ``started_at``, since when it runs, 0 if it does not; ``failed_at``, when it failed last, 0 if it went
    well since; ``exit_code`` of that failure; ``duration_ms``, how long its last run took, None if unknown.
    Of a metric: the newest ``value``, and as the monitor's config judges it: ``beyond_since``, since when it is on the
    wrong side, 0 if it is not; ``breached``, whether that has lasted long enough.
    ``runs``: those that have ids, see ``kinds.job_runs``. ``counted_from``: since when silence counts although an older
    signal is known, because the monitor was changed or resumed then; 0 if the newest signal says it.
    ``body``: what the job printed last, and ``body_at``, when that was, 0 if it never printed anything.
    """

    started_at: int = 0
    failed_at: int = 0
    exit_code: int | None = None
    duration_ms: float | None = None
    value: float | None = None
    beyond_since: int = 0
    breached: bool = False
    runs: tuple[JobRun, ...] = ()
    counted_from: int = 0
    body: str = ""
    body_at: int = 0


NO_SIGNALS = SignalState()


class Monitor(msgspec.Struct, frozen=True):
    """A monitor and its state as the worker keeps it, one record each.

    ``since``: ticks are due strictly after this instant (when it was put, changed or resumed).
    ``version``: 1 when first put, one more with each change of the spec.
    ``state_since``/``reason``: when and why ``state`` was entered.
    ``streak``: failures (while not down) or successes (while down) in a row, on the way to the policy's threshold.
    ``judged_at``: ``scheduled_at`` of the last result that changed this record; results at or before it are old.
    ``last_signal``: the instant of the newest heartbeat or value, 0 before the first; ``signals``: what else they said.
    ``outcome``: of a monitor that is done, how its last run ended; None of all others, and where no run ended it.
    """

    user_id: str
    spec: MonitorSpec
    origin: Origin
    version: int
    since: int
    state: State = State.NEW
    state_since: int = 0
    reason: str = ""
    streak: int = 0
    judged_at: int = 0
    last_signal: int = 0
    agenda: Agenda = NOTHING
    signals: SignalState = NO_SIGNALS
    outcome: Status | None = None

    @property
    def monitor_id(self) -> str:
        return self.spec.monitor_id

    @property
    def key(self) -> bytes:
        """Its key in the table: what its phase and other stable hashes are taken of."""
        return b"%b\0%b" % (self.user_id.encode(), self.spec.monitor_id.encode())

    @property
    def maintenance(self) -> tuple[Maintenance, ...]:
        """Its own maintenance windows: those of its policy, and the one that a command asked for."""
        return self.spec.policy.maintenance + self.agenda.maintenance


Json = dict[str, Any]
