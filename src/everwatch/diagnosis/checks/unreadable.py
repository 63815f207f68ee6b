"""Check for partitions whose next record cannot be read: corrupt bytes, or a batch that does not unpack."""

from collections.abc import Iterator

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.kafka.batch_ends import SILENT
from everwatch.kafka.process_figures import PartitionLag
from everwatch.rules.changelog_marks import UNREADABLE_REMEDY


def _remedy(system: System, row: PartitionLag) -> str:
    if row.topic == system.topics.monitors_changelog:
        return UNREADABLE_REMEDY
    place = f"{row.topic}/{row.partition}/{row.committed or 0}"
    return (
        "Processes pass over such a batch within three minutes, once records that can be read stand after it. If this"
        " one stays, take the partition from a whole replica, or give it up:"
        f" 'everwatch topics skip {place} --dry-run' says what that deletes."
    )


def _place(row: PartitionLag) -> tuple[str, str, int, int | None]:
    return row.group, row.topic, row.partition, row.committed


def check_unreadable(system: System) -> Iterator[Finding]:
    """Read the first record behind each committed offset."""
    wrong = [row for row in system.lag.partitions if row.unreadable]
    if any(row.unreadable == SILENT for row in wrong):
        # a broker that is slow gives it at the second look
        still = {_place(row) for row in system.later_lag.partitions if row.unreadable}
        wrong = [row for row in wrong if _place(row) in still]
    for row in wrong:
        yield fault(
            "unreadable",
            f"partition {row.partition} of {row.topic} cannot be read from offset {row.committed or 0} on"
            f" ({row.unreadable}): {row.group} stands there, {row.lag:,} records wait",
            _remedy(system, row),
        )
    if not wrong:
        yield well("unreadable", "every partition can be read where it is read next")
