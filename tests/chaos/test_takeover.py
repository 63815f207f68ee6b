"""Processes are killed and stopped; what was due is stored all the same, once."""

from collections.abc import Iterator

import pytest
from conftest import NewPipeline
from support.account import settle, skipped_ticks
from support.pipeline import PARTITIONS, Pipeline, beside, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec

pytestmark = pytest.mark.chaos
USERS = 40
EVERYBODY = ("worker", "worker-2", "executor", "sink")
ALL_PARTITIONS = set(range(PARTITIONS))


@pytest.fixture(scope="module")
def watched(new_pipeline: NewPipeline, target: Target) -> Pipeline:
    """A pipeline whose users have an inline monitor, a quick check and a slow check each."""
    pipeline = new_pipeline()
    pipeline.ensure(*EVERYBODY)
    pipeline.wait_until_ready()
    for number in range(USERS):
        user = f"user-{number:02d}"
        pipeline.sign_up(
            user,
            every("nothing", "noop"),
            beside(every("quick", "http", "2s", url=target.url(f"/ok/{user}"))),
            beside(every("slow", "http", "4s", url=target.url(f"/slow/{user}"))),
            partition=number % PARTITIONS,
        )
    return pipeline


@pytest.fixture
def pipeline(watched: Pipeline) -> Iterator[Pipeline]:
    """The same, with everybody alive and at work whatever the test before did."""
    watched.ensure(*EVERYBODY)
    watched.wait_until_ready()

    def at_work() -> bool:
        counts = watched.reader.counts()
        return counts.by_state == {"up": counts.monitors} and counts.monitors == 3 * USERS

    wait_until("every monitor is up", at_work, 40)
    wait_until("results come in", lambda: progress(watched) > now_ms() - 3_000, 40)
    return watched


def progress(pipeline: Pipeline) -> int:
    """The due instant of the newest stored result."""
    newest = pipeline.reader.results(limit=1)
    return newest[0].result.scheduled_at if newest else 0


def assert_nothing_missed_since(pipeline: Pipeline, began: int, upto: int) -> None:
    """Everything due in between is stored once, nothing else is, and none of it was skipped."""
    pipeline.wait_for_time(upto)
    account = pipeline.wait_for_balance(began, upto, 40)
    assert account.balanced, account
    assert account.due >= USERS * ((upto - began) // 1_000 - 1)
    assert not skipped_ticks(pipeline.reader, began, upto)


def test_two_workers_share_the_users_and_the_other_takes_over_when_one_is_killed(pipeline: Pipeline) -> None:
    one, other = pipeline.processes["worker"], pipeline.processes["worker-2"]
    assert len(one.partitions()) == len(other.partitions()) == PARTITIONS // 2
    assert one.partitions() | other.partitions() == ALL_PARTITIONS

    began = now_ms()
    one.kill()
    wait_until("the other watches everything", lambda: other.partitions() == ALL_PARTITIONS, 30)
    assert_nothing_missed_since(pipeline, began, now_ms() + 2_000)


def test_killed_worker_that_is_started_again_gets_its_share_back(pipeline: Pipeline) -> None:
    began = now_ms()
    pipeline.processes["worker-2"].kill()
    pipeline.ensure("worker-2")
    wait_until("it watches again", lambda: pipeline.processes["worker-2"].partitions(), 40)
    pipeline.wait_until_ready()
    assert_nothing_missed_since(pipeline, began, now_ms() + 2_000)


def test_ticks_in_flight_of_a_killed_executor_are_run_by_the_next(pipeline: Pipeline, target: Target) -> None:
    wait_until("checks are in flight", lambda: target.in_flight >= 20)
    began = now_ms() - 5_000  # those in flight were due before now
    pipeline.processes["executor"].kill()
    pipeline.ensure("executor")
    assert_nothing_missed_since(pipeline, began, now_ms() + 2_000)


def test_killed_sink_stores_everything_once_after_its_start(pipeline: Pipeline) -> None:
    began = now_ms()
    for _ in range(2):
        wait_until("it is storing", lambda: progress(pipeline) > now_ms() - 2_000)
        pipeline.processes["sink"].kill()
        pipeline.ensure("sink")
    upto = now_ms() + 2_000
    assert_nothing_missed_since(pipeline, began, upto)

    def on_topic() -> int:
        """Return how many results of that time are on the topic."""
        count = 0
        for message in pipeline.read(pipeline.topics.results):
            try:
                count += began < codec.decode_result(message.value()).scheduled_at <= upto
            except InvalidInput as error:
                raise AssertionError("a result that is none") from error
        return count

    delivered = sum(found.deliveries for found in pipeline.reader.identities(began + 1, upto + 1))
    assert delivered == on_topic()


@pytest.mark.parametrize("name", ["worker", "executor", "sink"])
def test_stop_on_request_is_clean_and_quick_and_a_start_goes_on(pipeline: Pipeline, name: str) -> None:
    stopped = pipeline.processes[name]
    began = now_ms()
    assert stopped.stop() == 0
    assert "Traceback" not in stopped.logged()

    pipeline.wait_for_time(now_ms() + 3_000)
    pipeline.ensure(name)
    pipeline.wait_until_ready()
    assert_nothing_missed_since(pipeline, began, now_ms() + 1_000)


def test_all_workers_away_for_a_while_are_made_up_for(pipeline: Pipeline) -> None:
    states = {(m.user_id, m.monitor_id): m.state_since for n in range(USERS) for m in monitors(pipeline, n)}
    began = now_ms()
    for name in ("worker", "worker-2"):
        pipeline.processes[name].ask_to_stop()
    for name in ("worker", "worker-2"):
        assert pipeline.processes[name].wait() == 0
    pipeline.wait_for_time(now_ms() + 3_000)
    pipeline.ensure("worker", "worker-2")
    pipeline.wait_until_ready()
    assert_nothing_missed_since(pipeline, began, now_ms() + 1_000)
    assert {(m.user_id, m.monitor_id): m.state_since for n in range(USERS) for m in monitors(pipeline, n)} == states


def test_nothing_is_missed_or_stored_twice_over_all_of_it(pipeline: Pipeline) -> None:
    account = settle(pipeline.reader, 0, now_ms() - 10_000)
    assert account.balanced, account


def monitors(pipeline: Pipeline, number: int):
    return pipeline.reader.monitors(f"user-{number:02d}")
