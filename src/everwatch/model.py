"""The values that flow through Everwatch, frozen. Every instant is whole milliseconds since the epoch (UTC).

What users send (``Signup``, ``Command``, ``Signal``) and what a worker keeps (``User``, ``Monitor``) and emits
(``Tick``, ``Result``, ``Transition``). Field by field they are the Avro records in ``schemas/``.
"""

from enum import StrEnum
from typing import Any

import msgspec

Scalar = str | int | float | bool | None


class State(StrEnum):
    """Where a monitor is in its life."""

    NEW = "new"
    UP = "up"
    DOWN = "down"
    LATE = "late"
    PAUSED = "paused"
    DONE = "done"


class Status(StrEnum):
    """How one tick ended. ``late``: a heartbeat did not come; ``skipped``: not run under the misfire rule."""

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


class Every(msgspec.Struct, frozen=True, tag="every", tag_field="type"):
    """Due at every instant t with t mod ``interval_ms`` = phase; the phase is a stable hash of the monitor's key."""

    interval_ms: int


class Cron(msgspec.Struct, frozen=True, tag="cron", tag_field="type"):
    """Due when the wall clock of ``timezone`` (an IANA name) matches a cron expression of five fields."""

    expression: str
    timezone: str = "UTC"


class At(msgspec.Struct, frozen=True, tag="at", tag_field="type"):
    """Due once, at the instant ``at``, and over after that one run: a delayed task."""

    at: int


Schedule = Every | Cron | At


class Policy(msgspec.Struct, frozen=True):
    """How a monitor's ticks are run and judged."""

    timeout_ms: int = 10_000
    failures_to_down: int = 1
    successes_to_up: int = 1
    misfire: Misfire = Misfire.FIRE_LAST
    misfire_grace_ms: int = 60_000
    priority: Priority = Priority.NORMAL


class MonitorSpec(msgspec.Struct, frozen=True):
    """What a monitor is meant to do: the part that only its owner changes.

    ``config`` is the kind's own configuration as canonical JSON text (keys sorted), already checked by the kind.
    """

    monitor_id: str
    kind: str
    config: str
    schedule: Schedule
    policy: Policy = Policy()


class Signup(msgspec.Struct, frozen=True):
    """A user registers, or changes what is registered: the monitors named here replace those of the last signup."""

    user_id: str
    plan: str = "default"
    attributes: dict[str, Scalar] = {}
    monitors: tuple[MonitorSpec, ...] = ()


class CommandType(StrEnum):
    """What a command asks for."""

    PUT = "put"
    DELETE = "delete"
    PAUSE = "pause"
    RESUME = "resume"
    DEREGISTER = "deregister"


class Command(msgspec.Struct, frozen=True):
    """A change of one monitor (``monitor_id``) or, with ``deregister``, the end of a user and all its monitors."""

    command: CommandType
    user_id: str
    monitor_id: str = ""
    monitor: MonitorSpec | None = None


class Signal(msgspec.Struct, frozen=True):
    """A sign of life for a heartbeat monitor, sent by the user's own job. ``at`` 0 means the record's timestamp."""

    user_id: str
    monitor_id: str
    at: int = 0


class User(msgspec.Struct, frozen=True):
    """A user as the worker keeps it. ``monitor_ids`` are those that the last signup named."""

    user_id: str
    plan: str
    attributes: dict[str, Scalar]
    monitor_ids: tuple[str, ...]
    registered_at: int
    updated_at: int


class Monitor(msgspec.Struct, frozen=True):
    """A monitor and its state as the worker keeps it, one record each.

    ``since``: ticks are due strictly after this instant (when it was put, changed or resumed).
    ``version``: 1 when first put, one more with each change of the spec.
    ``state_since``/``reason``: when and why ``state`` was entered.
    ``streak``: failures (while not down) or successes (while down) in a row, on the way to the policy's threshold.
    ``judged_at``: ``scheduled_at`` of the last result that changed this record; results at or before it are old.
    ``last_signal``: the instant of the newest heartbeat, 0 before the first.
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

    @property
    def monitor_id(self) -> str:
        return self.spec.monitor_id


class Tick(msgspec.Struct, frozen=True):
    """One due firing, as an executor sees it.

    On the wire the record's value holds only what does not change from one firing to the next; ``user_id`` is the
    record's key, ``scheduled_at`` its timestamp, ``partition`` the one that the signup came on.
    """

    user_id: str
    monitor_id: str
    scheduled_at: int
    kind: str
    config: str
    timeout_ms: int
    version: int
    partition: int
    attempt: int = 1


class Outcome(msgspec.Struct, frozen=True):
    """What a kind found out: a status, a sentence for a person, and the time each phase took, in ms."""

    status: Status
    reason: str = ""
    timings: dict[str, float] = {}


class Result(msgspec.Struct, frozen=True):
    """The outcome of one attempt at one tick. Identity: user_id, monitor_id, scheduled_at, attempt.

    With status ``skipped`` it stands for ``skipped_count`` ticks, due from ``scheduled_at`` to ``skipped_until``.
    """

    user_id: str
    monitor_id: str
    scheduled_at: int
    kind: str
    version: int
    status: Status
    reason: str
    started_at: int
    duration_ms: float
    attempt: int = 1
    timings: dict[str, float] = {}
    executor: str = ""
    skipped_until: int = 0
    skipped_count: int = 0


class Transition(msgspec.Struct, frozen=True):
    """A change of a monitor's state. Identity: user_id, monitor_id, at, to_state."""

    user_id: str
    monitor_id: str
    at: int
    from_state: State
    to_state: State
    reason: str
    version: int


Json = dict[str, Any]
