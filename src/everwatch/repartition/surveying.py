"""A look at a generation before anything is done: its users, and the partitioner that placed them."""

from typing import NamedTuple

from everwatch.backup.source_topics import SourceTopics
from everwatch.backup.stages import Stages
from everwatch.core.clock import Clock
from everwatch.repartition.placing import Partitioner, Places

CHANGELOG = "monitors_changelog"


class Survey(NamedTuple):
    """One generation. ``records``: of its table's changelog; ``seconds``: how long reading them took."""

    users: int
    records: int
    partitioner: Partitioner
    seconds: float


def survey(source: SourceTopics, partitions: int, wanted: Partitioner | None, clock: Clock, stages: Stages) -> Survey:
    """Read the table of monitors, and change nothing. ``wanted``: the partitioner to use, whatever users show.

    Raises TopicMismatch, BrokerUnavailable, AccessError, RecordsUnreadable.
    """
    began_s = clock.monotonic_s()
    places = Places(partitions)
    held = source.bounds(CHANGELOG)
    stages.begin("reading the table of monitors", sum(map(len, held.values())))
    records = 0
    for some in source.read(CHANGELOG, held):
        for record in some:
            places.add(record.key or b"", record.value, record.partition)
        records += len(some)
        stages.advance(len(some))
    return Survey(len(places), records, places.partitioner(wanted), clock.monotonic_s() - began_s)
