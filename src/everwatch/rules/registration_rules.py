"""Registration rules: changes among a user's monitors by a signup or a command. Pure.

Two instants matter. ``now`` is when the change is made. ``emitted_to`` is the instant up to which the partition's ticks
are emitted: a monitor that exists is changed as of then, so that between its old and its new spec no tick falls
through and none is due under both.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.encoding import input_conversion
from everwatch.model import (
    At,
    Command,
    CommandType,
    Monitor,
    MonitorSpec,
    Origin,
    Signup,
    State,
    Transition,
    User,
)
from everwatch.rules import lifecycle
from everwatch.rules.registration_tag import check_registration
from everwatch.schedule.at import due_instant
from everwatch.schedule.due import NeverDue


class Change(NamedTuple):
    """One monitor before and after; None where there was none, or is none any more."""

    before: Monitor | None
    after: Monitor | None

    @property
    def transition(self) -> Transition | None:
        """The change of state that this change is, if it is one."""
        return lifecycle.transition_between(self.before, self.after) if self.before and self.after else None


class Changes(NamedTuple):
    """Everything that one input changes. ``user`` is the new value, None if it stays as it is.

    ``run_now``: the monitor that is to run once beside its schedule.
    """

    user: User | None = None
    monitors: Sequence[Change] = ()
    user_ended: bool = False
    run_now: Monitor | None = None

    @property
    def is_nothing(self) -> bool:
        """Tell whether all is as it should be already."""
        return not (self.user or self.monitors or self.user_ended or self.run_now)


def newcomer(signup: Signup, now: int, begin: int) -> tuple[User, list[Monitor]]:
    """A user without an entry, and the monitors of the signup, due strictly after ``begin``.

    Delays that are not resolved yet, those of a plan, are counted from the registration: the same signup once more
    changes nothing then.
    Raises InvalidInput if one of them would never be due.
    """
    user_id, specs = signup.user_id, signup.monitors
    names = tuple([spec.monitor_id for spec in specs])
    user = User(user_id, signup.plan, signup.attributes, names, now, now, signup.maintenance)
    monitors: list[Monitor] = []
    try:
        for given in specs:
            spec = input_conversion.resolved(given, now)
            monitors.append(lifecycle.first_put(user_id, spec, Origin.SIGNUP, now, begin))
    except NeverDue as error:
        raise InvalidInput(str(error), f"$.monitors[{len(monitors)}].schedule") from None
    return user, monitors


Recognise = Callable[[Monitor, MonitorSpec], tuple[Monitor, MonitorSpec]]
"""What is stored of a monitor and the spec that is put, made comparable: a config may be encrypted, each time anew."""


def _as_they_are(stored: Monitor, given: MonitorSpec) -> tuple[Monitor, MonitorSpec]:
    return stored, given


def sign_up(
    signup: Signup,
    user: User | None,
    monitors: Mapping[str, Monitor],
    now: int,
    emitted_to: int,
    recognise: Recognise = _as_they_are,
) -> Changes:
    """Register a user, or bring the registration to what ``signup`` says; nothing if it says so already.

    ``monitors`` are the existing ones that the signup or the user's last signup names. Monitors put by command stay.
    Delays that are not resolved yet are counted from when the user was registered.
    Raises InvalidInput if a monitor would never be due, or the registration is not what the signup expects.
    """
    check_registration(signup.if_registration, user, _versions(monitors))
    named = tuple(spec.monitor_id for spec in signup.monitors)
    after = User(
        user_id=signup.user_id,
        plan=signup.plan,
        attributes=signup.attributes,
        monitor_ids=named,
        registered_at=user.registered_at if user else now,
        updated_at=user.updated_at if user else now,
        maintenance=signup.maintenance,
    )
    specs = [input_conversion.resolved(spec, after.registered_at) for spec in signup.monitors]
    putting = _Putting(signup.user_id, Origin.SIGNUP, now, emitted_to, recognise)
    changes = [putting.change(monitors.get(spec.monitor_id), spec, f"$.monitors[{i}]") for i, spec in enumerate(specs)]
    dropped = set(user.monitor_ids) - set(named) if user else set()
    for monitor_id in sorted(dropped):
        old = monitors.get(monitor_id)
        if old is not None and old.origin is Origin.SIGNUP:
            changes.append(Change(old, None))
    if after != user and user is not None:
        after = User(**{name: getattr(after, name) for name in after.__struct_fields__} | {"updated_at": now})
    return Changes(user=after if after != user else None, monitors=_real(changes))


def carry_out(
    command: Command,
    user: User | None,
    monitors: Mapping[str, Monitor],
    now: int,
    emitted_to: int,
    recognise: Recognise = _as_they_are,
) -> Changes:
    """Return what a command changes. ``monitors`` holds the one it names or, for a whole user, those that it concerns.

    Raises InvalidInput if it names a monitor or user that is not there, or asks for what cannot be.
    """
    match command.command:
        case CommandType.PUT:
            return _carry_out_put(command, user, monitors.get(command.monitor_id), now, emitted_to, recognise)
        case CommandType.PURGE:
            known = user is not None or bool(monitors)
            return Changes(monitors=[Change(monitor, None) for monitor in monitors.values()], user_ended=known)
        case CommandType.DEREGISTER:
            # monitors without a user are left where a deregistration was interrupted
            if user is None and not monitors:
                raise _no_user(command)
            return Changes(monitors=[Change(monitor, None) for monitor in monitors.values()], user_ended=True)
        case CommandType.MAINTAIN if not command.monitor_id:
            if user is None:
                raise _no_user(command)
            if user.maintenance == command.maintenance:
                return Changes()
            return Changes(user=msgspec.structs.replace(user, maintenance=command.maintenance, updated_at=now))
        case CommandType.PAUSE_USER | CommandType.RESUME_USER | CommandType.REENCRYPT_USER:
            if user is None:
                raise _no_user(command)
            changed = [
                Change(monitor, changed_with_user(command, monitor, now, emitted_to, recognise))
                for monitor in monitors.values()
            ]
            return Changes(monitors=_real(changed))
        case CommandType.CANCEL if not command.monitor_id:
            return Changes(monitors=[Change(m, None) for m in monitors.values() if is_pending_task(m, emitted_to)])
    old = monitors.get(command.monitor_id)
    if old is None:
        raise _no_user(command) if user is None else _no_monitor(command)
    match command.command:
        case CommandType.DELETE:
            return Changes(monitors=[Change(old, None)])
        case CommandType.CANCEL:
            _check_cancellable(old, emitted_to)
            return Changes(monitors=[Change(old, None)])
        case CommandType.RUN_NOW:
            return Changes(run_now=old)
        case CommandType.PAUSE:
            if command.until and command.until <= now:
                raise InvalidInput("the end of the pause has passed", "$.until")
            why = f"paused: {command.reason}" if command.reason else lifecycle.PAUSED_BY_COMMAND
            return Changes(monitors=_real([Change(old, lifecycle.pause(old, emitted_to, command.until, why))]))
        case CommandType.MAINTAIN:
            if command.until and command.until <= now:
                raise InvalidInput("the end of the maintenance has passed", "$.until")
            return Changes(monitors=_real([Change(old, lifecycle.maintain(old, now, command.until, command.reason))]))
        case _:
            return Changes(monitors=_real([Change(old, lifecycle.resume(old, emitted_to))]))


def changed_with_user(
    command: Command, monitor: Monitor, now: int, emitted_to: int, recognise: Recognise = _as_they_are
) -> Monitor:
    """The monitor as a command for all of its user's leaves it; the same value if that does not concern it.

    Raises InvalidInput.
    """
    if command.command is CommandType.REENCRYPT_USER:
        return recognise(monitor, monitor.spec)[0]
    if command.command is CommandType.RESUME_USER:
        return lifecycle.resume_with_user(monitor, emitted_to)
    if command.until and command.until <= now:
        raise InvalidInput("the end of the pause has passed", "$.until")
    return lifecycle.pause_with_user(monitor, emitted_to, command.until)


def changed_signup(
    command: Command, user: User | None, monitors: Mapping[str, Monitor], of_plan: Collection[str]
) -> Signup:
    """The signup that a ``set_user`` makes of a user's last one: plan or attributes changed, all else as it is.

    ``monitors``: those of the last signup; ``of_plan``: the ids of those that came from the user's plan so far, and are
    left to the new plan. Raises InvalidInput.
    """
    if user is None:
        raise _no_user(command)
    check_registration(command.if_registration, user, _versions(monitors))
    attributes = {name: value for name, value in user.attributes.items() if name not in command.remove_attributes}
    own = [monitors[name].spec for name in user.monitor_ids if name in monitors and name not in of_plan]
    plan = user.plan if command.plan is None else command.plan
    return Signup(user.user_id, plan, attributes | command.attributes, tuple(own), user.maintenance)


def _versions(monitors: Mapping[str, Monitor]) -> dict[str, int]:
    return {name: monitor.version for name, monitor in monitors.items()}


def _no_monitor(command: Command) -> InvalidInput:
    reason = f"there is no monitor {command.monitor_id!r} of user {command.user_id!r}"
    if command.command is CommandType.CANCEL:
        # a task that is cancelled, or was over for a while, leaves nothing behind here; the database keeps it
        reason = (
            f"there is no task {command.monitor_id!r} of user {command.user_id!r}: it was cancelled or deleted, is over"
            " and forgotten, or was never created"
        )
    return InvalidInput(reason, "$.monitor_id", RefusalCode.NOT_FOUND)


def _no_user(command: Command) -> InvalidInput:
    return InvalidInput(f"there is no user {command.user_id!r}{_PERHAPS}", "$.user_id", RefusalCode.NOT_FOUND)


def is_pending_task(monitor: Monitor, emitted_to: int) -> bool:
    """Tell whether this is a delayed task that has not fired up to ``emitted_to``, or whose retry is pending."""
    schedule = monitor.spec.schedule
    if not isinstance(schedule, At) or monitor.state is State.DONE:
        return False
    return (
        monitor.state is State.PAUSED
        or monitor.agenda.retry_at > emitted_to
        or due_instant(schedule, monitor.since) > emitted_to
    )


def _check_cancellable(monitor: Monitor, emitted_to: int) -> None:
    if not isinstance(monitor.spec.schedule, At):
        raise InvalidInput(
            "this is no delayed task but a recurring monitor: delete or pause it",
            "$.monitor_id",
            RefusalCode.WRONG_KIND,
        )
    if not is_pending_task(monitor, emitted_to):
        over = "is over" if monitor.state is State.DONE else "has fired already"
        raise InvalidInput(f"the task {monitor.monitor_id!r} {over}", "$.monitor_id", RefusalCode.NOT_PENDING)


def _carry_out_put(
    command: Command, user: User | None, old: Monitor | None, now: int, emitted_to: int, recognise: Recognise
) -> Changes:
    assert command.monitor is not None  # the wire's rules see to it
    expected, version = command.if_version, old.version if old else 0
    if expected is not None and expected != version:
        found = f"the monitor is at version {version}" if old else "there is no such monitor"
        wanted = f"version {expected}" if expected else "that there is none"
        raise InvalidInput(f"{found}, and the put expects {wanted}", "$.if_version", RefusalCode.VERSION_MISMATCH)
    implied = None
    if user is None:
        implied = User(command.user_id, "default", {}, (), registered_at=now, updated_at=now)
    putting = _Putting(command.user_id, Origin.COMMAND, now, emitted_to, recognise)
    change = putting.change(old, command.monitor, "$.monitor")
    return Changes(user=implied, monitors=_real([change]))


_PERHAPS = " on this partition (commands must be produced with the same key and partitioner as signups)"


class _Putting(NamedTuple):
    """Puts of monitors of one user by one input. ``now``: of new monitors; ``emitted_to``: of known ones, ms."""

    user_id: str
    origin: Origin
    now: int
    emitted_to: int
    recognise: Recognise

    def change(self, old: Monitor | None, spec: MonitorSpec, path: str) -> Change:
        """Return what a spec makes of a monitor. Raises InvalidInput if it would never be due."""
        try:
            if old is None:
                return Change(None, lifecycle.first_put(self.user_id, spec, self.origin, self.now, self.now))
            stored, spec = self.recognise(old, spec)
            return Change(old, lifecycle.put_again(stored, spec, self.origin, self.emitted_to))
        except NeverDue as error:
            raise InvalidInput(str(error), f"{path}.schedule") from None


def _real(changes: Iterable[Change]) -> list[Change]:
    return [change for change in changes if change.before is not change.after]
