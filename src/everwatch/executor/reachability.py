"""How much of the world an executor reaches. Pure.

An executor that loses its uplink sees every target fail, and no single result can tell that from targets that are
down. All of them together can: so a result that did not reach its target says how many others were not reached lately.
"""

from collections import OrderedDict

from everwatch.kinds.callable_interface import CALLABLE_TARGET
from everwatch.kinds.failure_classes import failure_class
from everwatch.model import Outcome, Status

WINDOW_S = 60.0
FEWEST_TARGETS = 50
"""Of fewer targets within the window nothing is said."""
_LASTING_S = 600.0
"""What has not been reached for so long is a target that is down, and is not counted."""
_MOST_TARGETS = 100_000
_UNREACHED = frozenset({"timeout", "name", "refused", "closed", "unreachable", "tls", "proxy"})
# these say nothing of the network
_SILENT = frozenset({"forbidden", "internal"})


def reaches(outcome: Outcome) -> bool | None:
    """Tell whether a check reached its target; None if that cannot be told."""
    if outcome.status is Status.SUCCESS:
        return True
    if outcome.status is not Status.FAILURE:
        return None
    found = failure_class(outcome.reason)
    return None if found in _SILENT else found not in _UNREACHED


class Reachability:
    """Which targets were reached within the last minute. A check costs it a look-up; nothing is ever gone through."""

    def __init__(self) -> None:
        # host: when it was tried last, and whether it counts as not reached; the longest ago first
        self._tried: OrderedDict[str, tuple[float, bool]] = OrderedDict()
        self._unreached = 0
        self._since: OrderedDict[str, float] = OrderedDict()

    def note(self, host: str, reached: bool, now_s: float) -> int:
        """Note a check; return the percentage of targets that are not reached, 0 if it reached its own.

        Also 0 if fewer than ``FEWEST_TARGETS`` were tried within ``WINDOW_S``. ``now_s``: on a clock that never steps.
        """
        if not host or host.startswith(CALLABLE_TARGET):
            return 0
        tried = self._tried
        before = tried.pop(host, None)
        if before is not None:
            self._unreached -= before[1]
        counts = not reached and self._is_recent(host, now_s)
        if reached:
            if self._since:
                self._since.pop(host, None)
        elif not counts:
            self._forget(now_s)
            return 0
        tried[host] = now_s, counts
        self._unreached += counts
        self._forget(now_s)
        if reached or len(tried) < FEWEST_TARGETS:
            return 0
        return 100 * self._unreached // len(tried)

    def _is_recent(self, host: str, now_s: float) -> bool:
        """Tell whether a target is newly out of reach; while most are, how long ago it began says nothing."""
        since = self._since.setdefault(host, now_s)
        if len(self._since) > _MOST_TARGETS:
            self._since.popitem(last=False)
        return now_s - since < _LASTING_S or 2 * self._unreached > len(self._tried) >= FEWEST_TARGETS // 2

    def _forget(self, now_s: float) -> None:
        tried = self._tried
        while tried:
            host, (at_s, counts) = next(iter(tried.items()))
            if now_s - at_s <= WINDOW_S and len(tried) <= _MOST_TARGETS:
                return
            del tried[host]
            self._unreached -= counts
