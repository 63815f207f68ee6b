"""Checks of the broker and the topics."""

from collections.abc import Iterator, Sequence

from everwatch.core.config import Settings
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.kafka import topic_administration
from everwatch.kafka.topic_administration import TopicState

ANSWERS_WITHIN_S = 5
_UNNAMED_REMEDY = "Name them in EVERWATCH_REGIONS of every process, or delete their topics; see docs/regions.md."
_REMEDY = "'everwatch topics check' lists every topic with its count; see docs/topics.md."


def check_broker(system: System) -> Iterator[Finding]:
    """Ask the broker for its topics. Raises BrokerUnavailable."""
    topic_administration.check_topics(system.admin, system.settings, timeout_s=ANSWERS_WITHIN_S)
    yield well("broker", f"answers at {system.bootstrap_servers}")


def check_topics(system: System) -> Iterator[Finding]:
    """Compare every topic with its plan."""
    settings = system.settings
    states = topic_administration.check_topics(system.admin, settings)
    yield from topic_findings(states, topic_administration.unknown_regions(system.admin, settings), settings)


def topic_findings(states: Sequence[TopicState], unknown: Sequence[str], settings: Settings) -> Iterator[Finding]:
    """Yield the faults of topics, or one finding without a fault.

    ``unknown``: regions that have topics and are not named.
    """
    wrong = [fault("topics", sentence, _REMEDY) for sentence in topic_administration.problems_of(states, settings)]
    if unknown:
        sentence = topic_administration.unnamed_regions(unknown, settings)
        wrong.append(fault("topics", sentence, _UNNAMED_REMEDY))
    yield from wrong or [well("topics", f"all there, {settings.partitions} partitions each")]
