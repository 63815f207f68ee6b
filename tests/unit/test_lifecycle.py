"""States of monitors: which result leads where, and what says nothing of the state."""

import itertools

import msgspec
import pytest

from everwatch.lifecycle import (
    LEGAL,
    after_result,
    after_signal,
    first_put,
    pause,
    put_again,
    resume,
    transition_between,
)
from everwatch.model import At, Cron, Every, Monitor, MonitorSpec, Origin, Policy, Result, State, Status

SPEC = MonitorSpec("m", "http", '{"url":"http://a.example/"}', Every(60_000))
OTHER_CONFIG = msgspec.structs.replace(SPEC, config='{"url":"http://b.example/"}')
OTHER_KIND = msgspec.structs.replace(SPEC, kind="tcp")
OTHER_SCHEDULE = msgspec.structs.replace(SPEC, schedule=Every(5_000))
OTHER_POLICY = msgspec.structs.replace(SPEC, policy=Policy(failures_to_down=2))
SINCE = 1_000_000
AT = 2_000_000


def monitor(state: State = State.NEW, **fields: object) -> Monitor:
    given = first_put("u", SPEC, Origin.SIGNUP, SINCE, SINCE)
    return msgspec.structs.replace(given, state=state, **fields)


def result(status: Status, at: int = AT, version: int = 1) -> Result:
    return Result("u", "m", at, "http", version, status, f"it was a {status}", started_at=at, duration_ms=1.0)


def judged(given: Monitor, *statuses: Status) -> list[State]:
    """The states that these results, a minute apart, lead through."""
    states = []
    for i, status in enumerate(statuses):
        given = after_result(given, result(status, AT + i * 60_000))
        states.append(given.state)
    return states


def with_thresholds(state: State) -> Monitor:
    policy = Policy(failures_to_down=3, successes_to_up=2)
    return monitor(state, spec=msgspec.structs.replace(SPEC, policy=policy))


TABLE = {
    #              success       failure       late          skipped
    State.NEW:    (State.UP,     State.DOWN,   State.LATE,   State.NEW),
    State.UP:     (State.UP,     State.DOWN,   State.LATE,   State.UP),
    State.DOWN:   (State.UP,     State.DOWN,   State.LATE,   State.DOWN),
    State.LATE:   (State.UP,     State.DOWN,   State.LATE,   State.LATE),
    State.PAUSED: (State.PAUSED, State.PAUSED, State.PAUSED, State.PAUSED),
    State.DONE:   (State.DONE,   State.DONE,   State.DONE,   State.DONE),
}  # fmt: skip
STATUSES = (Status.SUCCESS, Status.FAILURE, Status.LATE, Status.SKIPPED)


def test_the_table_below_leaves_no_state_and_no_status_out() -> None:
    assert set(TABLE) == set(LEGAL) == set(State)
    assert set(STATUSES) == set(Status)


@pytest.mark.parametrize(
    ("before", "status", "after"),
    [(before, s, after) for before, row in TABLE.items() for s, after in zip(STATUSES, row, strict=True)],
)
def test_one_result_leads_from_each_state_where_the_table_says(before: State, status: Status, after: State) -> None:
    old = monitor(before)
    new = after_result(old, result(status))
    assert new.state is after
    transition = transition_between(old, new)
    if before is after:
        assert new is old  # nothing to write
        assert transition is None
    else:
        assert transition is not None
        assert (transition.user_id, transition.monitor_id, transition.version) == ("u", "m", 1)
        assert (transition.from_state, transition.to_state, transition.at) == (before, after, AT)
        assert transition.reason == f"it was a {status}"
        assert (new.state_since, new.reason, new.judged_at, new.streak) == (AT, f"it was a {status}", AT, 0)


S, F, L = Status.SUCCESS, Status.FAILURE, Status.LATE


@pytest.mark.parametrize(
    ("before", "statuses", "states"),
    [
        (State.UP, [F, F, F], [State.UP, State.UP, State.DOWN]),
        (State.NEW, [F, F, F], [State.NEW, State.NEW, State.DOWN]),
        (State.LATE, [F, F, F], [State.LATE, State.LATE, State.DOWN]),
        (State.UP, [F, F, S, F, F, F], [State.UP, State.UP, State.UP, State.UP, State.UP, State.DOWN]),
        (State.DOWN, [S, S], [State.DOWN, State.UP]),
        (State.DOWN, [S, F, S, S], [State.DOWN, State.DOWN, State.DOWN, State.UP]),
        (State.LATE, [S, S], [State.LATE, State.UP]),
        (State.LATE, [S, L, S, S], [State.LATE, State.LATE, State.LATE, State.UP]),
        (State.NEW, [S], [State.UP]),
        (State.NEW, [F, F, S], [State.NEW, State.NEW, State.UP]),
        (State.UP, [F, F, L], [State.UP, State.UP, State.LATE]),
        (State.DOWN, [S, L, S, S], [State.DOWN, State.LATE, State.LATE, State.UP]),
        (State.DOWN, [S, S, F, F, F], [State.DOWN, State.UP, State.UP, State.UP, State.DOWN]),
    ],
)
def test_three_failures_in_a_row_are_down_and_two_successes_up(
    before: State, statuses: list[Status], states: list[State]
) -> None:
    assert judged(with_thresholds(before), *statuses) == states


def test_a_streak_on_its_way_to_the_threshold_is_remembered_across_a_restart() -> None:
    on_its_way = after_result(with_thresholds(State.UP), result(F))
    assert (on_its_way.state, on_its_way.streak, on_its_way.judged_at) == (State.UP, 1, AT)


def test_a_monitor_that_is_up_and_stays_up_writes_nothing() -> None:
    up = after_result(monitor(), result(S))
    assert after_result(up, result(S, AT + 60_000)) is up


def test_the_same_result_twice_counts_once() -> None:
    once = after_result(with_thresholds(State.UP), result(F))
    assert after_result(once, result(F)) is once


@pytest.mark.parametrize("status", STATUSES)
def test_a_result_older_than_the_last_that_counted_is_ignored(status: Status) -> None:
    down = after_result(monitor(State.UP), result(F))
    assert after_result(down, result(status, AT - 60_000)) is down


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("version", [1, 3])
def test_a_result_of_another_version_is_ignored(status: Status, version: int) -> None:
    given = monitor(State.UP, version=2)
    assert after_result(given, result(status, version=version)) is given


@pytest.mark.parametrize("status", STATUSES)
def test_a_tick_from_before_the_pause_that_ends_after_the_resume_is_ignored(status: Status) -> None:
    resumed = resume(pause(monitor(State.UP), AT), AT + 60_000)
    assert after_result(resumed, result(status, AT - 60_000)) is resumed
    assert after_result(resumed, result(status, AT + 60_000)) is resumed


def test_the_first_tick_after_the_resume_counts() -> None:
    resumed = resume(pause(monitor(State.UP), AT), AT + 60_000)
    assert after_result(resumed, result(F, AT + 60_001)).state is State.DOWN


def once(state: State = State.NEW, policy: Policy = SPEC.policy, **fields: object) -> Monitor:
    """A monitor that is due at AT and never again."""
    return monitor(state, spec=msgspec.structs.replace(SPEC, schedule=At(AT), policy=policy), **fields)


AWAKE = [State.NEW, State.UP, State.DOWN, State.LATE]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.SUCCESS, "it was a success"),
        (Status.FAILURE, "failure: it was a failure"),
        (Status.LATE, "late: it was a late"),
        (Status.SKIPPED, "skipped: it was a skipped"),
    ],
)
@pytest.mark.parametrize("state", AWAKE)
def test_a_delayed_task_is_over_after_its_one_run_however_that_ended(state: State, status: Status, reason: str) -> None:
    before = once(state, Policy(failures_to_down=3, successes_to_up=2))
    done = after_result(before, result(status))
    assert (done.state, done.state_since, done.reason, done.judged_at) == (State.DONE, AT, reason, AT)
    transition = transition_between(before, done)
    assert transition is not None
    assert (transition.from_state, transition.to_state, transition.at, transition.reason) == (
        state,
        State.DONE,
        AT,
        reason,
    )


def test_a_failure_that_gives_no_reason_is_still_told_apart_from_a_success() -> None:
    silent = msgspec.structs.replace(result(F), reason="")
    assert after_result(once(), silent).reason == "failure"


def test_a_delayed_task_that_was_running_when_it_was_paused_does_not_run_again() -> None:
    done = after_result(pause(once(), AT), result(S))
    assert done.state is State.DONE
    assert resume(done, AT + 60_000) is done


def test_a_delayed_task_that_was_put_anew_is_not_ended_by_the_run_of_the_old_one() -> None:
    again = once(since=AT + 1)
    assert after_result(again, result(S)) is again
    changed = put_again(once(), OTHER_CONFIG, Origin.COMMAND, AT - 1)
    assert after_result(changed, result(S)) is changed


@pytest.mark.parametrize("status", STATUSES)
def test_a_delayed_task_that_is_done_stays_done(status: Status) -> None:
    done = after_result(once(), result(S))
    assert put_again(done, done.spec, Origin.SIGNUP, AT + 1) is done
    assert after_result(done, result(status, AT + 1)) is done
    assert pause(done, AT + 1) is done


def test_a_monitor_whose_schedule_becomes_an_instant_is_over_after_that() -> None:
    changed = put_again(monitor(State.UP), once().spec, Origin.SIGNUP, SINCE)
    assert changed.state is State.UP
    assert after_result(changed, result(F, version=2)).state is State.DONE


def test_a_monitor_on_a_cron_schedule_is_judged_like_one_on_an_interval() -> None:
    nightly = monitor(spec=msgspec.structs.replace(SPEC, schedule=Cron("0 3 * * *")))
    assert judged(nightly, S, F, S) == [State.UP, State.DOWN, State.UP]


def test_a_monitor_first_put_is_new_and_due_from_when_it_begins() -> None:
    given = first_put("u", SPEC, Origin.COMMAND, SINCE, SINCE + 300)
    assert (given.state, given.version, given.since, given.state_since) == (State.NEW, 1, SINCE + 300, SINCE)


@pytest.mark.parametrize("state", State)
def test_the_same_spec_put_again_changes_nothing(state: State) -> None:
    given = monitor(state)
    assert put_again(given, SPEC, Origin.SIGNUP, AT) is given


def test_the_same_spec_from_somebody_else_changes_whose_it_is_and_no_more() -> None:
    given = monitor(State.UP, streak=2)
    assert put_again(given, SPEC, Origin.COMMAND, AT) == msgspec.structs.replace(given, origin=Origin.COMMAND)


@pytest.mark.parametrize("spec", [OTHER_SCHEDULE, OTHER_POLICY], ids=["schedule", "policy"])
@pytest.mark.parametrize("state", [state for state in State if state is not State.DONE])
def test_another_schedule_or_policy_keeps_the_state_and_forgets_the_streak(state: State, spec: MonitorSpec) -> None:
    given = monitor(state, streak=2, reason="because", state_since=5)
    assert put_again(given, spec, Origin.SIGNUP, AT) == msgspec.structs.replace(
        given, spec=spec, version=2, since=AT, streak=0
    )


@pytest.mark.parametrize("spec", [OTHER_CONFIG, OTHER_KIND], ids=["config", "kind"])
@pytest.mark.parametrize("state", [State.UP, State.DOWN, State.LATE])
def test_another_kind_or_config_makes_what_was_known_void(state: State, spec: MonitorSpec) -> None:
    changed = put_again(monitor(state, streak=2), spec, Origin.SIGNUP, AT)
    assert (changed.state, changed.reason, changed.state_since) == (State.NEW, "it checks something else now", AT)
    assert (changed.version, changed.since, changed.streak) == (2, AT, 0)


@pytest.mark.parametrize("spec", [OTHER_CONFIG, OTHER_KIND, OTHER_SCHEDULE, OTHER_POLICY])
def test_a_monitor_that_is_done_begins_anew_with_any_change(spec: MonitorSpec) -> None:
    changed = put_again(monitor(State.DONE), spec, Origin.SIGNUP, AT)
    assert (changed.state, changed.reason, changed.state_since) == (State.NEW, "it was changed and begins anew", AT)
    assert (changed.version, changed.since) == (2, AT)


@pytest.mark.parametrize("state", [State.PAUSED, State.NEW])
def test_another_config_wakes_no_paused_monitor(state: State) -> None:
    changed = put_again(monitor(state), OTHER_CONFIG, Origin.SIGNUP, AT)
    assert (changed.state, changed.version) == (state, 2)


def test_a_change_as_of_an_instant_before_the_monitor_was_put_makes_nothing_due_from_before() -> None:
    assert put_again(monitor(State.UP), OTHER_SCHEDULE, Origin.SIGNUP, SINCE - 500).since == SINCE
    assert resume(monitor(State.PAUSED), SINCE - 500).since == SINCE


@pytest.mark.parametrize("state", State)
def test_pause_puts_to_sleep_what_is_awake(state: State) -> None:
    given = monitor(state, streak=1)
    paused = pause(given, AT)
    if state in (State.PAUSED, State.DONE):
        assert paused is given
    else:
        assert (paused.state, paused.state_since, paused.reason) == (State.PAUSED, AT, "paused by command")
        assert paused.streak == 0


@pytest.mark.parametrize("state", State)
def test_resume_wakes_what_is_paused_and_sets_since_when_it_is_due(state: State) -> None:
    given = monitor(state)
    resumed = resume(given, AT)
    if state is State.PAUSED:
        assert (resumed.state, resumed.since, resumed.state_since) == (State.NEW, AT, AT)
        assert (resumed.reason, resumed.version) == ("resumed by command", 1)
    else:
        assert resumed is given


def test_only_the_newest_signal_is_kept() -> None:
    given = after_signal(monitor(), AT)
    assert given.last_signal == AT
    assert after_signal(given, AT) is given
    assert after_signal(given, AT - 1) is given
    assert after_signal(given, AT + 1).last_signal == AT + 1


def test_whatever_happens_every_transition_is_legal() -> None:
    policies = [Policy(), Policy(failures_to_down=3, successes_to_up=2)]
    schedules = [SPEC.schedule, Cron("0 3 * * *"), At(AT)]
    for state, policy, schedule, streak in itertools.product(State, policies, schedules, (0, 1, 2)):
        old = monitor(state, spec=msgspec.structs.replace(SPEC, policy=policy, schedule=schedule), streak=streak)
        news = [pause(old, AT), resume(old, AT), after_signal(old, AT)]
        news += [after_result(old, result(status)) for status in Status]
        news += [put_again(old, spec, Origin.COMMAND, AT) for spec in (OTHER_CONFIG, OTHER_KIND, OTHER_SCHEDULE)]
        for new in news:
            transition = transition_between(old, new)  # asserts as much; said again here, where it is meant
            assert (transition is None) == (new.state is old.state)
            assert transition is None or transition.to_state in LEGAL[transition.from_state]


def test_an_illegal_change_of_state_does_not_go_out() -> None:
    with pytest.raises(AssertionError, match="paused to up"):
        transition_between(monitor(State.PAUSED), monitor(State.UP))
