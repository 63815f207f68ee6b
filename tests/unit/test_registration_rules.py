"""Signups and commands: what they change among a user's monitors, and what they leave alone.

All in one file: cases of two functions that share their rules.
"""

from typing import Any

import msgspec
import pytest

from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.model import (
    Agenda,
    Align,
    At,
    Command,
    CommandType,
    Every,
    Maintenance,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Result,
    Retries,
    Signup,
    State,
    Status,
    User,
)
from everwatch.rules.lifecycle import after_agenda, after_result, maintained_until, reminded_at
from everwatch.rules.registration_rules import Changes, carry_out, changed_signup, is_pending_task, newcomer, sign_up

NOW, SETTLED = 1_000_500, 1_000_000
LATER, SETTLED_LATER = 2_000_500, 2_000_000


def spec(monitor_id: str, config: str = "{}", interval_ms: int = 60_000) -> MonitorSpec:
    return MonitorSpec(monitor_id, "noop", config, Every(interval_ms))


class Account:
    """One user's entries of the table, brought up to date with every change."""

    def __init__(self) -> None:
        self.user: User | None = None
        self.monitors: dict[str, Monitor] = {}

    def sign_up(self, *specs: MonitorSpec, now: int = NOW, emitted_to: int = SETTLED, **fields: Any) -> Changes:
        signup = Signup("u", monitors=specs, **fields)
        return self._apply(sign_up(signup, self.user, self.monitors, now, emitted_to))

    def command(
        self,
        command: CommandType,
        monitor: MonitorSpec | str = "",
        now: int = LATER,
        emitted_to: int = SETTLED_LATER,
        **fields: Any,
    ) -> Changes:
        given = (
            Command(command, "u", monitor, **fields)
            if isinstance(monitor, str)
            else Command(command, "u", monitor.monitor_id, monitor, **fields)
        )
        return self._apply(carry_out(given, self.user, self.monitors, now, emitted_to))

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
        spec("a"), spec("b"), plan="pro", attributes={"city": "Bern"}, now=LATER, emitted_to=SETTLED_LATER
    )
    assert again == Changes(user=None, monitors=[], user_ended=False)
    assert again.is_nothing


def test_a_changed_signup_updates_adds_and_removes(account: Account) -> None:
    untouched = account.monitors["a"]
    changes = account.sign_up(
        spec("a"), spec("c"), plan="pro", attributes={"city": "Bern"}, now=LATER, emitted_to=SETTLED_LATER
    )
    assert [(c.before and c.before.monitor_id, c.after and c.after.monitor_id) for c in changes.monitors] == [
        (None, "c"),
        ("b", None),
    ]
    assert set(account.monitors) == {"a", "c"}
    assert account.monitors["a"] is untouched
    assert account.user == User("u", "pro", {"city": "Bern"}, ("a", "c"), registered_at=NOW, updated_at=LATER)


def test_a_changed_monitor_is_due_after_what_is_emitted_and_a_new_one_from_now(account: Account) -> None:
    account.sign_up(spec("a", interval_ms=5_000), spec("b"), spec("c"), now=LATER, emitted_to=SETTLED_LATER)
    assert (account.monitors["a"].since, account.monitors["a"].version) == (SETTLED_LATER, 2)
    assert (account.monitors["b"].since, account.monitors["b"].version) == (NOW, 1)
    assert (account.monitors["c"].since, account.monitors["c"].version) == (LATER, 1)


def test_a_monitor_changed_while_sweeps_lag_is_not_due_before_it_was_put(account: Account) -> None:
    account.sign_up(spec("a", interval_ms=5_000), spec("b"), now=NOW, emitted_to=SETTLED)
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
    account.sign_up(spec("a"), now=LATER, emitted_to=SETTLED_LATER)
    assert set(account.monitors) == {"a", "mine"}
    assert account.monitors["mine"].origin is Origin.COMMAND


def test_a_signup_monitor_taken_over_by_a_command_stays_when_signups_name_it_no_longer(account: Account) -> None:
    account.command(CommandType.PUT, spec("b", interval_ms=5_000))
    account.sign_up(spec("a"), now=LATER, emitted_to=SETTLED_LATER)
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
    account.sign_up(spec("a"), now=LATER, emitted_to=SETTLED_LATER)
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


@pytest.mark.parametrize(
    "command",
    [CommandType.DELETE, CommandType.PAUSE, CommandType.RESUME, CommandType.RUN_NOW, CommandType.CANCEL],
)
def test_a_command_for_an_unknown_monitor_is_refused(account: Account, command: CommandType) -> None:
    with pytest.raises(InvalidInput) as caught:
        account.command(command, "nope")
    assert caught.value.reason == (
        "there is no task 'nope' of user 'u': it was cancelled or deleted, is over and forgotten, or was never created"
        if command is CommandType.CANCEL
        else "there is no monitor 'nope' of user 'u'"
    )
    assert (caught.value.path, caught.value.code) == ("$.monitor_id", RefusalCode.NOT_FOUND)


def test_a_command_for_a_monitor_of_an_unknown_user_may_be_on_the_wrong_partition() -> None:
    with pytest.raises(InvalidInput) as caught:
        Account().command(CommandType.PAUSE, "nope")
    assert caught.value.reason == (
        "there is no user 'u' on this partition (commands must be produced with the same key and partitioner as"
        " signups)"
    )


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
    assert account.sign_up(once(NOW + 1), now=LATER, emitted_to=SETTLED_LATER).monitors == []
    assert account.monitors["a"].state is State.DONE


def test_a_delayed_task_that_is_done_and_changed_is_to_be_done_once_more() -> None:
    account = Account()
    account.sign_up(once(NOW + 1))
    account.become("a", State.DONE)
    (change,) = account.sign_up(once(LATER + 1), now=LATER, emitted_to=SETTLED_LATER).monitors
    assert change.transition is not None
    assert (change.transition.from_state, change.transition.to_state) == (State.DONE, State.NEW)
    assert (account.monitors["a"].since, account.monitors["a"].version) == (SETTLED_LATER, 2)


@pytest.mark.parametrize("command", [CommandType.PAUSE, CommandType.RESUME])
def test_what_is_done_is_neither_paused_nor_resumed(command: CommandType) -> None:
    account = Account()
    account.sign_up(once(NOW + 1))
    account.become("a", State.DONE)
    assert account.command(command, "a").monitors == []


def refused(account: Account, command: CommandType, monitor: MonitorSpec | str = "", **fields: Any) -> tuple[str, str]:
    """Reason and path of a refusal, which changes nothing."""
    before = account.user, dict(account.monitors)
    with pytest.raises(InvalidInput) as caught:
        account.command(command, monitor, **fields)
    assert (account.user, account.monitors) == before
    return caught.value.reason, caught.value.path


def test_a_put_that_expects_the_version_there_is_is_carried_out(account: Account) -> None:
    account.command(CommandType.PUT, spec("a", interval_ms=5_000), if_version=1)
    account.command(CommandType.PUT, spec("a", interval_ms=7_000), if_version=2)
    account.command(CommandType.PUT, spec("new"), if_version=0)
    assert (account.monitors["a"].version, account.monitors["new"].version) == (3, 1)


def test_of_two_who_change_what_they_have_read_only_the_first_succeeds(account: Account) -> None:
    account.command(CommandType.PUT, spec("a", interval_ms=5_000), if_version=1)
    assert refused(account, CommandType.PUT, spec("a", interval_ms=7_000), if_version=1) == (
        "the monitor is at version 2, and the put expects version 1",
        "$.if_version",
    )


def test_a_put_that_expects_another_version_is_refused_even_if_it_would_change_nothing(account: Account) -> None:
    assert refused(account, CommandType.PUT, spec("a"), if_version=2) == (
        "the monitor is at version 1, and the put expects version 2",
        "$.if_version",
    )
    assert refused(account, CommandType.PUT, spec("a"), if_version=0) == (
        "the monitor is at version 1, and the put expects that there is none",
        "$.if_version",
    )
    assert refused(account, CommandType.PUT, spec("new"), if_version=3) == (
        "there is no such monitor, and the put expects version 3",
        "$.if_version",
    )


def test_a_put_that_expects_a_version_of_an_unknown_users_monitor_implies_no_user() -> None:
    refused(Account(), CommandType.PUT, spec("mine"), if_version=1)


DUE = SETTLED_LATER + 60_000


@pytest.fixture
def tasks() -> Account:
    """A user with a recurring monitor and delayed tasks: one in a minute, one in two, one paused, one that is over."""
    account = Account()
    account.sign_up(spec("recurring"))
    instants = {"soon": DUE, "later": DUE + 60_000, "paused": DUE, "over": NOW + 10}
    for monitor_id, instant in instants.items():
        account.command(CommandType.PUT, msgspec.structs.replace(once(instant), monitor_id=monitor_id), NOW, SETTLED)
    account.command(CommandType.PAUSE, "paused", NOW, SETTLED)
    account.become("over", State.DONE)
    return account


def test_a_pending_task_is_cancelled_and_gone(tasks: Account) -> None:
    (change,) = tasks.command(CommandType.CANCEL, "soon").monitors
    assert (change.before and change.before.monitor_id, change.after, change.transition) == ("soon", None, None)
    assert set(tasks.monitors) == {"recurring", "later", "paused", "over"}


def test_a_task_can_be_cancelled_until_the_moment_it_fires(tasks: Account) -> None:
    assert refused(tasks, CommandType.CANCEL, "soon", emitted_to=DUE) == (
        "the task 'soon' has fired already",
        "$.monitor_id",
    )
    tasks.command(CommandType.CANCEL, "soon", emitted_to=DUE - 1)
    assert "soon" not in tasks.monitors


def test_a_task_whose_instant_had_passed_when_it_was_put_is_cancelled_until_it_fires_right_after(
    tasks: Account,
) -> None:
    overdue = msgspec.structs.replace(once(NOW - 60_000), monitor_id="overdue")
    tasks.command(CommandType.PUT, overdue, LATER, SETTLED_LATER)
    refused(tasks, CommandType.CANCEL, "overdue", emitted_to=LATER + 1)
    tasks.command(CommandType.CANCEL, "overdue", emitted_to=LATER)
    assert "overdue" not in tasks.monitors


def test_a_task_that_is_over_cannot_be_cancelled(tasks: Account) -> None:
    assert refused(tasks, CommandType.CANCEL, "over") == ("the task 'over' is over", "$.monitor_id")


def test_a_recurring_monitor_is_not_cancelled_but_deleted(tasks: Account) -> None:
    assert refused(tasks, CommandType.CANCEL, "recurring") == (
        "this is no delayed task but a recurring monitor: delete or pause it",
        "$.monitor_id",
    )


def test_a_paused_task_is_pending_however_long_ago_it_was_due(tasks: Account) -> None:
    tasks.command(CommandType.CANCEL, "paused", emitted_to=DUE + 3_600_000)
    assert "paused" not in tasks.monitors


def test_a_task_whose_retry_is_pending_is_cancelled_until_that_fires(tasks: Account) -> None:
    again = Agenda(retry_at=DUE + 5_000, retry_of=DUE, retry_attempt=2)
    tasks.monitors["soon"] = msgspec.structs.replace(tasks.monitors["soon"], agenda=again)
    refused(tasks, CommandType.CANCEL, "soon", emitted_to=DUE + 5_000)
    tasks.command(CommandType.CANCEL, "soon", emitted_to=DUE + 4_999)
    assert "soon" not in tasks.monitors


def test_without_a_name_all_pending_tasks_are_cancelled_and_nothing_else(tasks: Account) -> None:
    changes = tasks.command(CommandType.CANCEL, emitted_to=DUE)
    assert {change.before.monitor_id for change in changes.monitors if change.before} == {"later", "paused"}
    assert set(tasks.monitors) == {"recurring", "soon", "over"}
    assert tasks.user is not None
    assert tasks.command(CommandType.CANCEL, emitted_to=DUE).is_nothing


def test_nobodys_tasks_are_cancelled_without_a_word() -> None:
    assert Account().command(CommandType.CANCEL).is_nothing


def test_what_is_cancelled_by_name_and_with_all_others_is_the_same(tasks: Account) -> None:
    for emitted_to in (SETTLED, DUE - 1, DUE, DUE + 60_000):
        for monitor in tasks.monitors.values():
            one = Command(CommandType.CANCEL, "u", monitor.monitor_id)
            try:
                cancelled = bool(carry_out(one, tasks.user, tasks.monitors, emitted_to, emitted_to).monitors)
            except InvalidInput:
                cancelled = False
            assert cancelled is is_pending_task(monitor, emitted_to)


WINDOWS = (Maintenance(start=LATER, end=LATER + 3_600_000), Maintenance(cron="0 2 * * 6", duration_ms=7_200_000))


def test_maintenance_is_given_and_taken_away(account: Account) -> None:
    given = account.command(CommandType.MAINTAIN, maintenance=WINDOWS)
    assert given.monitors == ()
    assert account.user == User("u", "pro", {"city": "Bern"}, ("a", "b"), NOW, LATER, WINDOWS)
    assert account.command(CommandType.MAINTAIN, now=LATER + 1, maintenance=WINDOWS).is_nothing
    account.command(CommandType.MAINTAIN, now=LATER + 2)
    assert account.user == User("u", "pro", {"city": "Bern"}, ("a", "b"), NOW, LATER + 2)


def test_maintenance_of_an_unknown_user_is_refused() -> None:
    reason, path = refused(Account(), CommandType.MAINTAIN, maintenance=WINDOWS)
    assert reason.startswith("there is no user 'u' on this partition")
    assert path == "$.user_id"


def test_maintenance_is_what_the_last_signup_or_command_says(account: Account) -> None:
    account.command(CommandType.MAINTAIN, maintenance=WINDOWS)
    account.sign_up(spec("a"), spec("b"), plan="pro", attributes={"city": "Bern"}, maintenance=WINDOWS[:1], now=LATER)
    assert account.user is not None
    assert account.user.maintenance == WINDOWS[:1]
    signup = Signup("u", monitors=(spec("a"),), maintenance=WINDOWS)
    assert newcomer(signup, NOW, NOW)[0].maintenance == WINDOWS


def test_one_monitor_is_put_into_maintenance_which_outlives_a_put_and_is_ended(account: Account) -> None:
    until, over = LATER + 3_600_000, LATER + 5
    account.command(CommandType.MAINTAIN, "a", until=until, reason="new disks")
    maintained = account.monitors["a"]
    assert maintained.agenda == Agenda(maintained_from=LATER, maintained_until=until, maintained_why="new disks")
    assert (maintained.version, maintained.maintenance) == (1, (Maintenance(LATER, until),))
    assert maintained_until(maintained, account.user, LATER) == until
    assert account.command(CommandType.MAINTAIN, "a", now=over, until=until, reason="new disks").is_nothing
    account.command(CommandType.PUT, spec("a", '{"x":1}'))
    assert account.monitors["a"].agenda == maintained.agenda
    account.command(CommandType.MAINTAIN, "a", now=over)
    # what is over stays known: availability leaves it out
    assert account.monitors["a"].maintenance == (Maintenance(LATER, over),)
    assert maintained_until(account.monitors["a"], account.user, over) == 0
    assert account.command(CommandType.MAINTAIN, "a", now=over).is_nothing
    assert refused(account, CommandType.MAINTAIN, "a", until=LATER) == (
        "the end of the maintenance has passed",
        "$.until",
    )
    assert refused(account, CommandType.MAINTAIN, "none", until=until)[1] == "$.monitor_id"


def test_a_monitor_that_failed_in_its_maintenance_is_told_when_that_is_ended_early(account: Account) -> None:
    until = LATER + 3_600_000
    account.command(CommandType.MAINTAIN, "a", until=until)
    account.become("a", State.DOWN)
    account.monitors["a"] = reminded_at(account.monitors["a"], until)
    account.command(CommandType.MAINTAIN, "a", now=LATER + 5, until=until + 1)
    assert account.monitors["a"].agenda.remind_at == until + 1
    account.command(CommandType.MAINTAIN, "a", now=LATER + 6)
    assert account.monitors["a"].agenda.remind_at == LATER + 6


@pytest.mark.parametrize("state", State)
def test_to_run_now_changes_nothing_about_the_monitor(account: Account, state: State) -> None:
    account.become("a", state)
    changes = account.command(CommandType.RUN_NOW, "a")
    assert changes == Changes(run_now=account.monitors["a"])
    assert not changes.is_nothing


def test_each_kind_of_change_is_something_and_none_is_nothing(account: Account) -> None:
    user, monitor = account.user, account.monitors["a"]
    assert Changes().is_nothing
    assert Changes(monitors=[]).is_nothing
    assert not Changes(user=user).is_nothing
    assert not Changes(user_ended=True).is_nothing
    assert not Changes(run_now=monitor).is_nothing
    assert not account.command(CommandType.DELETE, "a").is_nothing


def test_a_pause_until_an_instant_is_over_then_unless_somebody_ends_it_before(account: Account) -> None:
    until = LATER + 3_600_000
    account.command(CommandType.PAUSE, "a", until=until)
    paused = account.monitors["a"]
    assert (paused.state, paused.agenda) == (State.PAUSED, Agenda(resume_at=until))
    assert after_agenda(paused, until - 1, until - 1)[0] is paused
    assert after_agenda(paused, until, until)[0].state is State.NEW
    account.command(CommandType.RESUME, "a")
    assert account.monitors["a"].agenda == Agenda()


def test_a_pause_that_lasts_until_another_instant_is_a_change_and_no_transition(account: Account) -> None:
    account.command(CommandType.PAUSE, "a")
    (change,) = account.command(CommandType.PAUSE, "a", until=LATER + 1).monitors
    assert change.transition is None
    assert account.command(CommandType.PAUSE, "a", until=LATER + 1).is_nothing


@pytest.mark.parametrize("until", [1, LATER - 1, LATER])
def test_a_pause_that_is_over_already_is_refused(account: Account, until: int) -> None:
    assert refused(account, CommandType.PAUSE, "a", until=until) == ("the end of the pause has passed", "$.until")


EPOCH = Every(60_000, Align.EPOCH)


def bounded(monitor_id: str, **bounds: int) -> MonitorSpec:
    return msgspec.structs.replace(spec(monitor_id), schedule=EPOCH, **bounds)


TOO_LATE = "it would never be due: end_at lies before its first run"


def test_a_put_of_what_would_never_be_due_is_refused(account: Account) -> None:
    assert refused(account, CommandType.PUT, bounded("new", end_at=NOW)) == (TOO_LATE, "$.monitor.schedule")
    assert refused(account, CommandType.PUT, bounded("a", end_at=NOW)) == (TOO_LATE, "$.monitor.schedule")
    used_up = "it would never be due: its max_runs are used up"
    account.command(CommandType.PUT, bounded("runs", max_runs=3), NOW, SETTLED)
    assert refused(account, CommandType.PUT, bounded("runs", max_runs=2)) == (used_up, "$.monitor.schedule")


def test_a_signup_with_a_monitor_that_would_never_be_due_is_refused_and_names_it(account: Account) -> None:
    before = account.user, dict(account.monitors)
    with pytest.raises(InvalidInput) as caught:
        account.sign_up(spec("a", interval_ms=5_000), bounded("late", end_at=NOW))
    assert (caught.value.reason, caught.value.path) == (TOO_LATE, "$.monitors[1].schedule")
    assert (account.user, account.monitors) == before


def test_a_newcomers_monitor_that_would_never_be_due_is_refused_as_any_other() -> None:
    signup = Signup("u", monitors=(spec("a"), spec("b"), bounded("late", end_at=NOW), spec("c")))
    with pytest.raises(InvalidInput) as known:
        sign_up(signup, None, {}, NOW, SETTLED)
    with pytest.raises(InvalidInput) as unknown:
        newcomer(signup, NOW, NOW)
    assert (known.value.reason, known.value.path) == (TOO_LATE, "$.monitors[2].schedule")
    assert (unknown.value.reason, unknown.value.path) == (TOO_LATE, "$.monitors[2].schedule")


def test_what_ended_by_itself_stays_so_when_its_user_signs_up_again() -> None:
    account = Account()
    account.sign_up(bounded("a", end_at=NOW + 120_000))
    account.become("a", State.DONE)
    assert account.sign_up(bounded("a", end_at=NOW + 120_000), now=LATER, emitted_to=SETTLED_LATER).is_nothing


def test_a_monitor_whose_pause_outlasts_its_end_is_done_when_it_is_resumed(account: Account) -> None:
    account.command(CommandType.PUT, bounded("short", end_at=NOW + 120_000), NOW, SETTLED)
    account.command(CommandType.PAUSE, "short", NOW, SETTLED)
    (change,) = account.command(CommandType.RESUME, "short").monitors
    assert change.transition is not None
    assert (change.transition.from_state, change.transition.to_state) == (State.PAUSED, State.DONE)


def test_a_retry_of_the_version_before_is_not_waited_for(account: Account) -> None:
    stubborn = msgspec.structs.replace(spec("a"), policy=Policy(retries=Retries(3)))
    account.command(CommandType.PUT, stubborn, NOW, SETTLED)
    monitor = account.monitors["a"]
    failed = Result("u", "a", NOW + 60_000, "noop", monitor.version, Status.FAILURE, "", NOW + 60_000, 1.0)
    account.monitors["a"] = after_result(monitor, failed)
    assert account.monitors["a"].agenda.retry_of == NOW + 60_000
    account.command(CommandType.PUT, msgspec.structs.replace(stubborn, config='{"other":1}'))
    assert account.monitors["a"].agenda == Agenda()


# --- delays of plans --------------------------------------------------------------------------------------------------


def delayed(ms: int) -> MonitorSpec:
    return msgspec.structs.replace(once(0), schedule=At(-ms))


def test_a_delay_of_a_plan_counts_from_the_registration_and_signing_up_again_does_not_repeat_what_is_done() -> None:
    account = Account()
    account.sign_up(delayed(3_600_000))
    assert account.user is not None
    assert account.monitors["a"].spec.schedule == At(account.user.registered_at + 3_600_000)
    assert account.sign_up(delayed(3_600_000), now=NOW + 60_000, emitted_to=SETTLED + 60_000).is_nothing
    account.become("a", State.DONE)
    assert account.sign_up(delayed(3_600_000), now=NOW + 7_200_000, emitted_to=SETTLED + 7_200_000).is_nothing
    assert account.monitors["a"].state is State.DONE


def test_a_newcomer_to_a_plan_with_a_delay_who_signs_up_again_changes_nothing() -> None:
    signup = Signup("u", monitors=(delayed(3_600_000),))
    user, (monitor,) = newcomer(signup, NOW, NOW + 500)
    assert monitor.spec.schedule == At(NOW + 3_600_000)
    assert sign_up(signup, user, {"a": monitor}, NOW + 60_000, SETTLED + 60_000).is_nothing


def test_a_delay_that_the_plan_changes_counts_from_the_registration_too() -> None:
    account = Account()
    account.sign_up(delayed(3_600_000))
    account.sign_up(delayed(7_200_000), now=NOW + 60_000, emitted_to=SETTLED + 60_000)
    assert account.monitors["a"].spec.schedule == At(NOW + 7_200_000)


# --- whole users ----------------------------------------------------------------------------------------------------


def states(account: Account) -> dict[str, State]:
    return {name: monitor.state for name, monitor in account.monitors.items()}


def test_a_paused_user_is_resumed_but_for_what_was_paused_by_itself(account: Account) -> None:
    account.command(CommandType.PUT, spec("mine"))
    account.command(CommandType.PAUSE, "mine")
    changes = account.command(CommandType.PAUSE_USER)
    assert len(changes.monitors) == len(account.monitors) - 1
    assert set(states(account).values()) == {State.PAUSED}
    assert account.command(CommandType.PAUSE_USER).is_nothing
    account.command(CommandType.RESUME_USER)
    awake = {name for name, state in states(account).items() if state is not State.PAUSED}
    assert awake == account.monitors.keys() - {"mine"}
    assert account.command(CommandType.RESUME_USER).is_nothing


def test_a_monitor_paused_by_itself_during_its_users_pause_stays_paused(account: Account) -> None:
    name = next(iter(account.monitors))
    account.command(CommandType.PAUSE_USER)
    assert not account.command(CommandType.PAUSE, name).is_nothing
    account.command(CommandType.RESUME_USER)
    assert [each for each, state in states(account).items() if state is State.PAUSED] == [name]


def test_what_is_put_while_its_user_is_paused_runs(account: Account) -> None:
    account.command(CommandType.PAUSE_USER)
    account.command(CommandType.PUT, spec("later"))
    assert states(account)["later"] is State.NEW


@pytest.mark.parametrize("command", [CommandType.PAUSE_USER, CommandType.RESUME_USER])
def test_pausing_an_unknown_user_is_refused(command: CommandType) -> None:
    with pytest.raises(InvalidInput, match="there is no user"):
        Account().command(command)


def test_a_pause_of_a_user_that_is_over_already_is_refused(account: Account) -> None:
    with pytest.raises(InvalidInput, match="has passed"):
        account.command(CommandType.PAUSE_USER, until=LATER)


def test_another_plan_keeps_attributes_own_monitors_and_maintenance() -> None:
    account = Account()
    window = Maintenance(1, 2)
    account.sign_up(
        spec("own"), spec("of-plan"), plan="basic", attributes={"city": "Bern", "age": 7}, maintenance=(window,)
    )
    command = Command(CommandType.SET_USER, "u", plan="gold", attributes={"age": 8}, remove_attributes=("none",))
    changed = changed_signup(command, account.user, account.monitors, {"of-plan"})
    assert changed == Signup("u", "gold", {"city": "Bern", "age": 8}, (spec("own"),), (window,))
    fewer = Command(CommandType.SET_USER, "u", remove_attributes=("city",))
    assert changed_signup(fewer, account.user, account.monitors, ()).attributes == {"age": 7}
    with pytest.raises(InvalidInput, match="there is no user"):
        changed_signup(command, None, {}, ())


def test_a_name_or_label_changes_the_version_and_neither_state_nor_ticks(account: Account) -> None:
    [name, *_] = account.monitors
    before = account.monitors[name]
    labelled = msgspec.structs.replace(before.spec, name="The site", labels=(("env", "prod"),))
    account.command(CommandType.PUT, labelled)
    after = account.monitors[name]
    assert (after.version, after.state, after.since) == (before.version + 1, before.state, before.since)
    assert after.spec.labels == (("env", "prod"),)


# --- purged users -----------------------------------------------------------------------------------------------------


def test_a_purge_ends_a_user_and_may_come_again(account: Account) -> None:
    changes = account.command(CommandType.PURGE)
    assert changes.user_ended
    assert {change.after for change in changes.monitors} == {None}
    assert Account().command(CommandType.PURGE).is_nothing
