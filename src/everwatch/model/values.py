"""The values that flow through Everwatch, frozen. Every instant is whole milliseconds since the epoch (UTC).

What users send (``Signup``, ``Command``, ``Signal``) and what a worker keeps (``User``, ``Monitor``) and emits
(``Tick``, ``Result``, ``Transition``). Field by field they are the Avro records in ``schemas/``.
"""

from enum import StrEnum
from typing import Any

import msgspec

from everwatch.core.bounds import (
    Detail,
    ExecutorName,
    Host,
    InstantMs,
    KindName,
    Labels,
    Large,
    LogOffset,
    LongestDuration,
    MonitorKey,
    PartitionNumber,
    Percent,
    PlanName,
    Sentence,
    Small,
    Timeout,
    UserKey,
    Weight,
)

Scalar = str | int | float | bool | None


class State(StrEnum):
    """Where a monitor is in its life."""

    NEW = "new"
    UP = "up"
    DOWN = "down"
    LATE = "late"
    PAUSED = "paused"
    DONE = "done"


ASLEEP = frozenset({State.PAUSED, State.DONE})
"""States in which nothing is due."""


class Status(StrEnum):
    """How one tick ended. ``late``: a heartbeat did not come; ``skipped``: not run, under a rule of its policy."""

    SUCCESS = "success"
    FAILURE = "failure"
    LATE = "late"
    SKIPPED = "skipped"


class Misfire(StrEnum):
    """What becomes of ticks that could not be emitted within the grace: all run, only the last one, or none."""

    FIRE_ALL = "fire_all"
    FIRE_LAST = "fire_last"
    SKIP = "skip"


class Priority(StrEnum):
    """Which ticks topic a monitor's ticks travel on."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Origin(StrEnum):
    """Who put a monitor: the user's signup (which may take it away again) or a command."""

    SIGNUP = "signup"
    COMMAND = "command"


class Align(StrEnum):
    """Where an interval is counted from: a stable hash of the monitor's key, 1970 in UTC, or each local midnight."""

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
    """How the delay before a retry grows with the number of the retry."""

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
    """What becomes of a tick whose monitor's tick before is still running: skipped, or run beside it."""

    SKIP = "skip"
    ALLOW = "allow"


class Maintenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """A window in which runs go on and nobody is alerted: from ``start`` to ``end``, or ``duration_ms`` from each
    time that ``cron`` matches in ``timezone``."""

    start: int = 0
    end: int = 0
    cron: str = ""
    timezone: str = "UTC"
    duration_ms: int = 0


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a monitor's ticks are run and judged. ``remind_every_ms`` 0: nobody is reminded of what is still down.

    ``weight``: the user's share of a busy executor; the plan sets it, users cannot.
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


class MonitorSpec(msgspec.Struct, frozen=True):
    """What a monitor is meant to do: the part that only its owner changes.

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


class ReplyOn(StrEnum):
    """Which outcomes of an input with an id are answered on ``replies``: each one, or refusals only."""

    EVERY_OUTCOME = "always"
    REFUSAL = "refused"


class Signup(msgspec.Struct, frozen=True):
    """A user registers, or changes what is registered: the monitors named here replace those of the last signup.

    ``signup_id``: its outcome is answered on ``replies``. It is not remembered: a signup states the whole registration,
    so the same one again is answered ``unchanged``.
    """

    user_id: str
    plan: str = "default"
    attributes: dict[str, Scalar] = {}
    monitors: tuple[MonitorSpec, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    signup_id: str = ""
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME


class CommandType(StrEnum):
    """What a command asks for.

    ``cancel`` ends one pending delayed task (or, without ``monitor_id``, all of a user's); ``maintain`` gives a user
    maintenance windows in place of those there were; ``deregister`` ends a user and all its monitors, ``purge`` does
    too and forgets which commands the user had, so it may come again and needs no user; ``pause_user``
    pauses all monitors that a user has, and ``resume_user`` resumes what that paused; ``set_user`` changes the plan or
    single attributes; ``reencrypt_user`` encrypts the secrets of all of a user's monitors with the newest key.
    """

    PUT = "put"
    DELETE = "delete"
    PAUSE = "pause"
    RESUME = "resume"
    RUN_NOW = "run_now"
    CANCEL = "cancel"
    MAINTAIN = "maintain"
    DEREGISTER = "deregister"
    PAUSE_USER = "pause_user"
    RESUME_USER = "resume_user"
    SET_USER = "set_user"
    REENCRYPT_USER = "reencrypt_user"
    PURGE = "purge"


class Command(msgspec.Struct, frozen=True):
    """A change of one monitor, or of a user.

    ``command_id``: a command that comes again with it is carried out once; what became of it is told on ``replies``.
    ``if_version``: a put is refused unless the monitor is at this version (0: unless there is none).
    ``until``: when a pause is over, 0 for open-ended. ``plan`` (None: it stays), ``attributes`` and
    ``remove_attributes``: what ``set_user`` changes.
    """

    command: CommandType
    user_id: str
    monitor_id: str = ""
    monitor: MonitorSpec | None = None
    command_id: str = ""
    if_version: int | None = None
    until: int = 0
    maintenance: tuple[Maintenance, ...] = ()
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME
    plan: str | None = None
    attributes: dict[str, Scalar] = {}
    remove_attributes: tuple[str, ...] = ()


AskedKey = tuple[str, str, str, str]
"""What finds the input that a reply answers: user_id, command_id, signup_id, signal_id."""


class CommandOutcome(StrEnum):
    """The outcome of an input that has an id.

    ``done``: a command was carried out, a signal changed its monitor. ``registered`` and ``updated``: a signup made a
    user, or changed one. ``unchanged``: no change was needed. ``repeated``: a command with this id was carried out
    before. ``refused``: nothing was changed.
    """

    DONE = "done"
    UNCHANGED = "unchanged"
    REPEATED = "repeated"
    REFUSED = "refused"
    REGISTERED = "registered"
    UPDATED = "updated"


class Reply(msgspec.Struct, frozen=True):
    """The answer to a command, signup or signal that has an id; the ids of the other two are empty.

    ``command``: the command, or ``signup`` or ``signal``. ``version`` is the monitor's after it, 0 where there is none.
    ``reason``, ``path`` and ``code`` (see RefusalCode) say why it was refused; ``at`` when it was answered.
    ``partition`` and ``offset``: the changelog's record with which all that it says is true; -1 where that does not
    matter, as of an input that is wrong in itself. Whoever has read the changelog up to it reads what was written.
    """

    command_id: str
    user_id: str
    monitor_id: str
    command: str
    answer: CommandOutcome
    reason: str
    path: str
    version: Small
    at: InstantMs
    code: str = ""
    signup_id: str = ""
    signal_id: str = ""
    partition: PartitionNumber = -1
    offset: LogOffset = -1

    @property
    def key(self) -> AskedKey:
        """What the input that it answers has the same of."""
        return self.user_id, self.command_id, self.signup_id, self.signal_id


class SignalType(StrEnum):
    """What a job says of its run: that it has begun, went well, or failed."""

    SUCCESS = "success"
    START = "start"
    FAIL = "fail"


class Signal(msgspec.Struct, frozen=True):
    """What a user's own job says of itself, or a value that it measured. ``at`` 0 means the record's timestamp.

    ``exit_code``: of a job that failed; never 0. ``duration_ms``: how long it ran, None for what its start says.
    ``signal_id``: its outcome is answered on ``replies``. It is not remembered: the same signal of the same instant
    again is answered ``unchanged``.
    ``run``: which run it is about, where several may be under way at once; empty if the job does not say.
    """

    user_id: str
    monitor_id: str
    at: int = 0
    type: SignalType = SignalType.SUCCESS
    exit_code: int | None = None
    duration_ms: float | None = None
    value: float | None = None
    signal_id: str = ""
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME
    run: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it says no more than that the job is alive and well."""
        return self.type is SignalType.SUCCESS and self.duration_ms is None and self.value is None and not self.run


class Asker(msgspec.Struct, frozen=True):
    """As much of an input as an answer to its sender takes: what was asked for, of which monitor, under which id."""

    command: str
    user_id: str
    monitor_id: str = ""
    command_id: str = ""
    signup_id: str = ""
    signal_id: str = ""
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME

    @classmethod
    def of(cls, asked: Signup | Command | Signal) -> "Asker":
        """Return the asker of an input that was decoded."""
        match asked:
            case Signup():
                return cls("signup", asked.user_id, signup_id=asked.signup_id, reply=asked.reply)
            case Command():
                return cls(asked.command.value, asked.user_id, asked.monitor_id, asked.command_id, reply=asked.reply)
            case _:
                return cls("signal", asked.user_id, asked.monitor_id, signal_id=asked.signal_id, reply=asked.reply)

    def wants(self, answer: CommandOutcome) -> bool:
        """Return whether this outcome is to be answered."""
        has_id = bool(self.command_id or self.signup_id or self.signal_id)
        return has_id and (self.reply is ReplyOn.EVERY_OUTCOME or answer is CommandOutcome.REFUSED)

    @property
    def key(self) -> AskedKey:
        """What its reply has the same of."""
        return self.user_id, self.command_id, self.signup_id, self.signal_id


class User(msgspec.Struct, frozen=True):
    """A user as the worker keeps it. ``monitor_ids`` are those that the last signup named."""

    user_id: str
    plan: str
    attributes: dict[str, Scalar]
    monitor_ids: tuple[str, ...]
    registered_at: int
    updated_at: int
    maintenance: tuple[Maintenance, ...] = ()


class Agenda(msgspec.Struct, frozen=True, omit_defaults=True):
    """What else is to happen to a monitor, apart from its schedule; 0 for nothing.

    ``runs``: how many ticks were due before ``since`` that count towards ``max_runs``.
    ``ends_at``: the last instant at which it is due.
    ``retry_at``: when the tick due at ``retry_of`` is tried again, as attempt ``retry_attempt``.
    ``remind_at``: when to say again that it is down or late. ``resume_at``: when its pause is over.
    ``forget_at``: when a task that is over is dropped from the table.
    """

    runs: int = 0
    ends_at: int = 0
    retry_at: int = 0
    retry_of: int = 0
    retry_attempt: int = 0
    remind_at: int = 0
    resume_at: int = 0
    forget_at: int = 0


NOTHING = Agenda()


class JobRun(msgspec.Struct, frozen=True, array_like=True):
    """A run of a job that its signals tell apart: its id, when it began last and when it ended last; 0 for never."""

    run: str
    started_at: int = 0
    ended_at: int = 0


class SignalState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a monitor's signals apart from the instant of the newest success or value.

    Of a job: ``started_at``, since when it runs, 0 if it does not; ``failed_at``, when it failed last, 0 if it went
    well since; ``exit_code`` of that failure; ``duration_ms``, how long its last run took, None if unknown.
    Of a metric: the newest ``value``, and as the monitor's config judges it: ``beyond_since``, since when it is on the
    wrong side, 0 if it is not; ``breached``, whether that has lasted long enough.
    ``runs``: those that have ids, see ``kinds.job_runs``. ``counted_from``: since when silence counts although an older
    signal is known, because the monitor was changed or resumed then; 0 if the newest signal says it.
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


NO_SIGNALS = SignalState()


class Monitor(msgspec.Struct, frozen=True):
    """A monitor and its state as the worker keeps it, one record each.

    ``since``: ticks are due strictly after this instant (when it was put, changed or resumed).
    ``version``: 1 when first put, one more with each change of the spec.
    ``state_since``/``reason``: when and why ``state`` was entered.
    ``streak``: failures (while not down) or successes (while down) in a row, on the way to the policy's threshold.
    ``judged_at``: ``scheduled_at`` of the last result that changed this record; results at or before it are old.
    ``last_signal``: the instant of the newest heartbeat or value, 0 before the first; ``signals``: what else they said.
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

    @property
    def monitor_id(self) -> str:
        return self.spec.monitor_id

    @property
    def key(self) -> bytes:
        """Its key in the table: what its phase and other stable hashes are taken of."""
        return b"%b\0%b" % (self.user_id.encode(), self.spec.monitor_id.encode())


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
        """Whether it is the first attempt at a due instant of the schedule, so that its timestamp tells its age."""
        return self.attempt == 1 and not self.manual


class Outcome(msgspec.Struct, frozen=True):
    """What a kind found out: a status, a sentence for a person, and the time each phase took, in ms.

    ``detail``: more about a failure, of any number of lines; "" where there is nothing to show.
    ``waited_ms``: for how long it waited for its turn before it began, which is delay and no part of its duration.
    """

    status: Status
    reason: str = ""
    timings: dict[str, float] = {}
    detail: str = ""
    waited_ms: float = 0.0


class Result(msgspec.Struct, frozen=True):
    """The outcome of one attempt at one tick. Identity: user_id, monitor_id, scheduled_at, attempt.

    With status ``skipped`` it stands for ``skipped_count`` ticks, due from ``scheduled_at`` to ``skipped_until``.
    ``unreached``: if the target was not reached, the percentage of the targets of the last minute that its executor did
    not reach; 0 if there were fewer than 50, and for a target that was reached.
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


INLINE_EXECUTOR = "everwatch-timer"
"""The ``executor`` of results that the worker found out itself."""


class Transition(msgspec.Struct, frozen=True):
    """A change of a monitor's state. Identity: user_id, monitor_id, at, to_state.

    ``alert``: a person is to be told (``lifecycle.is_alarm``, and no maintenance window was on). ``reminder``: nothing
    has changed, it is still down or late (then both states are the same). ``kind``, ``target`` (the host that is
    checked), ``plan`` and ``labels`` are the monitor's and its user's at that time; ``lasted_ms``: how long
    ``from_state`` had lasted. ``executor`` and ``unreached`` are those of the result that caused it, if one did. What
    versions before did not say is empty or 0.
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


Json = dict[str, Any]
