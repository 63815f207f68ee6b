"""Share of an executor's targets that it does not reach. Pure.

An executor that loses its uplink sees every target fail. One result alone cannot tell that from a target that is down;
so a result that did not reach its target carries the percentage of targets that were not reached lately.
"""

from collections import OrderedDict

from everwatch.kinds.callable_interface import CALLABLE_TARGET
from everwatch.kinds.execution.failure_classes import failure_class
from everwatch.model import Outcome, Status

WINDOW_S = 60.0
FEWEST_TARGETS = 50
"""Fewest targets within the window of which a percentage is given."""
_LASTING_S = 600.0
"""A target that was not reached for longer is down, and is not counted."""
_MOST_TARGETS = 100_000
_UNREACHED = frozenset({"timeout", "name", "refused", "closed", "unreachable", "tls", "proxy"})
# these say nothing of the network
_SILENT = frozenset({"forbidden", "internal"})


def reaches(outcome: Outcome) -> bool | None:
    """Tell whether a check reached its target; None if that is not known."""
    if outcome.status is Status.SUCCESS:
        return True
    if outcome.status is not Status.FAILURE:
        return None
    found = failure_class(outcome.reason)
    return None if found in _SILENT else found not in _UNREACHED


class Reachability:
    """Targets of the last minute, reached and not. Noting a check takes constant time."""

    def __init__(self) -> None:
        # by host: the instant of the last check, and True if it counts as not reached; the earliest first
        self._tried: OrderedDict[str, tuple[float, bool]] = OrderedDict()
        self._unreached = 0
        # by host: the instant since which it is not reached
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
        """Tell whether a target is newly out of reach; while most targets are, every one counts as new."""
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
