"""Which messages to begin with: those that are due, however many others wait behind a server that is busy."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from everwatch.notifier.storage import Work

LOOK_AGAIN_AT_ALL_MS = 30_000
"""How often what was passed by is looked at anew: a clock may have stepped, or another notifier may have let go."""
# another notifier's clock may be behind, and what it has made may be committed late
_OVERLAP_MS = 2_000
_MOST_LOOKS = 8


@dataclass(frozen=True)
class Passed:
    """Messages that a look need not go through again.

    ``crowded``: servers with more messages due than they may get at once; theirs are asked for server by server.
    ``until``: what was due before is of crowded servers. ``begun_at``: when that was last forgotten; ms. ``looks``: a
    count of looks, by which crowded servers take turns.
    """

    crowded: frozenset[str] = field(default_factory=frozenset)
    until: int = 0
    begun_at: int = 0
    looks: int = 0


@dataclass
class Choice:
    """Messages to begin with, and what need not be gone through again once they are claimed."""

    delivery_ids: list[str]
    passed: Passed


class ServerLoads(NamedTuple):
    """Servers by name: messages under way, how many there may be, and until when one is left alone, ms."""

    under_way: Counter[str]
    limit_of: Callable[[str], int]
    closed_until: Callable[[str], int]


def choose(
    work: Work,
    passed: Passed,
    now: int,
    room: int,
    servers: ServerLoads,
) -> Choice:
    """Return up to ``room`` messages that are due.

    Crowded servers get half of the room, so that others do not wait behind them. Messages to a server that is left
    alone are put off.
    """
    if not 0 <= now - passed.begun_at < LOOK_AGAIN_AT_ALL_MS:
        passed = Passed(begun_at=now, looks=passed.looks)
    looking = _Looking(work, now, servers)
    crowded = looking.at_crowded(passed, (room + passed.looks % 2) // 2)
    until = looking.at_others(crowded, passed.until, room)
    return Choice(looking.chosen, replace(passed, crowded=frozenset(crowded), until=until, looks=passed.looks + 1))


class _Looking:
    def __init__(
        self,
        work: Work,
        now: int,
        servers: ServerLoads,
    ) -> None:
        self._work = work
        self._now = now
        self._lanes = servers.under_way.copy()
        self._limit_of = servers.limit_of
        self._closed_until = servers.closed_until
        self._alone: dict[str, bool] = {}
        self.chosen: list[str] = []

    def at_crowded(self, passed: Passed, most: int) -> set[str]:
        """Choose ``most`` of crowded servers, which take turns; return those that are crowded still."""
        crowded = set(passed.crowded)
        names = sorted(crowded)
        first = passed.looks % len(names) if names else 0
        for lane in names[first:] + names[:first]:
            if self._put_off(lane):
                crowded.discard(lane)
                continue
            free = min(self._limit_of(lane) - self._lanes[lane], most - len(self.chosen))
            if free <= 0:
                continue
            found = self._work.due_to(lane, self._now, free)
            self._lanes[lane] += len(found)
            self.chosen += found
            if len(found) < free:
                crowded.discard(lane)
        return crowded

    def at_others(self, crowded: set[str], since: int, room: int) -> int:
        """Choose of all other servers, the longest due first; return until when all that is due is of ``crowded``."""
        for _ in range(_MOST_LOOKS):
            left = room - len(self.chosen)
            if left <= 0:
                return since
            due = self._work.due_deliveries(self._now, left, crowded, since, self.chosen)
            for delivery_id, lane in due:
                if lane in crowded or self._put_off(lane):
                    continue
                if self._lanes[lane] < self._limit_of(lane):
                    self._lanes[lane] += 1
                    self.chosen.append(delivery_id)
                else:
                    crowded.add(lane)
            if len(due) < left:
                # where nobody is crowded there is nothing to go through again
                return self._now - _OVERLAP_MS if crowded else 0
        return since

    def _put_off(self, lane: str) -> bool:
        """Tell whether a server is left alone; all that waits for it is put off, once."""
        if lane not in self._alone:
            until = self._closed_until(lane)
            self._alone[lane] = until > 0
            if until:
                self._work.postpone(lane, until)
        return self._alone[lane]
