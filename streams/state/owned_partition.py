"""One partition that this worker owns: its timetable, the sweep under way, and the lock on both."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from everwatch.timetable import Chunk, Destination, Firing, Timetable


@dataclass
class Attempt:
    """A sweep that is not through yet: up to when, as of which instant, and what the broker does not have yet."""

    upto: int
    now: int
    is_collected: bool = False
    ticks: list[tuple[Destination, Chunk, int]] = field(default_factory=list)
    inline: list[Firing] = field(default_factory=list)
    skipped: list[Firing] = field(default_factory=list)
    # chunks of a single record that its topic does not take, and why
    unsendable: list[tuple[Destination, Chunk, int, str]] = field(default_factory=list)
    fired: bool = False
    # ticks that the broker has, for the metrics
    sent: Counter[Destination] = field(default_factory=Counter)


class OwnedPartition:
    """One owned partition.

    ``turn`` is held by a sweep of the partition, and by whoever changes monitors that are in the timetable.
    ``opened_at``: since when this worker watches it.
    """

    def __init__(self, number: int, timetable: Timetable, opened_at: int) -> None:
        self.number = number
        self.timetable = timetable
        self.opened_at = opened_at
        self.attempt: Attempt | None = None
        # since when ticks have gone out and no result of any has come, 0 while results come
        self.unanswered_since = 0
        self.turn = asyncio.Lock()
        self._holds: list[int] = []

    @property
    def emitted_to(self) -> int:
        """Every tick due up to this instant is durable on its topic."""
        return self.timetable.emitted_to

    @property
    def reaching_for(self) -> int:
        """The instant up to which a sweep emits now, or has emitted."""
        return max(self.emitted_to, self.attempt.upto if self.attempt else 0)

    @property
    def ceiling(self) -> int | None:
        """The instant that sweeps may not pass yet, None if there is none."""
        return min(self._holds, default=None)

    @contextmanager
    def held(self, since: int) -> Iterator[None]:
        """Let no sweep pass the instant ``since``: a monitor that begins then is not in the timetable yet."""
        self._holds.append(since)
        try:
            yield
        finally:
            self._holds.remove(since)
