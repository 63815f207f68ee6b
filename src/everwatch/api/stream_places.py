"""A limit on long requests, such as imports, that one process serves at once. Tokens of users share a part of it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from everwatch.api.problems import unavailable

MOST, MOST_OF_ALL_USERS, MOST_OF_USER = 8, 4, 1


class StreamPlaces:
    """Counts requests that are under way. ``what``: they are, for people."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._running: Counter[str] = Counter()

    @contextmanager
    def taken(self, user_id: str) -> Iterator[None]:
        """Count a request of a token that is limited to a user, "" for one that is not. Raises Problem."""
        of_users = self._running.total() - self._running[""]
        # some places are not for tokens of users
        is_full = bool(user_id) and (self._running[user_id] >= MOST_OF_USER or of_users >= MOST_OF_ALL_USERS)
        if self._running.total() >= MOST or is_full:
            raise unavailable("overloaded", f"This process has as many {self._what} as it takes: try it again later.")
        self._running[user_id] += 1
        try:
            yield
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]
