"""Rate limiter per host: checks at once and checks a second; checks over the limit wait here (pure).

Many users may watch one host, and all of their checks together should not be what brings it down. Starts are spaced
by a generic cell rate algorithm (ITU-T I.371): with R a second, R + R / 10 in any one second, and R in the long run.

Within a host priorities take turns as in ``Queues``. A host that is free again does not start anything by itself: it
asks for a slot through ``on_turn``, and what waits is taken out when there is one.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from everwatch.executor.priority_queues import MOST_URGENT_FIRST, Shares
from everwatch.model import Priority

Item = TypeVar("Item")
OnTurn = Callable[[Priority, str, Any], None]


def burst_of(per_s: int) -> int:
    """Return the number of checks that may start at the same moment with ``per_s`` a second."""
    return max(1, per_s // 10)


@dataclass(slots=True)
class _Host(Generic[Item]):
    """``full_s``: when nothing is left of what began. ``called``: priorities that have a turn on its way.

    ``own_limit``: how many at once of what is no host; 0 for a host.
    """

    full_s: float
    own_limit: int = 0
    running: int = 0
    waiting: dict[Priority, deque[Item]] = field(default_factory=dict)
    shares: Shares = field(default_factory=Shares)
    called: set[Priority] = field(default_factory=set)
    has_alarm: bool = False
    fades: bool = False

    def ready(self) -> list[Priority]:
        return [priority for priority in MOST_URGENT_FIRST if self.waiting.get(priority)]

    @property
    def idle(self) -> bool:
        return not self.running and not self.called and not any(self.waiting.values())


class HostRateLimiter(Generic[Item]):
    """At most ``in_flight`` checks at once to one host and ``per_s`` starts a second; 0 is no limit.

    ``own_limit`` gives how many at once there may be of what is no host, and 0 for a host; of that there is no rate.
    ``on_turn`` is called with a priority, a host and an item when that item, which waits for the host, may begin:
    ``take`` it soon.
    Instants are seconds on a clock that never steps.
    """

    def __init__(
        self, in_flight: int, per_s: int, on_turn: OnTurn, own_limit: Callable[[str], int] | None = None
    ) -> None:
        self._in_flight = in_flight
        self._own_limit = own_limit
        self._spacing_s = 1 / per_s if per_s else 0.0
        self._tolerance_s = (burst_of(per_s) - 1) * self._spacing_s
        self._on_turn = on_turn
        self._hosts: dict[str, _Host[Item]] = {}
        self._alarms: list[tuple[float, str]] = []
        self._fading: deque[str] = deque()

    def __len__(self) -> int:
        """Return the number of known hosts."""
        return len(self._hosts)

    @property
    def limits_hosts(self) -> bool:
        """Tell whether there is a limit for hosts; another target may have a limit of its own."""
        return bool(self._in_flight or self._spacing_s)

    @property
    def wakes_at_s(self) -> float | None:
        """Return the time at which ``wake`` has to be called; None while only the end of a check can free a host."""
        return self._alarms[0][0] if self._alarms else None

    def admits(self, host: str, now_s: float) -> bool:
        """Tell whether a check may begin right away: the host has room, and no other check waits for it."""
        known = self._hosts.get(host)
        return known is None or (not any(known.waiting.values()) and self._has_room(known, now_s))

    def start(self, host: str, now_s: float) -> None:
        """Note that a check begins, which may be as ``admits`` or ``take`` said; ``end`` has to follow."""
        known = self._known(host, now_s)
        known.running += 1
        known.full_s = max(known.full_s, now_s) + (0 if known.own_limit else self._spacing_s)
        self._look(host, known, now_s)

    def end(self, host: str, now_s: float) -> None:
        """Note that a check that was started is over."""
        known = self._hosts[host]
        known.running -= 1
        self._look(host, known, now_s)

    def park(self, host: str, priority: Priority, item: Item, now_s: float) -> None:
        """Let ``item`` wait for its turn."""
        known = self._known(host, now_s)
        known.waiting.setdefault(priority, deque()).append(item)
        self._look(host, known, now_s)

    def take(self, host: str, priority: Priority, now_s: float) -> Item | None:
        """Take the next item; None if the host has no room. ``start`` or ``yield_turn`` has to follow an item."""
        known = self._hosts.get(host)
        if known is None:  # it was forgotten by ``clear``
            return None
        known.called.discard(priority)
        if not known.waiting.get(priority) or not self._has_room(known, now_s):
            self._look(host, known, now_s)
            return None
        known.shares.spend(priority, known.ready())
        return known.waiting[priority].popleft()

    def yield_turn(self, host: str, now_s: float) -> None:
        """Note that the granted check does not begin: it is the next one's turn."""
        self._look(host, self._known(host, now_s), now_s)

    def wake(self, now_s: float) -> None:
        """Call those whose time has come."""
        while self._alarms and self._alarms[0][0] <= now_s:
            _, host = heapq.heappop(self._alarms)
            known = self._hosts[host]
            known.has_alarm = False
            self._look(host, known, now_s)

    def clear(self) -> None:
        """Forget all that waits; checks stay in flight."""
        self._alarms.clear()
        for known in self._hosts.values():
            known.waiting.clear()
            known.called.clear()
            known.has_alarm = False

    def _has_room(self, known: _Host[Item], now_s: float) -> bool:
        return self._has_slot(known) and (known.own_limit > 0 or now_s >= known.full_s - self._tolerance_s)

    def _has_slot(self, known: _Host[Item]) -> bool:
        most = known.own_limit or self._in_flight
        return not most or known.running < most

    def _look(self, host: str, known: _Host[Item], now_s: float) -> None:
        """Begin the next check if there is room, or set a timer; forget a host without state."""
        ready = known.ready()
        if not ready:
            if known.idle and not known.fades:
                known.fades = True
                self._fading.append(host)
        elif self._has_room(known, now_s):
            self._call(host, known, ready)
        elif self._has_slot(known) and not known.has_alarm:
            known.has_alarm = True
            heapq.heappush(self._alarms, (known.full_s - self._tolerance_s, host))
        self._forget_faded(now_s)

    def _call(self, host: str, known: _Host[Item], ready: list[Priority]) -> None:
        chosen = known.shares.next_of(ready)
        if chosen in known.called:
            # it may have to wait for a slot longer than what is more urgent, and has come meanwhile, would have to
            chosen = ready[0]
            if any(priority in known.called for priority in MOST_URGENT_FIRST[: MOST_URGENT_FIRST.index(chosen) + 1]):
                return
        known.called.add(chosen)
        self._on_turn(chosen, host, known.waiting[chosen][0])

    def _known(self, host: str, now_s: float) -> _Host[Item]:
        known = self._hosts.get(host)
        if known is None:
            known = self._hosts[host] = _Host(now_s, self._own_limit(host) if self._own_limit else 0)
        return known

    def _forget_faded(self, now_s: float) -> None:
        while self._fading:
            host = self._fading[0]
            known = self._hosts[host]
            if known.idle and not known.has_alarm and known.full_s > now_s:
                return
            self._fading.popleft()
            known.fades = False
            # otherwise it is in use again, and fades when that ends
            if known.idle and not known.has_alarm:
                del self._hosts[host]
