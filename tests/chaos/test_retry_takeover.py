"""A worker is killed while retries and tasks are pending: they happen on the next owner, once."""

from collections import Counter

import pytest
from conftest import NewPipeline
from support.pipeline import PARTITIONS, Pipeline, every
from support.target import Target
from support.waiting import now_ms, wait_until

pytestmark = pytest.mark.chaos
USERS = 12


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    pipeline = new_pipeline()
    pipeline.ensure("worker", "worker-2", "executor", "sink")
    pipeline.wait_until_ready()
    return pipeline


def test_a_retry_that_is_pending_when_its_worker_dies_happens_once(pipeline: Pipeline, target: Target) -> None:
    users = [f"retry-{number}" for number in range(USERS)]
    retries = {"max": 1, "backoff": "fixed", "base": "12s", "jitter": 0}
    for number, user in enumerate(users):
        monitor = every("site", "http", "1h", url=target.url("/broken")) | {"policy": {"retries": retries}}
        monitor["schedule"] = {"at": now_ms() + 1_500}
        pipeline.sign_up(user, monitor, partition=number % PARTITIONS)

    def pending() -> bool:
        found = [pipeline.monitor(user, "site") for user in users]
        return all(monitor is not None and monitor.agenda.retry_attempt == 2 for monitor in found)

    wait_until("every retry is pending", pending, 30)
    # what is not noted yet would come again, as the same ticks; what is asked here is the retries
    pipeline.wait_for_progress(now_ms())
    pipeline.processes["worker"].kill()
    survivor = pipeline.processes["worker-2"]
    wait_until("the other watches everything", lambda: survivor.partitions() == set(range(PARTITIONS)), 40)
    for user in users:
        pipeline.wait_for_states(user, site="done", within_s=40)
    attempts = Counter((result.scheduled_at, result.attempt) for user in users for result in pipeline.results(user))
    assert sorted(attempt for _, attempt in attempts.elements()) == [1] * USERS + [2] * USERS
    # on the topic, too: every attempt of every tick, once
    emitted = Counter(pipeline.emitted().values())
    assert set(emitted) == {1}
    stored = [pipeline.reader.task(user, "site", now_ms()) for user in users]
    assert {task.status if task else "" for task in stored} == {"failed"}
