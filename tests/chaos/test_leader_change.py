"""A broker that leads partitions of the ticks is killed, and comes back; another one leads them meanwhile."""

from collections import Counter
from collections.abc import Iterator

import pytest
from support.account import TickAccount, settle_ticks
from support.cluster import CONTROLLER, Cluster
from support.pipeline import PARTITIONS, Pipeline, every
from support.waiting import now_ms, wait_until

pytestmark = pytest.mark.chaos
USERS = 40
SITES = [f"site-{number}" for number in range(10)]
MORTAL = 2
INTERVALS = {(f"user-{number}", site): 1_000 for number in range(USERS) for site in SITES}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two brokers, of which the second is not the controller."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def pipeline(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A worker with 400 monitors that are due every second."""
    folder = tmp_path_factory.mktemp("pipeline")
    with Pipeline(folder, cluster.bootstrap_servers, "", replication_factor=2) as running:
        running.ensure("worker")
        running.wait_until_watched()
        sites = [every(site, "http", url="http://127.0.0.1:1/") for site in SITES]
        for number in range(USERS):
            running.sign_up(f"user-{number}", *sites, partition=number % PARTITIONS)
        yield running


def assert_nothing_missed_since(pipeline: Pipeline, began: int, recovered: int, upto: int) -> None:
    """Every tick of a window of time is there, and only one copy of what was due after partitions had their leaders."""
    pipeline.wait_for_time(upto)

    def settled() -> TickAccount:
        return settle_ticks(pipeline.emitted(began), INTERVALS, began, upto)

    wait_until("nothing is missed", lambda: not settled().missed, 30, 0.5)
    found = settled()
    assert found.complete, found
    assert found.due >= len(INTERVALS) * ((upto - began) // 1_000)
    # a sweep is as long as the broker was away, so how many ticks go out again says nothing: how often one does, does
    emitted = pipeline.emitted(began)
    assert max(emitted.values()) <= 3, "it goes out again if its sweep failed, once more if its partition opened anew"
    again = {tick for tick, count in emitted.items() if count > 1 and tick.scheduled_at > recovered + 1_000}
    assert not again
    assert pipeline.processes["worker"].runs


def test_ticks_go_on_under_a_new_leader_when_the_old_one_is_killed(cluster: Cluster, pipeline: Pipeline) -> None:
    ticks = pipeline.topics.ticks
    wait_until("everybody ticks", lambda: {tick[2:4] for tick in pipeline.emitted()} == INTERVALS.keys())
    cluster.wait_until_in_sync()
    assert Counter(cluster.leaders(ticks).values()) == {CONTROLLER: PARTITIONS // 2, MORTAL: PARTITIONS // 2}

    began = now_ms()
    cluster.kill(MORTAL)
    wait_until("there are new leaders", lambda: set(cluster.leaders(ticks).values()) == {CONTROLLER})
    changed = now_ms()

    def going_on() -> bool:
        return {tick.partition for tick in pipeline.emitted(changed) if tick.scheduled_at > changed} == set(
            range(PARTITIONS)
        )

    wait_until("ticks of all partitions go on", going_on)
    recovered = now_ms()
    assert_nothing_missed_since(pipeline, began, recovered, recovered + 3_000)


def test_ticks_go_on_when_the_broker_is_back_and_leads_again(cluster: Cluster, pipeline: Pipeline) -> None:
    ticks = pipeline.topics.ticks
    began = now_ms()
    cluster.start(MORTAL)
    cluster.wait_until_in_sync()
    cluster.elect_preferred_leaders()
    wait_until("both lead", lambda: set(cluster.leaders(ticks).values()) == {CONTROLLER, MORTAL})
    recovered = now_ms()
    assert_nothing_missed_since(pipeline, began, recovered, recovered + 4_000)
