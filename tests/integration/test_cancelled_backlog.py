"""Users and monitors that go while their ticks wait for an executor: nothing of them is run afterwards."""

import os
import signal

import pytest
from conftest import NewPipeline
from support.pipeline import FEW, Pipeline, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.model import Result, Status

pytestmark = pytest.mark.integration
GONE = ("deregistered", "deleted", "paused", "paused-user")


@pytest.fixture(params=["it is stopped and continued", "it is killed and another one starts"])
def standstill(request: pytest.FixtureRequest, new_pipeline: NewPipeline, target: Target) -> tuple[Pipeline, bool]:
    pipeline = new_pipeline(partitions=FEW)
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    for user in (*GONE, "control"):
        site = every("site", "http", url=target.url(f"/ok/{user}"))
        # nothing else takes a tick of it out of a backlog
        site["policy"] = {"misfire": "fire_all", "overlap": "allow"}
        task = {"monitor_id": "task", "kind": "http", "config": {"url": target.url(f"/ok/{user}-task")}}
        pipeline.sign_up(user, site, task | {"schedule": {"in": "3s"}})
        pipeline.wait_for_results(user, "site")
        pipeline.wait_for_results(user, "task")
    return pipeline, "stopped" in request.param


def ran(pipeline: Pipeline, user: str, after: int, upto: int) -> list[Result]:
    """Results of runs of ticks due in between."""
    found = (result for result in pipeline.results(user, "site") if after < result.scheduled_at <= upto)
    return [result for result in found if result.status is not Status.SKIPPED]


def test_ticks_of_what_is_gone_are_dropped_from_the_backlog_and_others_run(standstill: tuple[Pipeline, bool]) -> None:
    pipeline, is_stopped = standstill
    executor = pipeline.processes["executor"]
    if is_stopped:
        os.kill(executor.pid, signal.SIGSTOP)
    else:
        executor.kill()
    began = now_ms()
    try:
        pipeline.wait_for_time(began + 6_000)
        pipeline.command("run_now", "paused", "site")
        pipeline.command("deregister", "deregistered")
        pipeline.command("delete", "deleted", "site")
        pipeline.command("pause", "paused", "site")
        pipeline.command("pause_user", "paused-user")
        pipeline.wait_for_states("paused", site="paused", task="done")
        pipeline.wait_for_states("paused-user", site="paused", task="done")
        pipeline.wait_for_states("deleted", task="done")
        wait_until("the user is gone", lambda: pipeline.reader.user("deregistered") is None)
        gone = now_ms()
        pipeline.command("resume", "paused", "site")
        pipeline.wait_for_states("paused", site="new", task="done")
    finally:
        if is_stopped:
            os.kill(executor.pid, signal.SIGCONT)
    pipeline.ensure("executor")

    # those that are kept all run, however late, as does what is due after a pause
    account = pipeline.wait_for_balance(began - 5_000, gone, 60)
    assert not account.missed, account
    assert len(ran(pipeline, "control", began, gone)) >= (gone - began) // 1_000 - 1
    wait_until("a monitor that is resumed is run", lambda: pipeline.monitor("paused", "site").state == "up")
    for user in GONE:
        waited = ran(pipeline, user, began + 1_000, gone)
        # asked for by hand: a pause says nothing of that
        assert [result.manual for result in waited] == ([True] if user == "paused" else []), user
        # a stretch may begin with a tick that had run when the executor stopped, and was not committed
        skipped = [result for result in pipeline.results(user, "site") if result.skipped_count]
        assert sum(result.skipped_count for result in skipped) >= 3, user
        assert len(skipped) <= 2, "one result for a stretch"
