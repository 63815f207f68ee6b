"""Effect of policies and commands on monitors and delayed tasks, as topics and database show it."""

from collections import Counter
from itertools import count, pairwise
from typing import Any

import pytest
from conftest import NewPipeline
from support.account import due_instants
from support.pipeline import FEW, Pipeline, every
from support.target import Target
from support.waiting import PATIENCE, now_ms, wait_until

from everwatch.encoding import codec
from everwatch.model import CommandOutcome, Reply, State, Status, Transition

pytestmark = pytest.mark.integration
_numbers = count(1)


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    running = new_pipeline(partitions=FEW)
    running.ensure("worker", "executor", "sink")
    running.wait_until_ready()
    return running


@pytest.fixture
def user() -> str:
    return f"life-{next(_numbers)}"


def closed(target: Target) -> dict[str, Any]:
    """The config of a check that fails."""
    return {"url": target.url("/broken")}


def at(task: str, in_ms: int, **more: Any) -> dict[str, Any]:
    return {"monitor_id": task, "kind": "noop", "schedule": {"at": now_ms() + in_ms}} | more


def replies(pipeline: Pipeline, user: str) -> dict[str, Reply]:
    found = [codec.decode_reply(message.value()) for message in pipeline.read(pipeline.topics.replies)]
    return {reply.command_id: reply for reply in found if reply.user_id == user}


def answer(pipeline: Pipeline, user: str, command_id: str) -> Reply:
    found = wait_until(f"{command_id} is answered", lambda: replies(pipeline, user).get(command_id), 30)
    assert found is not None
    return found


def told(pipeline: Pipeline, user: str) -> list[Transition]:
    found = [codec.decode_transition(message.value()) for message in pipeline.read(pipeline.topics.transitions)]
    return [transition for transition in found if transition.user_id == user]


def test_a_failed_tick_is_tried_again_and_only_then_the_monitor_is_down(
    pipeline: Pipeline, target: Target, user: str
) -> None:
    retries = {"max": 2, "backoff": "fixed", "base": "1s", "jitter": 0}
    monitor = every("site", "http", "1h", **closed(target)) | {"policy": {"retries": retries}}
    pipeline.sign_up(user, monitor)
    wait_until("the monitor is known", lambda: pipeline.monitor(user, "site"), 30)
    pipeline.command("run_now", user, "site", command_id="first")
    pipeline.wait_for_states(user, site="down")
    results = pipeline.wait_for_results(user, "site", 3)
    assert [(result.attempt, result.status) for result in results] == [(n, Status.FAILURE) for n in (1, 2, 3)]
    assert len({result.scheduled_at for result in results}) == 1
    gaps = [later.started_at - former.started_at for former, later in pairwise(results)]
    assert all(gap >= 1_000 for gap in gaps)
    monitor_now = pipeline.monitor(user, "site")
    assert monitor_now is not None
    assert not monitor_now.agenda.retry_at


def test_what_is_run_now_is_run_once_for_each_command_and_beside_the_schedule(
    pipeline: Pipeline, target: Target, user: str
) -> None:
    pipeline.sign_up(user, every("site", "http", "1h", url=target.url("/ok")), every("nothing", "noop", "1h"))
    wait_until("the monitors are known", lambda: pipeline.monitor(user, "nothing"), 30)
    for _ in range(2):
        pipeline.command("run_now", user, "site", command_id="one")
        pipeline.command("run_now", user, "nothing", command_id="other")
    pipeline.command("run_now", user, "site", command_id="two")
    assert answer(pipeline, user, "two").answer is CommandOutcome.DONE
    assert answer(pipeline, user, "one").answer is CommandOutcome.REPEATED
    site = pipeline.wait_for_results(user, "site", 2)
    nothing = pipeline.wait_for_results(user, "nothing")
    assert [result.manual for result in site + nothing] == [True] * 3
    pipeline.wait_for_states(user, site="up", nothing="up")


def test_who_sends_a_command_is_told_what_became_of_it(pipeline: Pipeline, user: str) -> None:
    spec = {"monitor_id": "m", "kind": "noop", "schedule": {"every": "1h"}}
    pipeline.command("put", user, monitor=spec, command_id="a", if_version=0)
    pipeline.command("put", user, monitor=spec, command_id="b", if_version=0)
    pipeline.command("put", user, monitor=spec, command_id="c", if_version=1)
    pipeline.command("put", user, monitor=spec | {"schedule": {"every": "2h"}}, command_id="d", if_version=1)
    pipeline.command("put", user, monitor={"kind": "nonsense"}, command_id="e")
    pipeline.command("delete", user, "m", command_id="f")
    assert answer(pipeline, user, "f").answer is CommandOutcome.DONE
    found = replies(pipeline, user)
    assert [(found[name].answer, found[name].version) for name in "abcd"] == [
        (CommandOutcome.DONE, 1),
        (CommandOutcome.REFUSED, 0),
        (CommandOutcome.UNCHANGED, 1),
        (CommandOutcome.DONE, 2),
    ]
    assert found["b"].path == "$.if_version"
    assert found["e"].answer is CommandOutcome.REFUSED
    assert "nonsense" in found["e"].reason


def test_a_pause_is_over_when_its_time_has_come(pipeline: Pipeline, user: str) -> None:
    pipeline.sign_up(user, every("m", "noop"))
    pipeline.wait_for_results(user, "m", 2)
    until = now_ms() + 3_000
    pipeline.command("pause", user, "m", until=until)
    pipeline.wait_for_states(user, m="paused")
    pipeline.wait_for_results(user, "m", 2, after=until)
    pipeline.wait_for_states(user, m="up")
    states = [(t.from_state, t.to_state) for t in told(pipeline, user)]
    assert states[-3:] == [(State.UP, State.PAUSED), (State.PAUSED, State.NEW), (State.NEW, State.UP)]


def test_a_monitor_of_three_runs_is_done_after_them(pipeline: Pipeline, user: str) -> None:
    monitor = every("thrice", "noop")
    monitor["schedule"] |= {"max_runs": 3}
    pipeline.sign_up(user, monitor)
    pipeline.wait_for_states(user, thrice="done")
    ended = now_ms()
    pipeline.wait_for_time(ended + 2_500)
    assert len(pipeline.results(user, "thrice")) == 3


def window_of(pipeline: Pipeline, user: str, lead_ms: int) -> tuple[int, int] | None:
    """When the monitor of a new user began and ended, if it was known before it was to begin."""
    begin = now_ms() + lead_ms
    # three intervals: both ends count
    end = begin + 2_999
    monitor = every("window", "noop")
    monitor["schedule"] |= {"start_at": begin, "end_at": end}
    pipeline.sign_up(user, monitor)
    pipeline.wait_for_states(user, window="done")
    known = pipeline.monitor(user, "window")
    assert known is not None
    return (begin, end) if known.since < begin else None


def test_a_monitor_begins_and_ends_when_its_owner_says(pipeline: Pipeline, user: str) -> None:
    window = window_of(pipeline, user, 3_000)
    if window is None:  # the machine is busy
        user += "-later"
        window = window_of(pipeline, user, PATIENCE * 3_000)
    assert window is not None
    begin, end = window
    results = pipeline.wait_for_results(user, "window", 3)
    assert len(results) == 3
    assert [result.scheduled_at for result in results] == due_instants(user, "window", 1_000, begin - 1, end)


def down_in_maintenance(pipeline: Pipeline, target: Target, user: str, lasts_ms: int) -> dict[str, int] | None:
    """The window of a new user's maintenance if the user's monitor was down before it was over."""
    window = {"start": now_ms() - 1_000, "end": now_ms() + lasts_ms}
    pipeline.send(
        pipeline.topics.signups,
        user,
        {"user_id": user, "maintenance": [window], "monitors": [every("site", "http", **closed(target))]},
    )
    pipeline.wait_for_states(user, site="down")
    return window if told(pipeline, user)[0].at < window["end"] else None


def test_in_maintenance_runs_go_on_and_nobody_is_alerted_until_it_is_over(
    pipeline: Pipeline, target: Target, user: str
) -> None:
    window = down_in_maintenance(pipeline, target, user, 6_000)
    if window is None:  # the machine is busy
        user += "-longer"
        window = down_in_maintenance(pipeline, target, user, PATIENCE * 6_000)
    assert window is not None
    first = told(pipeline, user)[0]
    assert (first.to_state, first.alert) == (State.DOWN, False)
    wait_until("it is said when the window is over", lambda: len(told(pipeline, user)) == 2, 20)
    reminder = told(pipeline, user)[-1]
    assert (reminder.reminder, reminder.alert, reminder.to_state) == (True, True, State.DOWN)
    assert reminder.at == window["end"]
    pipeline.wait_for_results(user, "site", 3)


def cancelled_task(pipeline: Pipeline, user: str, lead_ms: int) -> int | None:
    """The instant of two tasks of a new user if one of them, so long before, could be cancelled."""
    due = now_ms() + lead_ms + 3_000
    for task in ("spared", "fired"):
        pipeline.command("put", user, monitor=at(task, 0) | {"schedule": {"at": due}}, command_id=f"put {task}")
    if answer(pipeline, user, "put spared").answer is not CommandOutcome.DONE:
        return None
    pipeline.wait_for_time(due - lead_ms)
    pipeline.command("cancel", user, "spared", command_id="cancel")
    return due if answer(pipeline, user, "cancel").answer is CommandOutcome.DONE else None


def test_a_task_cancelled_a_second_before_its_time_never_fires(pipeline: Pipeline, user: str) -> None:
    due = cancelled_task(pipeline, user, 1_000)
    if due is None:  # the machine is busy
        user += "-earlier"
        due = cancelled_task(pipeline, user, PATIENCE * 5_000)
    assert due is not None
    pipeline.wait_for_results(user, "fired")
    pipeline.command("cancel", user, "fired", command_id="late")
    assert answer(pipeline, user, "late").answer is CommandOutcome.REFUSED
    pipeline.wait_for_time(due + 2_000)
    assert not pipeline.results(user, "spared")
    spared, fired = (pipeline.reader.task(user, task, now_ms()) for task in ("spared", "fired"))
    assert spared is not None
    assert fired is not None
    assert (spared.status, fired.status) == ("cancelled", "done")


def test_all_tasks_of_a_user_are_cancelled_and_monitors_stay(pipeline: Pipeline, user: str) -> None:
    # with the monitor that stays just as many as are looked at in one unit of work
    tasks = [at(f"task-{number:04d}", 3_600_000) for number in range(898)]
    pipeline.sign_up(user, *tasks, every("stays", "noop", "1h"))
    for number in range(100):
        pipeline.command("put", user, monitor=at(f"more-{number}", 3_600_000))
    pipeline.command("put", user, monitor=at("last", 3_600_000), command_id="last")
    assert answer(pipeline, user, "last").answer is CommandOutcome.DONE
    wait_until("all are pending", lambda: counted(pipeline, user)["pending"] == 999, 30)
    pipeline.command("cancel", user, command_id="all")
    assert answer(pipeline, user, "all").answer is CommandOutcome.DONE
    wait_until("all are cancelled", lambda: counted(pipeline, user)["cancelled"] == 999, 30)
    assert pipeline.monitor(user, "stays") is not None


def counted(pipeline: Pipeline, user: str) -> Counter[str]:
    return Counter(pipeline.reader.count_tasks(user, now=now_ms()))


def test_a_tasks_payload_and_failure_are_seen_in_the_database(pipeline: Pipeline, target: Target, user: str) -> None:
    task = at("fails", 500) | {"kind": "http", "config": closed(target), "payload": {"coupon": "X-1"}}
    pipeline.command("put", user, monitor=task)
    wait_until("it has failed", lambda: counted(pipeline, user)["failed"] == 1, 30)
    stored = pipeline.reader.task(user, "fails", now_ms())
    assert stored is not None
    assert "500" in stored.reason


def test_a_slow_run_lets_the_next_tick_be_skipped_unless_it_may_overlap(
    pipeline: Pipeline, target: Target, user: str
) -> None:
    slow = every("slow", "http", url=target.url("/slow"))
    beside = every("beside", "http", url=target.url("/slow")) | {"policy": {"overlap": "allow"}}
    pipeline.sign_up(user, slow, beside)
    results = pipeline.wait_for_results(user, "slow", 6)
    statuses = Counter(result.status for result in results)
    assert statuses[Status.SUCCESS]
    if statuses[Status.SKIPPED]:
        assert "still" in next(result.reason for result in results if result.status is Status.SKIPPED)
    assert all(result.status is Status.SUCCESS for result in pipeline.wait_for_results(user, "beside", 3))
