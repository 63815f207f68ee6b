"""Executors share each topic of ticks, however many they are and in whatever order they come and go."""

import random
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from conftest import NewPipeline
from support.pipeline import Pipeline, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.core.clock import SystemClock
from everwatch.core.errors import BrokerUnavailable
from everwatch.executor.tick_consumers import TickConsumers
from everwatch.kafka.clients import KafkaClients, new_admin, new_consumer
from everwatch.kafka.consumer_groups import executors_group, members_of
from everwatch.kafka.topic_administration import ensure_topics

pytestmark = [pytest.mark.integration, pytest.mark.heavy]
PARTITIONS = 12


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    return new_pipeline(partitions=PARTITIONS)


def new_executor(pipeline: Pipeline) -> TickConsumers:
    clients = KafkaClients(pipeline.settings, pipeline.settings.bootstrap_servers)
    return TickConsumers(pipeline.settings, clients, SystemClock())


@pytest.fixture
async def executors(pipeline: Pipeline) -> Iterator[list[TickConsumers]]:
    """Those that are members of the group; the ones that are left at the end leave."""
    ensure_topics(new_admin(pipeline.settings, pipeline.settings.bootstrap_servers), pipeline.settings)
    running: list[TickConsumers] = []
    yield running
    for executor in running:
        await executor.finish(10)


def held_by(executor: TickConsumers) -> Counter[str]:
    """Return how many partitions an executor holds of each topic."""
    return Counter(executor.held())


async def test_each_topic_is_shared_within_one_partition_whoever_joins_and_leaves(
    pipeline: Pipeline, executors: list[TickConsumers]
) -> None:
    choose = random.Random(7)
    for wanted in (1, 2, 3, 5, 8, 3, 2, 5, 1):
        while len(executors) < wanted:
            executors.append(new_executor(pipeline))
            executors[-1].start(lambda batch: None, lambda held, each: None)
        while len(executors) > wanted:
            await executors.pop(choose.randrange(len(executors))).finish(10)

        def balanced() -> bool:
            for topic in pipeline.topics.all_ticks:
                shares = [held_by(executor)[topic] for executor in executors]
                if sum(shares) != PARTITIONS or max(shares) - min(shares) > 1:
                    return False
            return True

        wait_until(f"each topic is balanced over {wanted}", balanced, 60)
    # an executor is one process to people, although it is a member for each topic
    admin = new_admin(pipeline.settings, pipeline.settings.bootstrap_servers)
    group = executors_group(pipeline.settings)
    [member] = members_of(admin, [group])[group]
    assert len(member.partitions) == 3 * PARTITIONS


async def test_executors_of_the_version_before_are_replaced_one_by_one_in_the_same_group(
    pipeline: Pipeline, executors: list[TickConsumers]
) -> None:
    # it was one member for all topics
    before = new_consumer(pipeline.settings, pipeline.settings.bootstrap_servers, executors_group(pipeline.settings))
    before.subscribe(list(pipeline.topics.all_ticks))

    def has(least: int, most: int) -> bool:
        before.poll(0.1)
        return least <= len(before.assignment()) <= most

    wait_until("the old executor has all partitions", lambda: has(3 * PARTITIONS, 3 * PARTITIONS), 60)
    for _ in range(2):
        executors.append(new_executor(pipeline))
        executors[-1].start(lambda batch: None, lambda held, each: None)
    wait_until("the old executor has given partitions away", lambda: has(0, 3 * PARTITIONS - 1), 60)
    before.close()
    half = Counter(dict.fromkeys(pipeline.topics.all_ticks, PARTITIONS // 2))
    wait_until("each topic is balanced", lambda: all(held_by(executor) == half for executor in executors), 60)


def test_executors_that_are_added_take_their_share_of_the_work(pipeline: Pipeline, target: Target) -> None:
    pipeline.ensure("worker", "sink", "executor")
    pipeline.wait_until_ready()
    users = 240
    for number in range(users):
        # one user for each place on each partition, so that partitions have the same work
        pipeline.sign_up(f"u-{number}", every("site", "http", url=target.url("/ok")), partition=number % PARTITIONS)
    admin = new_admin(pipeline.settings, pipeline.settings.bootstrap_servers)
    group = executors_group(pipeline.settings)

    def shares(executors: int) -> list[int]:
        """Results of each executor within five seconds, after the partitions have been shared among all of them."""

        def settled() -> bool:
            try:
                members = members_of(admin, [group])[group]
            except BrokerUnavailable:
                return False  # it is asked again: the machine may be busy with other things
            ticks = [sum(topic == pipeline.topics.ticks for topic, _ in each.partitions) for each in members]
            return len(members) == executors and ticks == [PARTITIONS // executors] * executors

        wait_until(f"{executors} executors share the partitions", settled, 60)
        since = now_ms()
        wait_until("some seconds have passed", lambda: now_ms() > since + 8_000, 60)
        stored = pipeline.reader.results(limit=100_000)
        counts = Counter(each.result.executor for each in stored if since <= each.result.scheduled_at < since + 5_000)
        return sorted(counts.values())

    def has_equal_shares(executors: int) -> bool:
        found = shares(executors)
        return len(found) == executors and found[0] >= 0.8 * found[-1]

    for executors in (2, 3):
        pipeline.ensure(f"executor-{executors}")
        wait_until(f"{executors} executors have equal shares", partial(has_equal_shares, executors), 60)
    pipeline.processes["executor-2"].kill()
    wait_until("the two that are left have equal shares", partial(has_equal_shares, 2), 60)
