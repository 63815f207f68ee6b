"""Ticks that were due long ago and have no result: they tell an executor that waits for a target from a slow one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Message

from everwatch.core.errors import InvalidInput
from everwatch.diagnosis.newest_records import newest_records, results_of
from everwatch.diagnosis.system import System
from everwatch.executor.tick_records import tick_of
from everwatch.kafka.peek import PEEKING, peek
from everwatch.kafka.process_figures import PartitionLag
from everwatch.kinds.execution.targets import target_of_config
from everwatch.model import Tick

MOST_TICKS = 500
"""Ticks of a partition that are looked at, from the committed offset on."""
MOST_RESULTS = 10_000
"""Results of a partition that are looked at, the newest."""
MOST_TARGETS = 3
"""An executor that waits for more targets than these is slow."""


class OpenTick(NamedTuple):
    """A tick without a result: where its check goes, for how long it is due, and for how long the check may take, s."""

    target: str
    due_s: float
    timeout_s: float


class OpenTicks(NamedTuple):
    """Ticks of an executor's partitions that were due long ago: how many were looked at, and which are open."""

    looked_at: int
    open: tuple[OpenTick, ...]

    def overdue(self, behind_s: float) -> list[OpenTick]:
        """Return those that are due for longer than their check may take, and ``behind_s``."""
        return [tick for tick in self.open if tick.due_s > tick.timeout_s + behind_s]

    @property
    def targets(self) -> list[str]:
        """Return the targets that are waited for, the one of most ticks first."""
        return [target for target, _ in Counter(tick.target for tick in self.open).most_common()]

    @property
    def is_of_few_targets(self) -> bool:
        """Tell whether only some targets are waited for, while the ticks of others are done."""
        return 0 < len(self.targets) <= MOST_TARGETS and self.looked_at > len(self.open)


def open_ticks(system: System, late: Iterable[PartitionLag], behind_s: float) -> dict[tuple[str, str], OpenTicks]:
    """Return the open ticks of each owner and topic among the partitions that are ``late``. Raises BrokerUnavailable.

    ``behind_s``: ticks that are due for less are not looked at.
    """
    rows = list(late)
    if not rows:
        return {}
    now = system.clock.now_ms()
    with closing(system.new_consumer(**PEEKING)) as consumer:
        starts = {(row.topic, row.partition): row.committed or 0 for row in rows}
        found = peek(consumer, starts, MOST_TICKS, stops={(row.topic, row.partition): row.end for row in rows})
        due = {
            position: [tick for tick in _ticks(seen.messages) if now - tick.scheduled_at > behind_s * 1000]
            for position, seen in found.items()
        }
        since = min((tick.scheduled_at for ticks in due.values() for tick in ticks), default=now)
        results = _spans_of_results(system, {row.partition for row in rows}, since)
    told: dict[tuple[str, str], OpenTicks] = {}
    for row in rows:
        ticks = due[row.topic, row.partition]
        still = [tick for tick in ticks if not _is_done(tick, results)]
        before = told.get((row.client_id, row.topic), OpenTicks(0, ()))
        opened = tuple(_open(tick, now) for tick in still)
        told[row.client_id, row.topic] = OpenTicks(before.looked_at + len(ticks), before.open + opened)
    return told


def _ticks(messages: Sequence[Message]) -> list[Tick]:
    found = []
    for message in messages:
        try:
            tick = tick_of(message)
        except InvalidInput:
            continue
        if tick.is_scheduled:
            found.append(tick)
    return found


def _is_done(tick: Tick, results: Mapping[tuple[str, str], list[range]]) -> bool:
    # a later tick of the monitor may be done before: it is skipped while this one runs
    return any(tick.scheduled_at in span for span in results.get((tick.user_id, tick.monitor_id), ()))


def _spans_of_results(system: System, partitions: Iterable[int], since: int) -> Mapping[tuple[str, str], list[range]]:
    """Return the instants that the results of each monitor stand for, of those that came from ``since`` (ms) on."""
    found: dict[tuple[str, str], list[range]] = {}
    records = newest_records(system, system.topics.results, MOST_RESULTS, numbers=partitions, since=since)
    for result in results_of(records):
        last = max(result.scheduled_at, result.skipped_until)
        found.setdefault((result.user_id, result.monitor_id), []).append(range(result.scheduled_at, last + 1))
    return found


def _open(tick: Tick, now: int) -> OpenTick:
    target = target_of_config(tick.kind, tick.config) or f"{tick.user_id} {tick.monitor_id}"
    return OpenTick(target, (now - tick.scheduled_at) / 1000, tick.timeout_ms / 1000)
