"""An executor stands still, or is gone for a while: what is stale then is not run, and every monitor is fresh again."""

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from conftest import NewPipeline
from support.pipeline import PARTITIONS, Pipeline, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.model import Result, Status

pytestmark = [pytest.mark.chaos, pytest.mark.heavy]
USERS = 60
EVERY_MS = 2_000
GRACE_MS = 5_000
STANDSTILL_MS = 16_000


@pytest.fixture
def pipeline(new_pipeline: NewPipeline, target: Target) -> Iterator[Pipeline]:
    pipeline = new_pipeline()
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    for number in range(USERS):
        user = f"user-{number:02d}"
        site = every("site", "http", f"{EVERY_MS}ms", url=target.url(f"/ok/{user}"))
        stubborn = every("stubborn", "http", f"{EVERY_MS}ms", url=target.url(f"/ok/{user}"))
        pipeline.sign_up(
            user,
            site | {"policy": {"misfire_grace": f"{GRACE_MS}ms"}},
            stubborn | {"policy": {"misfire_grace": f"{GRACE_MS}ms", "misfire": "fire_all", "overlap": "allow"}},
            partition=number % PARTITIONS,
        )
    wait_until("every monitor is up", lambda: pipeline.reader.counts().by_state == {"up": 2 * USERS}, 60)
    return pipeline


def results_since(pipeline: Pipeline, since: int) -> list[Result]:
    found = (stored.result for stored in pipeline.reader.results(limit=100_000))
    return [result for result in found if result.scheduled_at >= since]


@pytest.mark.parametrize("how", ["it is stopped and continued", "it is killed and started again"])
def test_after_a_standstill_all_monitors_are_fresh_and_stale_ticks_are_skipped_in_bulk(
    pipeline: Pipeline, how: str
) -> None:
    executor = pipeline.processes["executor"]
    began = now_ms()
    if "stopped" in how:
        os.kill(executor.pid, signal.SIGSTOP)
    else:
        executor.kill()
    try:
        pipeline.wait_for_time(began + STANDSTILL_MS)
    finally:
        if "stopped" in how:
            os.kill(executor.pid, signal.SIGCONT)
    ended = now_ms()
    pipeline.ensure("executor")

    def fresh(monitor: str) -> bool:
        found = results_since(pipeline, ended)
        ran = {result.user_id for result in found if result.monitor_id == monitor and result.status is Status.SUCCESS}
        return len(ran) == USERS

    wait_until("every monitor has a result of after the standstill", lambda: fresh("site"), 60)
    wait_until("what may not be skipped has caught up", lambda: fresh("stubborn"), 60)
    account = pipeline.wait_for_balance(began, ended + 2_000, 60)
    assert not account.missed, account
    found = [result for result in results_since(pipeline, began) if result.scheduled_at < ended]
    # a stretch may begin with a tick that was due just before, or that had run when its executor was killed, and may
    # go on while a busy machine catches up
    skipped = [result for result in results_since(pipeline, began - STANDSTILL_MS) if result.skipped_count]
    skipped = [result for result in skipped if began <= result.skipped_until and result.scheduled_at < ended]
    assert {result.monitor_id for result in skipped if result.skipped_count > 1} == {"site"}
    # of each monitor; how many ticks a stretch has depends on how many an executor has read when it decides
    of_site = [result for result in skipped if result.monitor_id == "site"]
    assert len({result.user_id for result in of_site}) == USERS
    assert sum(result.skipped_count for result in of_site) > len(of_site)
    ran = [result for result in found if result.status is Status.SUCCESS and result.monitor_id == "site"]
    # the rule fire_last: after its grace the newest tick of a monitor is run, if it is begun before a fresh one comes
    stale = Counter(result.user_id for result in ran if result.started_at - result.scheduled_at > GRACE_MS + 1_000)
    assert max(stale.values(), default=0) <= 1, stale
    stubborn = {
        result.user_id for result in found if result.monitor_id == "stubborn" and result.status is Status.SUCCESS
    }
    assert len(stubborn) == USERS
