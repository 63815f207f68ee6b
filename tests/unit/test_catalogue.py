"""Signups and commands: what they change among a user's monitors, and what they leave alone."""

import msgspec
import pytest

from everwatch.catalogue import Changes, carry_out, newcomer, sign_up
from everwatch.errors import InvalidInput
from everwatch.model import (
    At,
    Command,
    CommandType,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Signup,
    State,
    User,
)

NOW, SETTLED = 1_000_500, 1_000_000
LATER, SETTLED_LATER = 2_000_500, 2_000_000


def spec(monitor_id: str, config: str = "{}", interval_ms: int = 60_000) -> MonitorSpec:
    return MonitorSpec(monitor_id, "noop", config, Every(interval_ms))


class Account:
    """One user's entries of the table, brought up to date with every change."""

    def __init__(self) -> None:
        self.user: User | None = None
        self.monitors: dict[str, Monitor] = {}

    def sign_up(self, *specs: MonitorSpec, now: int = NOW, settled: int = SETTLED, **fields: object) -> Changes:
        signup = Signup("u", monitors=specs, **fields)  # type: ignore[arg-type]
        return self._apply(sign_up(signup, self.user, self.monitors, now, settled))

    def command(
        self, command: CommandType, monitor: MonitorSpec | str = "", now: int = LATER, settled: int = SETTLED_LATER
    ) -> Changes:
        given = (
            Command(command, "u", monitor)
            if isinstance(monitor, str)
            else Command(command, "u", monitor.monitor_id, monitor)
        )
        return self._apply(carry_out(given, self.user, self.monitors, now, settled))

    def become(self, monitor_id: str, state: State) -> None:
        self.monitors[monitor_id] = msgspec.structs.replace(self.monitors[monitor_id], state=state)

    def _apply(self, changes: Changes) -> Changes:
        self.user = None if changes.user_ended else changes.user or self.user
        for change in changes.monitors:
            gone = change.after is None
            monitor = change.before if gone else change.after
            assert monitor is not None
            if gone:
                assert self.monitors.pop(monitor.monitor_id) is change.before
            else:
                self.monitors[monitor.monitor_id] = monitor
        return changes


@pytest.fixture
def account() -> Account:
    """A user with the monitors a and b, signed up."""
    account = Account()
    account.sign_up(spec("a"), spec("b"), plan="pro", attributes={"city": "Bern"})
    return account


def test_a_signup_makes_the_user_and_new_monitors_due_from_now(account: Account) -> None:
    assert account.user == User("u", "pro", {"city": "Bern"}, ("a", "b"), registered_at=NOW, updated_at=NOW)
    for monitor in account.monitors.values():
        assert (monitor.since, monitor.state_since, monitor.version) == (NOW, NOW, 1)
        assert (monitor.state, monitor.origin) == (State.NEW, Origin.SIGNUP)


def test_a_newcomer_is_who_signs_up_but_for_monitors_that_begin_a_little_later() -> None:
    signup = Signup("u", "pro", {"city": "Bern"}, (spec("a"), spec("b")))
    changes = sign_up(signup, None, {}, NOW, SETTLED)
    user, monitors = newcomer(signup, NOW, NOW + 300)
    assert user == changes.user
    assert monitors == [msgspec.structs.replace(c.after, since=NOW + 300) for c in changes.monitors if c.after]


def test_signing_up_twice_changes_nothing(account: Account) -> None:
    again = account.sign_up(
        spec("a"), spec("b"), plan="pro", attributes={"city": "Bern"}, now=LATER, settled=SETTLED_LATER
    )
    assert again == Changes(user=None, monitors=[], user_ended=False)


def test_a_changed_signup_updates_adds_and_removes(account: Account) -> None:
    untouched = account.monitors["a"]
    changes = account.sign_up(
        spec("a"), spec("c"), plan="pro", attributes={"city": "Bern"}, now=LATER, settled=SETTLED_LATER
    )
    assert [(c.before and c.before.monitor_id, c.after and c.after.monitor_id) for c in changes.monitors] == [
        (None, "c"),
        ("b", None),
    ]
    assert set(account.monitors) == {"a", "c"}
    assert account.monitors["a"] is untouched
    assert account.user == User("u", "pro", {"city": "Bern"}, ("a", "c"), registered_at=NOW, updated_at=LATER)


def test_a_changed_monitor_is_due_after_what_is_emitted_and_a_new_one_from_now(account: Account) -> None:
    account.sign_up(spec("a", interval_ms=5_000), spec("b"), spec("c"), now=LATER, settled=SETTLED_LATER)
    assert (account.monitors["a"].since, account.monitors["a"].version) == (SETTLED_LATER, 2)
    assert (account.monitors["b"].since, account.monitors["b"].version) == (NOW, 1)
    assert (account.monitors["c"].since, account.monitors["c"].version) == (LATER, 1)


def test_a_monitor_changed_while_sweeps_lag_is_not_due_before_it_was_put(account: Account) -> None:
    account.sign_up(spec("a", interval_ms=5_000), spec("b"), now=NOW, settled=SETTLED)
    assert account.monitors["a"].since == NOW


def test_a_monitor_resumed_while_sweeps_lag_is_not_due_before_it_was_put(account: Account) -> None:
    account.command(CommandType.PAUSE, "a", NOW, SETTLED)
    account.command(CommandType.RESUME, "a", NOW, SETTLED)
    assert account.monitors["a"].since == NOW


def test_a_changed_attribute_changes_the_user_and_no_monitor(account: Account) -> None:
    changes = account.sign_up(spec("a"), spec("b"), plan="pro", attributes={"city": "Basel"}, now=LATER)
    assert changes.monitors == []
    assert changes.user is not None
    assert (changes.user.attributes, changes.user.registered_at, changes.user.updated_at) == (
        {"city": "Basel"},
        NOW,
        LATER,
    )


def test_monitors_put_by_command_survive_a_signup(account: Account) -> None:
    account.command(CommandType.PUT, spec("mine"))
    account.sign_up(spec("a"), now=LATER, settled=SETTLED_LATER)
    assert set(account.monitors) == {"a", "mine"}
    assert account.monitors["mine"].origin is Origin.COMMAND


def test_a_signup_monitor_taken_over_by_a_command_stays_when_signups_name_it_no_longer(account: Account) -> None:
    account.command(CommandType.PUT, spec("b", interval_ms=5_000))
    account.sign_up(spec("a"), now=LATER, settled=SETTLED_LATER)
    assert set(account.monitors) == {"a", "b"}
    assert account.monitors["b"].spec.schedule == Every(5_000)


def test_a_monitor_named_by_a_signup_after_a_command_belongs_to_the_signup(account: Account) -> None:
    account.command(CommandType.PUT, spec("mine"))
    account.sign_up(spec("mine"))
    assert account.monitors["mine"].origin is Origin.SIGNUP
    account.sign_up()
    assert account.monitors == {}


def test_putting_the_same_monitor_twice_changes_nothing(account: Account) -> None:
    account.command(CommandType.PUT, spec("mine"))
    assert account.command(CommandType.PUT, spec("mine")) == Changes()._replace(monitors=[])


def test_a_put_monitor_that_is_new_is_due_from_now_and_a_changed_one_after_what_is_emitted(account: Account) -> None:
    account.command(CommandType.PUT, spec("mine"), NOW, SETTLED)
    assert account.monitors["mine"].since == NOW
    account.command(CommandType.PUT, spec("mine", interval_ms=5_000), LATER, SETTLED_LATER)
    assert account.monitors["mine"].since == SETTLED_LATER


def test_a_put_for_an_unknown_user_implies_the_user() -> None:
    account = Account()
    account.command(CommandType.PUT, spec("mine"))
    assert account.user == User("u", "default", {}, (), registered_at=LATER, updated_at=LATER)
    assert set(account.monitors) == {"mine"}


def test_an_implied_user_that_signs_up_keeps_the_day_of_registration_and_the_monitor() -> None:
    account = Account()
    account.command(CommandType.PUT, spec("mine"), NOW, SETTLED)
    account.sign_up(spec("a"), now=LATER, settled=SETTLED_LATER)
    assert account.user is not None
    assert (account.user.registered_at, account.user.updated_at) == (NOW, LATER)
    assert set(account.monitors) == {"a", "mine"}


def test_delete_takes_one_monitor_away(account: Account) -> None:
    changes = account.command(CommandType.DELETE, "a")
    assert (set(account.monitors), changes.user, changes.user_ended) == ({"b"}, None, False)


def test_deregister_ends_the_user_and_all_monitors_however_they_came(account: Account) -> None:
    account.command(CommandType.PUT, spec("mine"))
    changes = account.command(CommandType.DEREGISTER)
    assert changes.user_ended
    assert (account.user, account.monitors) == (None, {})


def test_pausing_twice_changes_something_once(account: Account) -> None:
    account.become("a", State.UP)
    first = account.command(CommandType.PAUSE, "a")
    (change,) = first.monitors
    assert change.transition is not None
    assert (change.transition.from_state, change.transition.to_state) == (State.UP, State.PAUSED)
    assert (change.transition.at, change.transition.reason) == (SETTLED_LATER, "paused by command")
    assert account.command(CommandType.PAUSE, "a").monitors == []


def test_resuming_wakes_a_paused_monitor_after_what_is_emitted(account: Account) -> None:
    account.command(CommandType.PAUSE, "a", NOW, SETTLED)
    (change,) = account.command(CommandType.RESUME, "a").monitors
    assert change.transition is not None
    assert (change.transition.from_state, change.transition.to_state) == (State.PAUSED, State.NEW)
    assert (account.monitors["a"].since, account.monitors["a"].version) == (SETTLED_LATER, 1)


def test_resuming_a_monitor_that_is_not_paused_changes_nothing(account: Account) -> None:
    account.become("a", State.DOWN)
    assert account.command(CommandType.RESUME, "a").monitors == []


def test_a_paused_monitor_stays_paused_through_a_signup(account: Account) -> None:
    account.command(CommandType.PAUSE, "a")
    account.sign_up(spec("a", config='{"other":1}'), spec("b"))
    assert account.monitors["a"].state is State.PAUSED
    assert account.monitors["a"].version == 2


def test_a_monitor_that_checks_something_else_is_new_again_and_says_so(account: Account) -> None:
    account.become("a", State.DOWN)
    (change,) = account.command(CommandType.PUT, spec("a", config='{"other":1}')).monitors
    assert change.transition is not None
    assert (change.transition.from_state, change.transition.to_state) == (State.DOWN, State.NEW)


def test_what_is_put_or_deleted_is_no_transition(account: Account) -> None:
    assert [c.transition for c in account.command(CommandType.PUT, spec("mine")).monitors] == [None]
    assert [c.transition for c in account.command(CommandType.DELETE, "mine").monitors] == [None]


@pytest.mark.parametrize("command", [CommandType.DELETE, CommandType.PAUSE, CommandType.RESUME])
def test_a_command_for_an_unknown_monitor_is_refused(account: Account, command: CommandType) -> None:
    with pytest.raises(InvalidInput) as caught:
        account.command(command, "nope")
    assert caught.value.reason == (
        "there is no monitor 'nope' of user 'u' on this partition (commands must be produced with the same key and"
        " partitioner as signups)"
    )
    assert caught.value.path == "$.monitor_id"


def test_deregistering_an_unknown_user_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        Account().command(CommandType.DEREGISTER)
    assert caught.value.reason.startswith("there is no user 'u' on this partition")
    assert caught.value.path == "$.user_id"


def test_a_changed_policy_keeps_the_state(account: Account) -> None:
    account.become("a", State.DOWN)
    changed = msgspec.structs.replace(spec("a"), policy=Policy(failures_to_down=3))
    (change,) = account.command(CommandType.PUT, changed).monitors
    assert change.transition is None
    assert (account.monitors["a"].state, account.monitors["a"].version) == (State.DOWN, 2)


def once(at: int, config: str = "{}") -> MonitorSpec:
    return msgspec.structs.replace(spec("a", config), schedule=At(at))


def test_a_delayed_task_that_is_done_is_not_done_again_because_its_user_signs_up_again() -> None:
    account = Account()
    account.sign_up(once(NOW + 1))
    account.become("a", State.DONE)
    assert account.sign_up(once(NOW + 1), now=LATER, settled=SETTLED_LATER).monitors == []
    assert account.monitors["a"].state is State.DONE


def test_a_delayed_task_that_is_done_and_changed_is_to_be_done_once_more() -> None:
    account = Account()
    account.sign_up(once(NOW + 1))
    account.become("a", State.DONE)
    (change,) = account.sign_up(once(LATER + 1), now=LATER, settled=SETTLED_LATER).monitors
    assert change.transition is not None
    assert (change.transition.from_state, change.transition.to_state) == (State.DONE, State.NEW)
    assert (account.monitors["a"].since, account.monitors["a"].version) == (SETTLED_LATER, 2)


@pytest.mark.parametrize("command", [CommandType.PAUSE, CommandType.RESUME])
def test_what_is_done_is_neither_paused_nor_resumed(command: CommandType) -> None:
    account = Account()
    account.sign_up(once(NOW + 1))
    account.become("a", State.DONE)
    assert account.command(command, "a").monitors == []
