"""Check for partitions whose next record cannot be read: corrupt bytes, or a batch that does not unpack."""

from collections.abc import Iterator

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System


def check_unreadable(system: System) -> Iterator[Finding]:
    """Read the first record behind each committed offset."""
    wrong = [row for row in system.lag.partitions if row.unreadable]
    for row in wrong:
        yield fault(
            "unreadable",
            f"partition {row.partition} of {row.topic} cannot be read from offset {row.committed or 0} on"
            f" ({row.unreadable}): {row.group} stands there, {row.lag:,} records wait",
            "Processes skip such a batch by themselves; restart the one that does not, and see its log.",
        )
    if not wrong:
        yield well("unreadable", "every partition can be read where it is read next")
