"""Monitors whose ticks are not to be begun any more: paused, deleted, or of a user that was deregistered (pure)."""

from typing import NamedTuple

from everwatch.encoding.cancellation_records import Cancellation, Key

MOST_KEPT = 100_000
KEPT_MS = 24 * 3_600_000
"""As long as ticks stay on their topics."""


class CancelledUpto(NamedTuple):
    """Instants (ms) up to which ticks are not begun, 0 for none. ``deleted_to``: of runs by hand, too."""

    paused_to: int = 0
    deleted_to: int = 0

    def with_more(self, more: Cancellation) -> "CancelledUpto":
        """With what another cancellation says."""
        if more.is_deleted:
            return self._replace(deleted_to=max(self.deleted_to, more.until))
        return self._replace(paused_to=max(self.paused_to, more.until))


_NONE = CancelledUpto()


class CancelledMonitors:
    """Cancellations by monitor and by user: the newest ``MOST_KEPT``, for at most ``KEPT_MS``."""

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self._most_kept = most_kept
        # the oldest first
        self._known: dict[Key, CancelledUpto] = {}

    def __len__(self) -> int:
        """Return the number of monitors and users with cancellations."""
        return len(self._known)

    def note(self, key: Key, cancellation: Cancellation, now: int) -> None:
        """Take in a cancellation; forget those that are too old, and the oldest if there are too many."""
        self._known[key] = self._known.pop(key, _NONE).with_more(cancellation)
        while self._known:
            oldest = next(iter(self._known))
            if len(self._known) <= self._most_kept and max(self._known[oldest]) > now - KEPT_MS:
                return
            del self._known[oldest]

    def upto(self, user_id: str, monitor_id: str) -> CancelledUpto | None:
        """Up to when ticks of a monitor are cancelled; None if they are not. Constant time."""
        own, of_user = self._known.get((user_id, monitor_id)), self._known.get((user_id, ""))
        if own is None or of_user is None:
            return own or of_user
        return CancelledUpto(max(own.paused_to, of_user.paused_to), max(own.deleted_to, of_user.deleted_to))
