"""Faults of topics, one sentence for each."""

import msgspec
import pytest
from confluent_kafka.cimpl import NewTopic

from everwatch.core.config import Settings
from everwatch.core.errors import TopicMismatch
from everwatch.kafka.memory.broker import MemoryKafka
from everwatch.kafka.memory.clients import MemoryClients
from everwatch.kafka.topic_administration import (
    TopicState,
    ensure_topics,
    expect_regions,
    problems_of,
    unknown_regions,
    with_count_of_topics,
)
from everwatch.kafka.topics import Topics

SETTINGS = Settings(partitions=8)
TOPICS = Topics.of(SETTINGS)
NAMES = TOPICS.all


def test_topics_that_fit_have_no_problem() -> None:
    assert problems_of([TopicState(name, 8, False) for name in NAMES], SETTINGS) == []


def test_a_fault_of_all_topics_is_one_sentence() -> None:
    assert problems_of([TopicState(name, 4, False, "wrong") for name in NAMES], SETTINGS) == [
        f"All {len(NAMES)} topics have 4 partitions, but 8 are configured: set EVERWATCH_PARTITIONS=4 or another"
        " EVERWATCH_TOPIC_PREFIX, or see 'everwatch repartition --help'."
    ]


def test_nothing_is_created_beside_topics_of_another_count() -> None:
    admin = MemoryClients(MemoryKafka(4)).admin()
    *there, new = NAMES
    admin.create_topics([NewTopic(name, 4) for name in there])
    with pytest.raises(
        TopicMismatch, match=f"All {len(there)} topics have 4 partitions, .* set EVERWATCH_PARTITIONS=4"
    ):
        ensure_topics(admin, SETTINGS)
    assert new not in admin.list_topics(timeout=1).topics


def test_a_count_that_all_topics_have_is_taken_and_of_two_counts_none_is() -> None:
    admin = MemoryClients(MemoryKafka(4)).admin()
    assert with_count_of_topics(admin, SETTINGS) == SETTINGS
    signups, changelog = TOPICS.signups, TOPICS.monitors_changelog
    # a broker may have made it when a client wrote
    admin.create_topics([NewTopic(signups, 4)])
    assert with_count_of_topics(admin, SETTINGS) == SETTINGS
    missing = {signups, changelog, *NAMES[-2:]}
    there = ["another program's", changelog, *(name for name in NAMES if name not in missing)]
    admin.create_topics([NewTopic(name, 4) for name in there])
    found = with_count_of_topics(admin, SETTINGS)
    assert found == msgspec.structs.replace(SETTINGS, partitions=4)
    # what is missing is made with the same count
    assert {state.partitions for state in ensure_topics(admin, found)} == {4}
    odd = msgspec.structs.replace(SETTINGS, topic_prefix="odd.")
    own = Topics.of(odd)
    admin.create_topics([NewTopic(own.signups, 2), NewTopic(own.results, 3)])
    assert with_count_of_topics(admin, odd) == odd
    with pytest.raises(TopicMismatch, match="all topics must share one count"):
        ensure_topics(admin, odd)


def test_topics_with_the_same_fault_share_a_sentence() -> None:
    states = [
        TopicState("signups", 4, False, "wrong"),
        TopicState("commands", 4, False, "wrong"),
        TopicState("signals", 2, False, "wrong"),
        TopicState("results", 8, False),
        TopicState("replies", 0, False, "absent"),
        TopicState("progress", 0, False, "absent"),
    ]
    absent, two, four = problems_of(states, SETTINGS)
    assert absent == "Topics replies and progress do not exist: run 'everwatch topics create'."
    assert two.startswith("Topic signals has 2 partitions, but 8 are configured, and all topics must share one count")
    assert four.startswith("Topics signups and commands have 4 partitions, but 8 are configured")


def test_a_region_with_topics_that_the_settings_do_not_name_is_told() -> None:
    admin = MemoryClients(MemoryKafka(1)).admin()
    there = Topics.of(Settings(topic_prefix="prod.", regions=("eu", "us"))).all
    # of a region all three are there
    others = ("prod.ticks.odd", "prod.g2.ticks.ap", "prod.g2.ticks.ap.high", "prod.g2.ticks.ap.low", "ticks.ap")
    admin.create_topics([NewTopic(name, 1) for name in (*there, *others)])
    known = Settings(topic_prefix="prod.", regions=("eu", "us", "ap"))
    assert unknown_regions(admin, known) == []
    expect_regions(admin, known)
    one = Settings(topic_prefix="prod.", regions=("us",))
    assert unknown_regions(admin, one) == ["eu"]
    with pytest.raises(TopicMismatch, match=r"does not name \(eu\): set EVERWATCH_REGIONS=eu,us on every process"):
        expect_regions(admin, one)
    # an executor knows its own without the list
    assert unknown_regions(admin, Settings(topic_prefix="prod.", region="eu")) == ["us"]
