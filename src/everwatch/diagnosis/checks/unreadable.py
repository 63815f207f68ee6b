"""Check for partitions whose next record cannot be read: corrupt bytes, or a batch that does not unpack."""

from collections.abc import Iterator

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.kafka.process_figures import PartitionLag
from everwatch.rules.changelog_marks import UNREADABLE_REMEDY


def _remedy(system: System, row: PartitionLag) -> str:
    if row.topic == system.topics.monitors_changelog:
        return UNREADABLE_REMEDY
    place = f"{row.topic}/{row.partition}/{row.committed or 0}"
    return (
        "Processes pass over most of such batches within half a minute. If this one stays, take the partition from a"
        f" whole replica, or give it up: 'everwatch topics skip {place} --dry-run' says what that deletes."
    )


def check_unreadable(system: System) -> Iterator[Finding]:
    """Read the first record behind each committed offset."""
    wrong = [row for row in system.lag.partitions if row.unreadable]
    for row in wrong:
        yield fault(
            "unreadable",
            f"partition {row.partition} of {row.topic} cannot be read from offset {row.committed or 0} on"
            f" ({row.unreadable}): {row.group} stands there, {row.lag:,} records wait",
            _remedy(system, row),
        )
    if not wrong:
        yield well("unreadable", "every partition can be read where it is read next")
