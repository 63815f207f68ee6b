"""Partitions that wait, by topic and owner: common to the checks of processes."""

from collections.abc import Iterable, Sequence

from everwatch.diagnosis.system import System
from everwatch.kafka.process_figures import PartitionLag


def unowned(system: System, process: str) -> list[PartitionLag]:
    """Partitions without an owner at two looks: during a rebalance none has an owner."""
    found = [row for row in system.lag.of(process) if not row.client_id]
    if not found:
        return []
    still = {(row.topic, row.group, row.partition) for row in system.later_lag.of(process) if not row.client_id}
    return [row for row in found if (row.topic, row.group, row.partition) in still]


def stands_still(system: System, rows: Iterable[PartitionLag]) -> bool:
    """Tell whether none of these partitions' committed offsets moves within a few seconds."""
    later = {(row.topic, row.group, row.partition): row.committed for row in system.later_lag.partitions}
    return all(later.get((row.topic, row.group, row.partition)) == row.committed for row in rows)


def by_owner(rows: Iterable[PartitionLag]) -> dict[tuple[str, str], list[PartitionLag]]:
    """The rows of each owner (client id, "" for none) and topic."""
    found: dict[tuple[str, str], list[PartitionLag]] = {}
    for row in rows:
        found.setdefault((row.client_id, row.topic), []).append(row)
    return found


def numbers_of(rows: Iterable[PartitionLag]) -> str:
    """The partitions' numbers, for people: 0-3, 7."""
    spans: list[list[int]] = []
    for number in sorted({row.partition for row in rows}):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def waiting(rows: Sequence[PartitionLag], what: str) -> str:
    """Return how many records wait, and for how long, for people; ``what`` is the word for one of them."""
    count = sum(row.lag for row in rows)
    if not count:
        return f"no {what} waits"
    noun, _, rest = what.partition(" ")
    many = f"{count:,} {noun}s {rest}".rstrip() + " wait" if count > 1 else f"1 {what} waits"
    ages = [row.lag_s for row in rows if row.lag and row.lag_s is not None]
    return f"{many}, the first for {max(ages):.0f} s" if ages else many
