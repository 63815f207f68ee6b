"""What a signup or a command changes among a user's monitors. Pure: old values and the time in, changes out.

Two instants matter. ``now`` is when the change is made. ``settled`` is the instant up to which the partition's ticks
are emitted: a monitor that exists is changed as of then, so that between its old and its new spec no tick falls
through and none is due under both.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from everwatch import lifecycle
from everwatch.errors import InvalidInput
from everwatch.model import Command, CommandType, Monitor, MonitorSpec, Origin, Signup, Transition, User


class Change(NamedTuple):
    """One monitor before and after; None where there was none, or is none any more."""

    before: Monitor | None
    after: Monitor | None

    @property
    def transition(self) -> Transition | None:
        """The change of state that this change is, if it is one."""
        return lifecycle.transition_between(self.before, self.after) if self.before and self.after else None


class Changes(NamedTuple):
    """Everything that one input changes. ``user`` is the new value, None if it stays as it is."""

    user: User | None = None
    monitors: Sequence[Change] = ()
    user_ended: bool = False


def newcomer(signup: Signup, now: int, begin: int) -> tuple[User, list[Monitor]]:
    """A user of whom nothing is known yet, and the monitors of the signup, due strictly after ``begin``."""
    user_id, specs = signup.user_id, signup.monitors
    user = User(user_id, signup.plan, signup.attributes, tuple([spec.monitor_id for spec in specs]), now, now)
    return user, [lifecycle.first_put(user_id, spec, Origin.SIGNUP, now, begin) for spec in specs]


def sign_up(signup: Signup, user: User | None, monitors: Mapping[str, Monitor], now: int, settled: int) -> Changes:
    """Register a user, or bring the registration to what ``signup`` says; nothing if it says so already.

    ``monitors`` are the existing ones that the signup or the user's last signup names. Monitors put by command stay.
    """
    named = tuple(spec.monitor_id for spec in signup.monitors)
    after = User(
        user_id=signup.user_id,
        plan=signup.plan,
        attributes=signup.attributes,
        monitor_ids=named,
        registered_at=user.registered_at if user else now,
        updated_at=user.updated_at if user else now,
    )
    changes = [
        _put(signup.user_id, spec, Origin.SIGNUP, monitors.get(spec.monitor_id), now, settled)
        for spec in signup.monitors
    ]
    dropped = set(user.monitor_ids) - set(named) if user else set()
    for monitor_id in sorted(dropped):
        old = monitors.get(monitor_id)
        if old is not None and old.origin is Origin.SIGNUP:
            changes.append(Change(old, None))
    if after != user and user is not None:
        after = User(**{name: getattr(after, name) for name in after.__struct_fields__} | {"updated_at": now})
    return Changes(user=after if after != user else None, monitors=_real(changes))


def carry_out(command: Command, user: User | None, monitors: Mapping[str, Monitor], now: int, settled: int) -> Changes:
    """What a command changes. ``monitors`` holds the one it names or, to deregister, all of the user's.

    Raises InvalidInput if it names a monitor or user that is not there.
    """
    if command.command is CommandType.DEREGISTER:
        # monitors without a user are left where a deregistration was interrupted
        if user is None and not monitors:
            raise InvalidInput(f"there is no user {command.user_id!r}{_PERHAPS}", "$.user_id")
        return Changes(monitors=[Change(monitor, None) for monitor in monitors.values()], user_ended=True)
    old = monitors.get(command.monitor_id)
    if command.command is CommandType.PUT:
        assert command.monitor is not None  # the wire's rules see to it
        implied = None
        if user is None:
            implied = User(command.user_id, "default", {}, (), registered_at=now, updated_at=now)
        change = _put(command.user_id, command.monitor, Origin.COMMAND, old, now, settled)
        return Changes(user=implied, monitors=_real([change]))
    if old is None:
        raise InvalidInput(
            f"there is no monitor {command.monitor_id!r} of user {command.user_id!r}{_PERHAPS}", "$.monitor_id"
        )
    if command.command is CommandType.DELETE:
        return Changes(monitors=[Change(old, None)])
    turn = lifecycle.pause if command.command is CommandType.PAUSE else lifecycle.resume
    return Changes(monitors=_real([Change(old, turn(old, settled))]))


_PERHAPS = " on this partition (commands must be produced with the same key and partitioner as signups)"


def _put(user_id: str, spec: MonitorSpec, origin: Origin, old: Monitor | None, now: int, settled: int) -> Change:
    if old is None:
        return Change(None, lifecycle.first_put(user_id, spec, origin, now, now))
    return Change(old, lifecycle.put_again(old, spec, origin, settled))


def _real(changes: Iterable[Change]) -> list[Change]:
    return [change for change in changes if change.before is not change.after]
