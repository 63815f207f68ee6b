"""One partition that this worker owns: its timetable, the sweep under way, and the lock on both."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from everwatch.kafka.progress import EntryCounts
from everwatch.rules.regional_runs import RegionalAnswers
from everwatch.timetable import Chunk, Destination, Firing, Timetable

ANSWERS_TO_SPARE = 1_000
Route = tuple[Destination, str]
"""The topic that a tick goes to: by priority and, for a monitor in regions, the region."""


class Outgoing(NamedTuple):
    """A chunk on its way to one topic; its ticks are due at one instant, ms."""

    route: Route
    chunk: Chunk
    instant: int


Unsendable = tuple[Route, Chunk, int, str]
"""A tick that its topic refuses, and why."""


@dataclass
class Sweep:
    """A sweep, kept until the broker has acknowledged all of it: a failed one goes on as of the same instants.

    ``upto``: emits what is due up to then. ``now``: when it began; misfire rules are applied as of then.
    """

    upto: int
    now: int
    is_collected: bool = False
    outgoing: list[Outgoing] = field(default_factory=list)
    inline: list[Firing] = field(default_factory=list)
    skipped: list[Firing] = field(default_factory=list)
    unsendable: list[Unsendable] = field(default_factory=list)
    # ticks that the broker has, for the metrics
    sent: Counter[Route] = field(default_factory=Counter)


class UnansweredTicks(NamedTuple):
    """Instants of the first and the last tick for executors that have sent no result since, ms."""

    first: int
    last: int


class OwnedPartition:
    """One owned partition.

    Sweeps are stopped in two ways. ``sweep_lock`` is held by a sweep of the partition, and by a unit of work of
    signups, commands or agenda items that changes known monitors: nothing is emitted meanwhile. Feedback, which
    changes retries alone in the timetable, does not take it. ``ceiling_at`` is for what is about to enter the
    timetable, new users and retries: sweeps go on up to that instant and no further (the lowest is ``ceiling``).
    ``opened_at``: since when this worker watches it, ms. ``entries``: how many its table has; None: not counted.
    """

    def __init__(self, number: int, timetable: Timetable, opened_at: int) -> None:
        self.number = number
        self.timetable = timetable
        self.opened_at = opened_at
        self.sweep: Sweep | None = None
        self.entries: EntryCounts | None = None
        # by region ("": executors without one): the first and the last tick since its last result
        self.unanswered: dict[str, UnansweredTicks] = {}
        # regions whose gauge of silence is not 0
        self.silent: set[str] = set()
        self.sweep_lock = asyncio.Lock()
        self._ceilings: list[int] = []
        # of monitors in regions, the one that was answered last at the end
        self._answers: dict[bytes, RegionalAnswers] = {}

    @property
    def emitted_to(self) -> int:
        """The instant up to which every due tick is durable on its topic, ms."""
        return self.timetable.emitted_to

    @property
    def sweeping_to(self) -> int:
        """The instant up to which a sweep emits now, or has emitted."""
        return max(self.emitted_to, self.sweep.upto if self.sweep else 0)

    @property
    def ceiling(self) -> int | None:
        """The instant that sweeps may not pass yet, None if there is none."""
        return min(self._ceilings, default=None)

    def count(self, users: int, monitors: int) -> None:
        """Correct the number of the table's entries by these."""
        if self.entries is not None:
            self.entries = EntryCounts(self.entries.users + users, self.entries.monitors + monitors)

    def regional_answers_of(self, key: bytes) -> RegionalAnswers:
        """Return the regions' answers about the monitor under a table key, to be changed in place.

        In memory only: they would leave the monitor as it is. A run that may change it is on its agenda.
        """
        answers = self._answers.pop(key, None) or RegionalAnswers()
        self._answers[key] = answers
        # those of deleted monitors stand first
        while len(self._answers) > len(self.timetable) + ANSWERS_TO_SPARE:
            del self._answers[next(iter(self._answers))]
        return answers

    @contextmanager
    def ceiling_at(self, instant: int) -> Iterator[None]:
        """Let no sweep pass ``instant``: what begins after it enters the timetable only when the block ends."""
        self._ceilings.append(instant)
        try:
            yield
        finally:
            self._ceilings.remove(instant)
