"""Positions of a client's writes, which its reads wait for. Pure."""

from collections import OrderedDict
from collections.abc import Iterable

MOST_USERS = 10_000
"""Users whose last write is remembered."""


class Positions:
    """Positions of writes, ``PARTITION@OFFSET``, until a read has passed them: of each user, and of all of them."""

    def __init__(self, after: str = "") -> None:
        """``after``: positions of another client's writes, which every read must have passed."""
        self.latest = after
        self._given = after
        self._pending: dict[str, int] = {}
        self._of_user: OrderedDict[str, str] = OrderedDict()
        for position in _parts(after):
            self._keep(position)

    def note(self, user_id: str, position: str) -> None:
        """Remember where a write of a user stands; "" stands nowhere."""
        if not position:
            return
        self.latest = position
        self._keep(position)
        self._of_user[user_id] = position
        self._of_user.move_to_end(user_id)
        if len(self._of_user) > MOST_USERS:
            self._of_user.popitem(last=False)

    def wanted(self, user_id: str) -> str:
        """Return what a read about a user ("": about several) must have passed, as it is sent; "" for nothing."""
        if user_id:
            return self._of_user.get(user_id, self._given)
        return ",".join(f"{partition}@{offset}" for partition, offset in self._pending.items())

    def passed(self, user_id: str, positions: str) -> None:
        """Forget positions that a read has passed: databases do not go back."""
        if self._of_user.get(user_id) == positions:
            del self._of_user[user_id]
        if positions == self._given:
            self._given = ""
        for partition, offset in map(_of, _parts(positions)):
            if self._pending.get(partition, -1) <= offset:
                self._pending.pop(partition, None)

    def _keep(self, position: str) -> None:
        partition, offset = _of(position)
        self._pending[partition] = max(offset, self._pending.get(partition, -1))


def _parts(positions: str) -> Iterable[str]:
    return filter(None, positions.split(","))


def _of(position: str) -> tuple[str, int]:
    partition, _, offset = position.partition("@")
    return partition, int(offset)
