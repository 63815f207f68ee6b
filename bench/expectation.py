"""Expected ticks by the schedules alone: their number for each partition and instant, and their monitors.

Computed from the users' numbers, the phase function and the partitioner, never from anything that a worker said.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from bench.population import MINUTE_MS, Once, Population, Recurring, partition_of
from everwatch.model import Every
from everwatch.schedule.every import due_between

Due = dict[tuple[int, int], int]
MOST_LAPS = 64


class Expectation:
    """The users of one topic, counted by partition, interval and phase. Adding a million monitors takes seconds."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._recurring: Counter[tuple[int, int, int]] = Counter()
        self._once: Counter[tuple[int, int]] = Counter()
        self.populations: list[Population] = []

    @property
    def monitors(self) -> int:
        """Number of monitors."""
        return sum(population.monitors for population in self.populations)

    @property
    def rate(self) -> float:
        """Ticks a second of all recurring monitors."""
        return sum(population.rate for population in self.populations)

    def add(self, population: Population) -> None:
        """Count some more users."""
        self.populations.append(population)
        for number in population.numbers:
            user = population.user_id(number)
            partition = partition_of(user.encode(), self._partitions)
            for item in population.items:
                if isinstance(item, Once):
                    self._once[partition, item.instant(number)] += 1
                else:
                    interval_ms = item.interval_ms if isinstance(item, Recurring) else MINUTE_MS
                    self._recurring[partition, interval_ms, population.phase(item, user)] += 1

    def due(self, after: int, upto: int) -> Due:
        """Number of due ticks for each (partition, instant) with after < instant <= upto."""
        due: defaultdict[tuple[int, int], int] = defaultdict(int)
        for (partition, interval_ms, phase_ms), count in self._recurring.items():
            for instant in due_between(Every(interval_ms), phase_ms, after, upto):
                due[partition, instant] += count
        for (partition, instant), count in self._once.items():
            if after < instant <= upto:
                due[partition, instant] += count
        return dict(due)


class Identified(NamedTuple):
    """Ticks compared one by one with what is due: compared, missing, more than once, and not due at all."""

    ticks: int
    missed: int
    duplicates: int
    wrong: int


def identify(
    population: Population,
    records: Iterable[tuple[int, Any]],
    monitor_of: Callable[[bytes], str],
    after: int,
    upto: int,
) -> Identified:
    """Compare records of the ticks topic with the set of ticks that is due: user, monitor and instant.

    At most ``MOST_LAPS`` ticks of a monitor may be due in the window. ``monitor_of`` gives the id in a tick's value.
    """
    items = {item.monitor_id: place for place, item in enumerate(population.items)}
    seen = array("Q", bytes(8 * population.monitors))
    phases = array("q")
    for number in population.numbers:
        user = population.user_id(number)
        phases.extend(population.phase(item, user) for item in population.items)
    known: dict[bytes, str] = {}
    ticks = duplicates = wrong = missed = 0
    for _, record in records:
        if not after < record.timestamp <= upto:
            continue
        number = population.number_of(record.key)
        if number < 0:
            continue  # another population's
        ticks += 1
        value = bytes(record.value)
        monitor_id = known.get(value)
        if monitor_id is None:
            monitor_id = known[value] = monitor_of(value)
        place = items.get(monitor_id)
        if place is None:
            wrong += 1
            continue
        index = (number - population.first) * len(items) + place
        due = population.due(population.items[place], number, phases[index], after, upto)
        if record.timestamp not in due:
            wrong += 1
            continue
        bit = 1 << due.index(record.timestamp)
        duplicates += bool(seen[index] & bit)
        seen[index] |= bit
    for number in population.numbers:
        for place, item in enumerate(population.items):
            index = (number - population.first) * len(items) + place
            missed += len(population.due(item, number, phases[index], after, upto)) - seen[index].bit_count()
    return Identified(ticks, missed, duplicates, wrong)
