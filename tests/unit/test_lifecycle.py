"""States of monitors: which result leads where, and what says nothing of the state.

All in one file: cases of one state machine.
"""

import itertools
from typing import Any

import msgspec
import pytest

from everwatch.model import (
    NO_SIGNALS,
    NOTHING,
    Agenda,
    Align,
    At,
    Backoff,
    Cron,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Result,
    Retries,
    SignalState,
    State,
    Status,
    Transition,
)
from everwatch.rules.lifecycle import (
    LEGAL,
    after_agenda,
    after_result,
    after_signals,
    first_put,
    forgotten_at,
    is_alarm,
    is_bounded,
    is_muted,
    is_to_be_forgotten,
    pause,
    put_again,
    reminded_at,
    reminder,
    resume,
    runs_until,
    transition_between,
    with_reminder,
)
from everwatch.schedule.due import NeverDue

SPEC = MonitorSpec("m", "http", '{"url":"http://a.example/"}', Every(60_000))
OTHER_CONFIG = msgspec.structs.replace(SPEC, config='{"url":"http://b.example/"}')
OTHER_KIND = msgspec.structs.replace(SPEC, kind="tcp")
OTHER_SCHEDULE = msgspec.structs.replace(SPEC, schedule=Every(5_000))
OTHER_POLICY = msgspec.structs.replace(SPEC, policy=Policy(failures_to_down=2))
SINCE = 1_000_000
AT = 2_000_000


def monitor(state: State = State.NEW, **fields: Any) -> Monitor:
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


@pytest.mark.parametrize(
    ("late_s", "status", "reason"),
    [
        (59, F, "because"),
        (61, F, "because (run 61 s late)"),
        (398, F, "because (run 6 min 38 s late)"),
        (398, S, "run 6 min 38 s late"),
    ],
)
def test_a_state_that_rests_on_a_late_run_says_so(late_s: int, status: Status, reason: str) -> None:
    told = "because" if status is F else ""
    late = msgspec.structs.replace(result(status), started_at=AT + late_s * 1_000, reason=told)
    assert after_result(monitor(), late).reason == reason
    # a retry is late by intention, and a run by hand was not due
    for beside in ({"attempt": 2}, {"manual": True}):
        assert after_result(monitor(), msgspec.structs.replace(late, **beside)).reason == told


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


def once(state: State = State.NEW, policy: Policy = SPEC.policy, **fields: Any) -> Monitor:
    """A monitor that is due at AT and never again."""
    return monitor(state, spec=msgspec.structs.replace(SPEC, schedule=At(AT), policy=policy), **fields)


AWAKE = [State.NEW, State.UP, State.DOWN, State.LATE]


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("state", AWAKE)
def test_a_delayed_task_is_over_after_its_one_run_however_that_ended(state: State, status: Status) -> None:
    reason = f"it was a {status}"
    before = once(state, Policy(failures_to_down=3, successes_to_up=2))
    done = after_result(before, result(status))
    assert (done.state, done.state_since, done.reason, done.judged_at) == (State.DONE, AT, reason, AT)
    assert done.outcome is status
    transition = transition_between(before, done)
    assert transition is not None
    assert (transition.from_state, transition.to_state, transition.at) == (state, State.DONE, AT)
    assert (transition.reason, transition.outcome) == (reason, status)


def test_a_failure_that_gives_no_reason_is_still_told_apart_from_a_success() -> None:
    failed = after_result(once(), msgspec.structs.replace(result(F), reason=""))
    assert (failed.outcome, failed.reason) == (F, "")


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


def test_what_signals_say_is_kept_and_what_is_known_already_changes_nothing() -> None:
    running = SignalState(started_at=AT + 5)
    given = after_signals(monitor(), AT, running)
    assert (given.last_signal, given.signals) == (AT, running)
    assert after_signals(given, AT, SignalState(started_at=AT + 5)) is given
    # what is empty is the one value that says so
    assert after_signals(given, AT, SignalState()).signals is NO_SIGNALS


def test_another_kind_forgets_the_signals_and_another_config_what_it_made_of_them() -> None:
    heard = SignalState(
        started_at=AT, failed_at=3, exit_code=1, duration_ms=2.5, value=7.5, beyond_since=4, breached=True
    )
    given = after_signals(monitor(State.UP), AT, heard)
    other_kind = put_again(given, OTHER_KIND, Origin.SIGNUP, AT)
    assert (other_kind.last_signal, other_kind.signals) == (0, NO_SIGNALS)
    other_config = put_again(given, OTHER_CONFIG, Origin.SIGNUP, AT)
    assert other_config.last_signal == AT
    assert other_config.signals == SignalState(
        started_at=AT, failed_at=3, exit_code=1, duration_ms=2.5, counted_from=AT
    )
    for spec in (OTHER_SCHEDULE, OTHER_POLICY):
        assert put_again(given, spec, Origin.SIGNUP, AT).signals == msgspec.structs.replace(heard, counted_from=AT)


def test_silence_is_counted_anew_after_a_change_or_a_pause_and_from_a_start_that_lies_ahead() -> None:
    given = after_signals(monitor(State.UP), AT - 9_000, NO_SIGNALS)
    assert put_again(given, OTHER_SCHEDULE, Origin.SIGNUP, AT).signals.counted_from == AT
    resumed = resume(pause(given, AT), AT + 5_000)
    assert resumed.signals.counted_from == resumed.since == AT + 5_000
    # where no signal is known, that is what since says
    assert resume(pause(monitor(State.UP), AT), AT + 5_000).signals is NO_SIGNALS
    later = msgspec.structs.replace(SPEC, start_at=AT + 60_000)
    assert first_put("u", later, Origin.SIGNUP, AT, AT).signals.counted_from == AT + 59_999
    assert first_put("u", SPEC, Origin.SIGNUP, AT, AT).signals is NO_SIGNALS


def test_whatever_happens_every_transition_is_legal() -> None:
    policies = [Policy(), Policy(failures_to_down=3, successes_to_up=2)]
    schedules = [SPEC.schedule, Cron("0 3 * * *"), At(AT)]
    for state, policy, schedule, streak in itertools.product(State, policies, schedules, (0, 1, 2)):
        old = monitor(state, spec=msgspec.structs.replace(SPEC, policy=policy, schedule=schedule), streak=streak)
        news = [pause(old, AT), resume(old, AT), after_signals(old, AT, SignalState(started_at=AT))]
        news += [after_result(old, result(status)) for status in Status]
        news += [put_again(old, spec, Origin.COMMAND, AT) for spec in (OTHER_CONFIG, OTHER_KIND, OTHER_SCHEDULE)]
        for new in news:
            transition = transition_between(old, new)  # asserts as much; said again here, where it is meant
            assert (transition is None) == (new.state is old.state)
            assert transition is None or transition.to_state in LEGAL[transition.from_state]


def test_an_illegal_change_of_state_does_not_go_out() -> None:
    with pytest.raises(AssertionError, match="paused to up"):
        transition_between(monitor(State.PAUSED), monitor(State.UP))


# --- retries ----------------------------------------------------------------------------------------------------------

RETRIES = Retries(2, Backoff.FIXED, base_ms=5_000, cap_ms=60_000, jitter=0.0)
MINUTE = 60_000


def stubborn(state: State = State.UP, retries: Retries = RETRIES, **policy: Any) -> Monitor:
    """A monitor whose failed ticks are tried again, twice as a rule."""
    spec = msgspec.structs.replace(SPEC, policy=Policy(retries=retries, **policy))
    return monitor(state, spec=spec, state_since=SINCE)


def attempt(number: int, status: Status = F, at: int = AT, **fields: Any) -> Result:
    """Return how attempt ``number`` at the tick due at ``at`` ended, 20 ms after it began."""
    started_at = at + (number - 1) * 5_020
    return msgspec.structs.replace(
        result(status, at), attempt=number, started_at=started_at, duration_ms=19.5, **fields
    )


def after(given: Monitor, *results: Result) -> Monitor:
    for each in results:
        given = after_result(given, each)
    return given


def retry_of(given: Monitor) -> tuple[int, int, int]:
    return given.agenda.retry_at, given.agenda.retry_of, given.agenda.retry_attempt


NO_RETRY = (0, 0, 0)


@pytest.mark.parametrize("state", AWAKE)
def test_a_failure_that_may_be_tried_again_says_nothing_of_the_state_yet(state: State) -> None:
    before = stubborn(state)
    pending = after(before, attempt(1))
    assert retry_of(pending) == (AT + 20 + 5_000, AT, 2)
    assert msgspec.structs.replace(pending, agenda=NOTHING) == before


def test_a_retry_is_not_planned_for_when_sweeps_are_past_already() -> None:
    assert after_result(stubborn(), attempt(1), earliest=AT + 60_000).agenda.retry_at == AT + 60_000
    assert after_result(stubborn(), attempt(1), earliest=AT).agenda.retry_at == AT + 5_020


def test_a_tick_is_tried_again_as_often_as_its_policy_says_and_then_it_failed() -> None:
    second = after(stubborn(), attempt(1), attempt(2))
    assert retry_of(second) == (AT + 2 * 5_020, AT, 3)
    assert second.state is State.UP
    down = after(second, attempt(3))
    assert (down.state, down.state_since, down.judged_at, down.agenda) == (State.DOWN, AT, AT, NOTHING)


def test_delays_grow_as_the_backoff_says() -> None:
    growing = stubborn(retries=msgspec.structs.replace(RETRIES, backoff=Backoff.EXPONENTIAL))
    first, second = after(growing, attempt(1)), after(growing, attempt(1), attempt(2))
    assert first.agenda.retry_at == AT + 20 + 5_000
    assert second.agenda.retry_at == AT + 5_040 + 10_000


@pytest.mark.parametrize("state", AWAKE)
@pytest.mark.parametrize("number", [2, 3])
def test_a_retry_that_succeeds_makes_good_what_failed(state: State, number: int) -> None:
    failures = [attempt(i) for i in range(1, number)]
    up = after(stubborn(state), *failures, attempt(number, S))
    assert (up.state, up.streak, up.judged_at, up.agenda) == (State.UP, 0, AT, NOTHING)


def test_a_success_after_a_retry_ends_a_streak_of_failures() -> None:
    given = stubborn(failures_to_down=2)
    failed = after(given, attempt(1), attempt(2), attempt(3))
    assert (failed.state, failed.streak) == (State.UP, 1)
    made_good = after(failed, attempt(1, at=AT + MINUTE), attempt(2, S, AT + MINUTE))
    assert (made_good.state, made_good.streak) == (State.UP, 0)


def test_ticks_count_towards_the_threshold_and_not_their_attempts() -> None:
    given = stubborn(failures_to_down=2)
    first = after(given, *(attempt(i) for i in (1, 2, 3)))
    second = after(first, *(attempt(i, at=AT + MINUTE) for i in (1, 2, 3)))
    assert (first.state, second.state, second.state_since) == (State.UP, State.DOWN, AT + MINUTE)


@pytest.mark.parametrize("status", STATUSES)
def test_what_comes_of_a_tick_whose_retries_are_over_is_ignored(status: Status) -> None:
    down = after(stubborn(), *(attempt(i) for i in (1, 2, 3)))
    for number in (1, 2, 3, 4):
        assert after(down, attempt(number, status)) is down


@pytest.mark.parametrize("status", STATUSES)
def test_the_attempts_before_the_one_that_is_pending_are_known(status: Status) -> None:
    pending = after(stubborn(), attempt(1), attempt(2))
    assert after(pending, attempt(1, status)) is pending
    assert after(pending, attempt(2, status)) is pending
    assert after_result(pending, attempt(2, status), earliest=AT + MINUTE) is pending


def test_the_next_tick_displaces_a_retry_and_what_was_to_be_tried_again_failed() -> None:
    pending = after(stubborn(failures_to_down=2), attempt(1))
    displaced = after(pending, attempt(1, at=AT + MINUTE))
    assert retry_of(displaced) == (AT + MINUTE + 5_020, AT + MINUTE, 2)
    assert (displaced.state, displaced.streak, displaced.judged_at) == (State.UP, 1, AT)
    down = after(pending, attempt(1, Status.LATE, AT + MINUTE))
    assert (down.state, down.agenda) == (State.LATE, NOTHING)


def test_a_tick_that_was_given_up_and_the_next_one_that_fails_are_two_failures() -> None:
    given = stubborn(retries=msgspec.structs.replace(RETRIES, most=1), failures_to_down=2)
    displaced = after(given, attempt(1), attempt(1, at=AT + MINUTE))
    down = after(displaced, attempt(2, at=AT + MINUTE))
    assert (displaced.state, down.state, down.state_since) == (State.UP, State.DOWN, AT + MINUTE)


def test_a_monitor_that_goes_down_because_its_tick_was_given_up_says_so() -> None:
    before = after(stubborn(), attempt(1))
    down = after(before, attempt(1, at=AT + MINUTE))
    transition = transition_between(before, down)
    assert transition is not None
    assert (transition.to_state, transition.at) == (State.DOWN, AT)
    assert transition.reason == "its last failure was not tried again"


def test_the_next_tick_that_succeeds_is_what_counts_in_the_end() -> None:
    pending = after(stubborn(failures_to_down=1), attempt(1))
    up = after(pending, attempt(1, S, AT + MINUTE))
    assert (up.state, up.judged_at, up.agenda) == (State.UP, AT + MINUTE, NOTHING)
    assert transition_between(pending, up) is None


def test_a_failure_that_was_not_tried_again_ends_a_streak_of_successes() -> None:
    given = stubborn(State.DOWN, failures_to_down=3, successes_to_up=2)
    on_its_way = after(given, attempt(1, S))
    displaced = after(on_its_way, attempt(1, F, AT + MINUTE), attempt(1, S, AT + 2 * MINUTE))
    assert (on_its_way.streak, displaced.state, displaced.streak) == (1, State.DOWN, 1)
    assert after(displaced, attempt(1, S, AT + 3 * MINUTE)).state is State.UP


@pytest.mark.parametrize("status", STATUSES)
def test_the_late_result_of_an_older_tick_does_not_displace_a_retry(status: Status) -> None:
    pending = after(stubborn(), attempt(1))
    assert after(pending, attempt(1, status, AT - MINUTE)) is pending


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("status", STATUSES)
def test_the_late_result_of_a_tick_that_was_displaced_is_ignored(status: Status, number: int) -> None:
    displaced = after(stubborn(), attempt(1), attempt(1, at=AT + MINUTE))
    assert after(displaced, attempt(number, status)) is displaced


def test_a_later_tick_that_was_skipped_leaves_the_retry_where_it_is() -> None:
    pending = after(stubborn(), attempt(1))
    assert after(pending, attempt(1, Status.SKIPPED, AT + MINUTE)) is pending


def test_a_retry_that_is_skipped_counts_as_the_failure_that_was_to_be_tried_again() -> None:
    down = after(stubborn(), attempt(1), attempt(2, Status.SKIPPED, skipped_until=AT, skipped_count=1))
    assert (down.state, down.state_since, down.agenda) == (State.DOWN, AT, NOTHING)
    assert down.reason == "it was a skipped"


def test_a_retry_that_overtook_the_one_before_it_counts() -> None:
    assert after(stubborn(), attempt(1), attempt(3)).state is State.DOWN
    assert after(stubborn(), attempt(2, S), attempt(1)).state is State.UP


def test_without_retries_a_failure_counts_at_once_whichever_attempt_it_was() -> None:
    given = monitor(State.UP)
    assert after(given, attempt(1)).state is State.DOWN
    assert after(given, attempt(3)).state is State.DOWN


def test_another_version_drops_a_retry() -> None:
    pending = after(stubborn(), attempt(1))
    changed = put_again(pending, msgspec.structs.replace(pending.spec, schedule=Every(5_000)), Origin.SIGNUP, AT + 100)
    assert (changed.version, changed.agenda) == (2, NOTHING)
    assert after(changed, attempt(2)) is changed


def test_a_pause_drops_a_retry() -> None:
    paused = pause(after(stubborn(), attempt(1)), AT + 100)
    assert (paused.state, paused.agenda) == (State.PAUSED, NOTHING)
    assert after(paused, attempt(2)) is paused
    resumed = resume(paused, AT + 200)
    assert after(resumed, attempt(2)) is resumed


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_result_counts_twice_however_often_it_comes_back(number: int) -> None:
    given = after(stubborn(failures_to_down=2), *(attempt(i) for i in range(1, number)))
    for status in STATUSES:
        once_judged = after(given, attempt(number, status))
        assert after(once_judged, attempt(number, status)) is once_judged


def stubborn_task() -> Monitor:
    return once(policy=Policy(retries=RETRIES), origin=Origin.COMMAND)


def test_a_task_with_retries_is_not_over_before_the_last_of_them() -> None:
    pending = after(stubborn_task(), attempt(1), attempt(2))
    assert (pending.state, retry_of(pending)) == (State.NEW, (AT + 2 * 5_020, AT, 3))
    failed = after(pending, attempt(3))
    assert (failed.state, failed.outcome, failed.reason) == (State.DONE, F, "it was a failure")
    assert (failed.agenda, failed.judged_at) == (NOTHING, AT)


def test_a_task_whose_retry_succeeds_is_done() -> None:
    done = after(stubborn_task(), attempt(1), attempt(2, S))
    assert (done.state, done.reason, done.agenda) == (State.DONE, "it was a success", NOTHING)


def test_a_task_that_fails_while_it_is_paused_is_not_tried_again() -> None:
    failed = after(pause(stubborn_task(), AT), attempt(1))
    assert (failed.state, failed.outcome, failed.reason) == (State.DONE, F, "it was a failure")


def test_a_task_run_by_hand_has_its_one_run_still_before_it() -> None:
    given = stubborn_task()
    for status in STATUSES:
        assert after(given, attempt(1, status, AT - 500, manual=True)) is given


def test_a_run_by_hand_is_judged_like_any_other() -> None:
    assert after(monitor(State.UP), attempt(1, manual=True)).state is State.DOWN
    assert retry_of(after(stubborn(), attempt(1, manual=True))) == (AT + 5_020, AT, 2)


# --- beginnings and ends ----------------------------------------------------------------------------------------------


def bounded(schedule: Every | Cron | At = SPEC.schedule, **bounds: Any) -> MonitorSpec:
    return msgspec.structs.replace(SPEC, schedule=schedule, **bounds)


def put(spec: MonitorSpec, now: int = SINCE) -> Monitor:
    return first_put("u", spec, Origin.COMMAND, now, now)


EPOCH = Every(60_000, Align.EPOCH)
FIRST, SECOND, THIRD, FOURTH, FIFTH = (1_020_000 + i * 60_000 for i in range(5))
"""When an interval of a minute aligned to the epoch is due after SINCE."""


def ran(given: Monitor, *instants: int, status: Status = S) -> Monitor:
    for instant in instants:
        given = after_result(given, result(status, instant, given.version))
    return given


def test_a_monitor_with_a_beginning_is_due_from_then_on() -> None:
    begins = put(bounded(EPOCH, start_at=THIRD))
    assert (begins.since, begins.agenda) == (THIRD - 1, NOTHING)
    assert put(bounded(EPOCH, start_at=SINCE - 500)).since == SINCE


def test_a_monitor_is_done_after_the_last_run_before_its_end() -> None:
    given = put(bounded(EPOCH, end_at=THIRD + 59_999))
    assert given.agenda == Agenda(ends_at=THIRD)
    given = ran(given, FIRST, SECOND)
    assert given.state is State.UP
    done = ran(given, THIRD)
    assert (done.state, done.state_since, done.reason) == (State.DONE, THIRD, "it ran for the last time")
    assert done.agenda == NOTHING


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("state", AWAKE)
def test_the_last_run_is_the_last_however_it_ended(state: State, status: Status) -> None:
    before = msgspec.structs.replace(put(bounded(EPOCH, max_runs=3)), state=state)
    done = ran(before, THIRD, status=status)
    assert done.state is State.DONE
    transition = transition_between(before, done)
    assert transition is not None
    assert (transition.from_state, transition.to_state) == (state, State.DONE)
    assert ran(done, FOURTH, status=status) is done


def test_the_last_run_is_tried_again_like_any_other_before_it_is_over() -> None:
    given = put(msgspec.structs.replace(bounded(EPOCH, max_runs=1), policy=Policy(retries=RETRIES)))
    pending = after(given, attempt(1, at=FIRST))
    assert (pending.state, pending.agenda.ends_at, pending.agenda.retry_of) == (State.NEW, FIRST, FIRST)
    assert after(pending, attempt(2, at=FIRST), attempt(3, at=FIRST)).state is State.DONE
    assert after(pending, attempt(2, S, FIRST)).state is State.DONE


def test_a_retry_of_the_run_before_the_last_does_not_outlive_the_last() -> None:
    given = put(msgspec.structs.replace(bounded(EPOCH, max_runs=2), policy=Policy(retries=RETRIES)))
    done = after(given, attempt(1, at=FIRST), attempt(1, S, SECOND))
    assert (done.state, done.agenda) == (State.DONE, NOTHING)


def skipped(begin: int, end: int) -> Result:
    count = (end - begin) // 60_000 + 1
    return msgspec.structs.replace(result(Status.SKIPPED, begin), skipped_until=end, skipped_count=count)


def test_a_monitor_whose_last_runs_are_skipped_together_is_over() -> None:
    given = put(bounded(EPOCH, max_runs=4))
    assert ran(given, FIRST).state is State.UP
    assert after(ran(given, FIRST), skipped(SECOND, THIRD)).state is State.UP
    assert after(ran(given, FIRST), skipped(SECOND, FOURTH)).state is State.DONE


def test_a_run_by_hand_is_not_the_last_one() -> None:
    given = put(bounded(EPOCH, max_runs=2))
    by_hand = msgspec.structs.replace(result(F, FIRST + 1), manual=True)
    down = after(given, by_hand)
    assert (down.state, down.agenda.ends_at) == (State.DOWN, SECOND)
    assert ran(down, SECOND).state is State.DONE


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("at", [SECOND, SECOND + 1])
def test_a_run_by_hand_does_not_overtake_the_last_one(at: int, status: Status) -> None:
    given = ran(put(bounded(EPOCH, max_runs=2)), FIRST)
    by_hand = msgspec.structs.replace(result(status, at), manual=True)
    assert after(given, by_hand) is given
    assert ran(given, SECOND).state is State.DONE


def test_a_run_by_hand_amid_ticks_that_are_skipped_does_not_hide_that_the_last_is_among_them() -> None:
    by_hand = msgspec.structs.replace(result(F, SECOND + 1), manual=True)
    down = after(put(bounded(EPOCH, max_runs=3)), by_hand)
    assert after(down, skipped(FIRST, THIRD)).state is State.DONE


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (bounded(EPOCH, end_at=FIRST - 1), "it would never be due: end_at lies before its first run"),
        (bounded(EPOCH, start_at=THIRD, end_at=THIRD - 1), "it would never be due: end_at lies before its first run"),
        (bounded(At(FIRST), end_at=FIRST - 1), "it would never be due: at lies after end_at"),
        (bounded(At(FIRST), start_at=FIRST + 1), "it would never be due: at lies before start_at"),
        (bounded(Cron("0 0 29 2 *"), end_at=SINCE + 1), "it would never be due: end_at lies before its first run"),
    ],
)
def test_what_would_never_be_due_is_not_put(spec: MonitorSpec, told: str) -> None:
    with pytest.raises(NeverDue) as first:
        put(spec)
    with pytest.raises(NeverDue) as again:
        put_again(put(SPEC), spec, Origin.COMMAND, SINCE)
    assert str(first.value) == str(again.value) == told


def test_only_what_somebody_bounded_has_bounds() -> None:
    assert not is_bounded(SPEC)
    assert all(map(is_bounded, (bounded(start_at=1), bounded(end_at=1), bounded(max_runs=1))))


def test_runs_are_counted_on_through_a_pause() -> None:
    given = put(bounded(EPOCH, max_runs=3))
    assert given.agenda == Agenda(ends_at=THIRD)
    resumed = resume(pause(given, SECOND), FOURTH)
    assert resumed.agenda == Agenda(runs=2, ends_at=FIFTH)
    again = resume(pause(resumed, FOURTH + 1), FIFTH + 1)
    assert again.agenda == Agenda(runs=2, ends_at=FIFTH + 60_000)
    assert ran(again, FIFTH + 60_000).state is State.DONE


def test_runs_are_counted_on_through_an_update_of_anything_but_the_schedule() -> None:
    given = put(bounded(EPOCH, max_runs=3))
    slower = msgspec.structs.replace(given.spec, policy=Policy(timeout_ms=20_000))
    updated = put_again(given, slower, Origin.COMMAND, SECOND)
    assert updated.agenda == Agenda(runs=2, ends_at=THIRD)
    once_more = put_again(updated, msgspec.structs.replace(slower, max_runs=5), Origin.COMMAND, SECOND + 1)
    assert once_more.agenda == Agenda(runs=2, ends_at=FIFTH)
    another = put_again(
        updated, msgspec.structs.replace(slower, schedule=Every(30_000, Align.EPOCH)), Origin.COMMAND, SECOND
    )
    assert another.agenda == Agenda(ends_at=SECOND + 90_000)


def test_runs_that_a_pause_left_out_do_not_count_in_an_update_either() -> None:
    paused = pause(put(bounded(EPOCH, max_runs=3)), FIRST)
    slower = msgspec.structs.replace(paused.spec, policy=Policy(timeout_ms=20_000))
    updated = put_again(paused, slower, Origin.COMMAND, THIRD)
    assert (updated.state, updated.agenda.runs) == (State.PAUSED, 1)
    assert resume(updated, THIRD).agenda == Agenda(runs=1, ends_at=FIFTH)


def test_an_update_to_fewer_runs_than_there_were_is_refused() -> None:
    given = put(bounded(EPOCH, max_runs=3))
    with pytest.raises(NeverDue, match="its max_runs are used up"):
        put_again(given, msgspec.structs.replace(given.spec, max_runs=2), Origin.COMMAND, SECOND)


def test_runs_are_counted_from_when_somebody_first_wants_them_counted() -> None:
    limited = put_again(put(bounded(EPOCH)), bounded(EPOCH, max_runs=2), Origin.COMMAND, THIRD)
    assert limited.agenda == Agenda(ends_at=FIFTH)
    unlimited = put_again(limited, bounded(EPOCH), Origin.COMMAND, FOURTH)
    assert unlimited.agenda == NOTHING


def test_what_ran_for_the_last_time_begins_anew_with_any_change() -> None:
    done = ran(put(bounded(EPOCH, max_runs=1)), FIRST)
    anew = put_again(done, bounded(EPOCH, max_runs=2), Origin.COMMAND, FIRST + 1)
    assert (anew.state, anew.agenda) == (State.NEW, Agenda(ends_at=THIRD))


def test_runs_are_counted_by_the_wall_clock_too() -> None:
    given = put(bounded(Cron("* * * * *"), max_runs=3))
    assert [runs_until(given, at) for at in (SINCE, FIRST - 1, FIRST, THIRD, FIFTH)] == [0, 0, 1, 3, 3]


def test_a_beginning_that_is_put_off_or_brought_forward_is_kept_to() -> None:
    given = put(bounded(EPOCH, start_at=THIRD))
    later = put_again(given, bounded(EPOCH, start_at=FOURTH), Origin.COMMAND, SINCE + 1)
    assert later.since == FOURTH - 1
    earlier = put_again(later, bounded(EPOCH, start_at=SECOND), Origin.COMMAND, SINCE + 2)
    assert earlier.since == SECOND - 1
    at_once = put_again(earlier, SPEC, Origin.COMMAND, SINCE + 3)
    assert at_once.since == SINCE + 3


def test_a_beginning_that_has_passed_makes_nothing_due_from_before_the_monitor_was_put() -> None:
    given = put(bounded(EPOCH))
    assert put_again(given, bounded(EPOCH, start_at=SINCE - 5_000), Origin.COMMAND, SINCE - 500).since == SINCE


def test_a_monitor_that_has_not_begun_does_not_begin_earlier_for_a_pause() -> None:
    given = put(bounded(EPOCH, start_at=THIRD, max_runs=1))
    resumed = resume(pause(given, SINCE + 1), SINCE + 2)
    assert (resumed.since, resumed.agenda) == (THIRD - 1, Agenda(ends_at=THIRD))


def test_a_pause_that_outlasts_the_end_is_the_end() -> None:
    paused = pause(put(bounded(EPOCH, end_at=SECOND)), FIRST, until=THIRD)
    done = resume(paused, THIRD)
    assert (done.state, done.state_since, done.agenda) == (State.DONE, THIRD, NOTHING)
    assert done.reason == "it would never be due: end_at lies before its first run"
    assert transition_between(paused, done) is not None


# --- what time brings -------------------------------------------------------------------------------------------------


def test_a_pause_is_over_at_the_instant_that_was_said() -> None:
    paused = pause(monitor(State.UP), AT, until=AT + MINUTE)
    assert after_agenda(paused, AT + MINUTE - 1, AT + MINUTE - 1) == (paused, None)
    resumed, told = after_agenda(paused, AT + MINUTE, AT + MINUTE - 100)
    assert told is None
    assert (resumed.state, resumed.reason, resumed.state_since) == (State.NEW, "its pause was over", AT + MINUTE)
    assert (resumed.since, resumed.agenda) == (AT + MINUTE, NOTHING)


def test_after_an_outage_a_pause_ends_after_what_is_emitted() -> None:
    paused = pause(monitor(State.UP), AT, until=AT + MINUTE)
    resumed, _ = after_agenda(paused, AT + 5 * MINUTE, AT + 4 * MINUTE)
    assert (resumed.since, resumed.state_since) == (AT + 4 * MINUTE, AT + 4 * MINUTE)


def test_a_pause_can_be_made_longer_shorter_and_open_ended() -> None:
    paused = pause(monitor(State.UP), AT, until=AT + MINUTE)
    assert pause(paused, AT + 1, until=AT + MINUTE) is paused
    longer = pause(paused, AT + 1, until=AT + 2 * MINUTE)
    assert (longer.agenda.resume_at, longer.state_since) == (AT + 2 * MINUTE, AT)
    assert transition_between(paused, longer) is None
    open_ended = pause(longer, AT + 2)
    assert open_ended.agenda == NOTHING
    assert after_agenda(open_ended, AT + 10 * MINUTE, AT + 10 * MINUTE) == (open_ended, None)


def test_a_pause_that_somebody_ended_does_not_end_again() -> None:
    resumed = resume(pause(monitor(State.UP), AT, until=AT + MINUTE), AT + 1)
    assert resumed.agenda == NOTHING
    assert after_agenda(resumed, AT + MINUTE, AT + MINUTE) == (resumed, None)


def test_the_end_of_a_pause_outlives_an_update() -> None:
    paused = pause(monitor(State.UP), AT, until=AT + MINUTE)
    assert put_again(paused, OTHER_CONFIG, Origin.SIGNUP, AT + 1).agenda == Agenda(resume_at=AT + MINUTE)


HOUR = 3_600_000
REMINDING = Policy(remind_every_ms=HOUR)


def down_with_reminders(muted_until: int = 0, policy: Policy = REMINDING) -> Monitor:
    before = monitor(State.UP, spec=msgspec.structs.replace(SPEC, policy=policy))
    return with_reminder(before, after_result(before, result(F)), muted_until)


def test_what_is_down_is_said_again_each_time_that_the_policy_says() -> None:
    down = down_with_reminders()
    assert down.agenda == Agenda(remind_at=AT + HOUR)
    assert after_agenda(down, AT + HOUR - 1, AT) == (down, None)
    still, told = after_agenda(down, AT + HOUR, AT)
    assert still.agenda == Agenda(remind_at=AT + 2 * HOUR)
    assert told == Transition(
        "u",
        "m",
        AT + HOUR,
        State.DOWN,
        State.DOWN,
        "still down after 1 h: it was a failure",
        1,
        reminder=True,
        kind="http",
        lasted_ms=HOUR,
    )
    assert after_agenda(still, AT + HOUR, AT) == (still, None)


def test_reminders_that_an_outage_held_up_are_one() -> None:
    down = down_with_reminders()
    for late in (0, 1, HOUR - 1):
        still, told = after_agenda(down, AT + 5 * HOUR + late, AT)
        assert told is not None
        assert told.at == AT + HOUR
        assert still.agenda == Agenda(remind_at=AT + 6 * HOUR)


@pytest.mark.parametrize("state", [State.DOWN, State.LATE])
def test_only_down_and_late_are_reminded_of(state: State) -> None:
    late = with_reminder(monitor(State.UP, spec=reminding()), monitor(state, spec=reminding(), state_since=AT), 0)
    assert late.agenda == Agenda(remind_at=AT + HOUR)
    up = with_reminder(late, msgspec.structs.replace(late, state=State.UP), 0)
    assert up.agenda == NOTHING


def reminding() -> MonitorSpec:
    return msgspec.structs.replace(SPEC, policy=REMINDING)


def test_a_reminder_for_what_is_up_by_now_is_dropped_without_a_word() -> None:
    up = monitor(State.UP, spec=reminding(), agenda=Agenda(remind_at=AT))
    assert after_agenda(up, AT, AT) == (msgspec.structs.replace(up, agenda=NOTHING), None)


def test_a_state_that_stays_keeps_its_reminder() -> None:
    down = down_with_reminders()
    again = msgspec.structs.replace(down, judged_at=AT + MINUTE)
    assert with_reminder(down, again, 0) is again
    assert reminded_at(again, AT + HOUR) is again


def test_from_down_to_late_reminders_are_counted_anew() -> None:
    down = down_with_reminders()
    late = with_reminder(down, after_result(down, result(L, AT + MINUTE)), 0)
    assert late.agenda == Agenda(remind_at=AT + MINUTE + HOUR)


def test_without_reminders_nothing_is_on_the_agenda() -> None:
    assert down_with_reminders(policy=Policy()).agenda == NOTHING


@pytest.mark.parametrize("policy", [REMINDING, Policy()], ids=["with reminders", "without"])
def test_what_went_down_in_maintenance_is_told_when_that_is_over(policy: Policy) -> None:
    over = AT + 10 * MINUTE
    down = down_with_reminders(over, policy)
    assert down.agenda == Agenda(remind_at=over)
    still, told = after_agenda(down, over, AT)
    assert told is not None
    assert (told.alert, told.reminder, told.reason) == (True, True, "still down after 10 min: it was a failure")
    assert still.agenda == (Agenda(remind_at=over + HOUR) if policy.remind_every_ms else NOTHING)


def test_a_reminder_that_falls_into_maintenance_waits_for_its_end() -> None:
    down, over = down_with_reminders(), AT + 3 * HOUR + 1
    waiting = reminded_at(down, over)
    assert after_agenda(waiting, over - 1, AT) == (waiting, None)
    still, told = after_agenda(waiting, over, AT)
    assert told is not None
    assert (told.at, still.agenda.remind_at) == (over, over + HOUR)


def test_a_reminder_without_a_reason_says_only_for_how_long() -> None:
    down = monitor(State.DOWN, state_since=AT)
    assert reminder(down, AT + 75_999).reason == "still down after 75 s"
    assert reminder(down, AT - 5).reason == "still down after 0 s"


def test_a_pause_and_a_change_of_what_is_checked_end_the_reminders() -> None:
    down = down_with_reminders()
    assert pause(down, AT + 1).agenda == NOTHING
    other = msgspec.structs.replace(down.spec, kind="tcp")
    assert put_again(down, other, Origin.SIGNUP, AT + 1).agenda == NOTHING


def test_a_change_of_how_it_is_checked_keeps_the_reminders() -> None:
    down = down_with_reminders()
    other = msgspec.structs.replace(down.spec, schedule=Every(5_000))
    assert put_again(down, other, Origin.SIGNUP, AT + 1).agenda == down.agenda


@pytest.mark.parametrize(
    ("every_ms", "remind_at"), [(MINUTE, AT + 1 + MINUTE), (24 * HOUR, AT + 1 + 24 * HOUR), (0, 0)]
)
def test_reminders_follow_a_policy_that_changes_while_it_is_down(every_ms: int, remind_at: int) -> None:
    down = down_with_reminders()
    other = msgspec.structs.replace(down.spec, policy=Policy(remind_every_ms=every_ms))
    assert put_again(down, other, Origin.SIGNUP, AT + 1).agenda == Agenda(remind_at=remind_at)


def test_reminders_switched_on_while_it_is_down_come() -> None:
    down = down_with_reminders(policy=Policy())
    assert put_again(down, reminding(), Origin.SIGNUP, AT + 1).agenda == Agenda(remind_at=AT + 1 + HOUR)
    up = put_again(monitor(State.UP), reminding(), Origin.SIGNUP, AT + 1)
    assert up.agenda == NOTHING


def test_a_task_of_a_command_that_is_over_is_forgotten_in_time() -> None:
    done = forgotten_at(after(once(origin=Origin.COMMAND), attempt(1, S)), AT + HOUR)
    assert done.agenda == Agenda(forget_at=AT + HOUR)
    assert not is_to_be_forgotten(done, AT + HOUR - 1)
    assert is_to_be_forgotten(done, AT + HOUR)
    assert after_agenda(done, AT + HOUR, AT + HOUR) == (done, None)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(after(once(), attempt(1, S)), id="of a signup"),
        pytest.param(once(origin=Origin.COMMAND), id="not over yet"),
        pytest.param(ran(put(bounded(EPOCH, max_runs=1)), FIRST), id="a recurring one"),
        pytest.param(pause(once(origin=Origin.COMMAND), AT), id="paused"),
    ],
)
def test_nothing_else_is_forgotten(given: Monitor) -> None:
    assert forgotten_at(given, AT + HOUR) is given
    assert not is_to_be_forgotten(given, AT + 2 * HOUR)


def test_a_task_that_is_over_and_named_by_a_signup_since_then_is_not_forgotten() -> None:
    done = forgotten_at(after(once(origin=Origin.COMMAND), attempt(1, S)), AT + HOUR)
    named = put_again(done, done.spec, Origin.SIGNUP, AT + 1)
    assert (named.state, named.origin, named.agenda) == (State.DONE, Origin.SIGNUP, NOTHING)


def test_a_task_put_once_more_is_not_forgotten_under_way() -> None:
    done = forgotten_at(after(once(origin=Origin.COMMAND), attempt(1, S)), AT + HOUR)
    anew = put_again(done, msgspec.structs.replace(done.spec, schedule=At(AT + 2 * HOUR)), Origin.COMMAND, AT + 1)
    assert (anew.state, anew.agenda) == (State.NEW, NOTHING)


# --- who is told ----------------------------------------------------------------------------------------------------

LIVING = (State.NEW, State.UP, State.DOWN, State.LATE)
TOLD = (
    {(before, after) for before in LIVING for after in (State.DOWN, State.LATE) if before is not after}
    | {(before, State.UP) for before in (State.DOWN, State.LATE)}
    | {(before, State.DONE) for before in (State.DOWN, State.LATE)}
)


@pytest.mark.parametrize(
    ("before", "after"), [(before, after) for before, some in LEGAL.items() for after in sorted(some)]
)
def test_people_are_told_of_a_failure_and_of_its_end_and_of_nothing_else(before: State, after: State) -> None:
    assert is_alarm(before, after) is ((before, after) in TOLD)
    told = transition_between(monitor(before), monitor(after))
    assert told is not None
    assert told.alert is ((before, after) in TOLD)


def test_what_the_owner_does_is_no_alarm_and_neither_is_the_first_success_after_it() -> None:
    down = after_result(monitor(State.UP), result(F))
    paused = pause(down, AT + 1)
    resumed = resume(paused, AT + 2)
    up = after_result(resumed, result(S, AT + MINUTE))
    changed = put_again(down, OTHER_CONFIG, Origin.SIGNUP, AT + 1)
    steps = [(down, paused), (paused, resumed), (resumed, up), (down, changed)]
    told = [transition_between(*step) for step in steps]
    assert [(t.from_state, t.to_state, t.alert) for t in told if t] == [
        (State.DOWN, State.PAUSED, False),
        (State.PAUSED, State.NEW, False),
        (State.NEW, State.UP, False),
        (State.DOWN, State.NEW, False),
    ]
    again = transition_between(resumed, after_result(resumed, result(F, AT + MINUTE)))
    assert again is not None
    assert again.alert


@pytest.mark.parametrize(("status", "told"), [(S, False), (F, True), (Status.LATE, True), (Status.SKIPPED, True)])
def test_a_task_is_an_alarm_if_it_did_not_do_its_work(status: Status, told: bool) -> None:
    task = first_put("u", msgspec.structs.replace(SPEC, schedule=At(AT)), Origin.COMMAND, SINCE, SINCE)
    change = transition_between(task, after_result(task, result(status)))
    assert change is not None
    assert (change.to_state, change.alert) == (State.DONE, told)


@pytest.mark.parametrize(
    ("status", "reason", "told"),
    [
        (S, "it ran for the last time", False),
        (F, "it ran for the last time: it was a failure", True),
        (Status.LATE, "it ran for the last time: it was a late", True),
    ],
)
def test_a_last_run_that_failed_is_an_alarm_of_its_own(status: Status, reason: str, told: bool) -> None:
    last = monitor(State.UP, agenda=Agenda(ends_at=AT))
    change = transition_between(last, after_result(last, result(status)))
    assert change is not None
    assert (change.to_state, change.reason, change.alert, change.outcome) == (State.DONE, reason, told, status)


def test_a_monitor_that_is_up_is_over_without_an_outcome_if_its_last_run_failed_but_once() -> None:
    last = monitor(
        State.UP, spec=msgspec.structs.replace(SPEC, policy=Policy(failures_to_down=2)), agenda=Agenda(ends_at=AT)
    )
    over = after_result(last, result(F))
    assert (over.state, over.outcome, over.reason) == (State.DONE, None, "it ran for the last time")


def test_a_task_that_is_put_again_has_no_outcome_until_it_has_run_again() -> None:
    done = after_result(once(), result(F))
    again = put_again(done, msgspec.structs.replace(done.spec, schedule=At(AT + MINUTE)), Origin.SIGNUP, AT + 1)
    assert (again.state, again.outcome) == (State.NEW, None)


def test_an_alarm_without_its_alert_was_muted_and_the_rest_was_not() -> None:
    def transition(before: State, after: State, alert: bool) -> Transition:
        return Transition("u", "m", AT, before, after, "", 1, alert=alert)

    assert is_muted(transition(State.UP, State.DOWN, alert=False))
    assert not is_muted(transition(State.UP, State.DOWN, alert=True))
    assert not is_muted(transition(State.UP, State.PAUSED, alert=False))
    # written when everything outside of maintenance carried an alert
    assert not is_muted(transition(State.NEW, State.UP, alert=True))
