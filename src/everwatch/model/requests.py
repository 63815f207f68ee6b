"""Signups, commands, signals and the replies to them."""

from enum import StrEnum

import msgspec

from everwatch.core.bounds import (
    InstantMs,
    LogOffset,
    PartitionNumber,
    Small,
)
from everwatch.model.values import Maintenance, MonitorSpec, Scalar


class ReplyOn(StrEnum):
    """Choice of the outcomes that are sent to ``replies`` for an input with an id: all, or refusals only."""

    EVERY_OUTCOME = "always"
    REFUSAL = "refused"


class Signup(msgspec.Struct, frozen=True):
    """A user registers, or changes the registration: the monitors named here replace those of the last signup.

    ``signup_id``: its outcome is answered on ``replies``. It is remembered only with a ``request_digest`` (of the HTTP
    request that it was made of): a signup states the whole registration, so the same one again changes nothing.
    ``if_registration``: what the registration must be, or the signup is refused: see ``rules.registration_tag``.
    """

    user_id: str
    plan: str = "default"
    attributes: dict[str, Scalar] = {}
    monitors: tuple[MonitorSpec, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    signup_id: str = ""
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME
    request_digest: str = ""
    if_registration: str = ""

    @property
    def remembered_id(self) -> str:
        """Return the id that is remembered once it is carried out; "" if none is."""
        return self.signup_id if self.request_digest else ""


class CommandType(StrEnum):
    """Type of a command.

    ``cancel`` ends one pending delayed task (or, without ``monitor_id``, all of a user's); ``maintain`` gives a user
    maintenance windows in place of those there were, or puts one monitor into maintenance until an instant;
    ``deregister`` ends a user and all its monitors, ``purge`` does too and forgets which commands the user had, so it
    may come again and needs no user; ``pause_user`` pauses all monitors that a user has, and ``resume_user`` resumes
    what that paused; ``set_user`` changes the plan or single attributes; ``reencrypt_user`` encrypts the secrets of all
    of a user's monitors with the newest key.
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

    ``command_id``: a command that comes again with it is carried out once; its outcome goes to ``replies``.
    ``if_version``: a put is refused unless the monitor is at this version (0: unless there is none).
    ``until``: when a pause is over, 0 for open-ended, or the maintenance of one monitor, 0 to end it. ``plan`` (None:
    it stays), ``attributes`` and ``remove_attributes``: what ``set_user`` changes. ``reason``: of a pause or of the
    maintenance of one monitor, for people. ``request_digest``: of the request that it was made of; a command that
    comes again with its id and another digest is refused. ``if_registration``: as of a signup, with ``set_user``.
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
    reason: str = ""
    request_digest: str = ""
    if_registration: str = ""

    @property
    def remembered_id(self) -> str:
        """Return the id that is remembered once it is carried out; "" if none is."""
        return self.command_id


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
    matter, as of an input that is wrong in itself. A reader that has read the changelog up to it sees the change.
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
        """Return the key that it shares with the input that it answers."""
        return self.user_id, self.command_id, self.signup_id, self.signal_id


class SignalType(StrEnum):
    """Type of a signal: a job's run has begun, went well, or failed; ``log``: nothing of that, only its body."""

    SUCCESS = "success"
    START = "start"
    FAIL = "fail"
    LOG = "log"


class Signal(msgspec.Struct, frozen=True):
    """Signal of a user's own job, or a value that it measured. ``at`` 0 means the record's timestamp.

    ``exit_code``: of a job that failed; never 0. ``duration_ms``: how long it ran, None for what its start says.
    ``signal_id``: its outcome is answered on ``replies``. It is not remembered: the same signal of the same instant
    again is answered ``unchanged``.
    ``run``: which run it is about, where several may be under way at once; empty if the job does not say.
    ``body``: what the job printed, of which the newest is kept with the monitor.
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
    body: str = ""

    @property
    def is_plain(self) -> bool:
        """Tell whether it says no more than that the job is alive and well."""
        says_more = self.duration_ms is not None or self.value is not None or self.run or self.body
        return self.type is SignalType.SUCCESS and not says_more


class Asker(msgspec.Struct, frozen=True):
    """Fields of an input that its answer needs: the command, the monitor, and the id."""

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
        """Return the key that its reply has, too."""
        return self.user_id, self.command_id, self.signup_id, self.signal_id
