"""Faults of topics, one sentence for each."""

from everwatch.core.config import Settings
from everwatch.kafka.topic_administration import TopicState, problems_of
from everwatch.kafka.topics import Topics

SETTINGS = Settings(partitions=8)
NAMES = Topics.of(SETTINGS).all


def test_topics_that_fit_have_no_problem() -> None:
    assert problems_of([TopicState(name, 8, False) for name in NAMES], SETTINGS) == []


def test_a_fault_of_all_topics_is_one_sentence() -> None:
    assert problems_of([TopicState(name, 4, False, "wrong") for name in NAMES], SETTINGS) == [
        f"All {len(NAMES)} topics have 4 partitions, but 8 are configured: set EVERWATCH_PARTITIONS=4 or another"
        " EVERWATCH_TOPIC_PREFIX, or see 'everwatch repartition --help'."
    ]


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
