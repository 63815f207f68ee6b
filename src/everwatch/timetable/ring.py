"""One turn of one interval, divided into slots: who stands in a slot is due each time the hand passes it."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """Members by slot. Firing reads a slot and changes nothing: a member at rest is never put in again."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        # most slots of a long interval are empty, so only those in use exist
        self._members: dict[int, dict[bytes, T]] = {}

    def __bool__(self) -> bool:
        return bool(self._members)

    def put(self, slot: int, key: bytes, member: T) -> None:
        """Put a member into a slot."""
        self._members.setdefault(slot, {})[key] = member

    def remove(self, slot: int, key: bytes) -> None:
        """Take a member out of its slot."""
        members = self._members[slot]
        del members[key]
        if not members:
            del self._members[slot]

    def at(self, step: int) -> Iterable[T]:
        """Who stands where the hand is at this step (steps are counted from the epoch)."""
        members = self._members.get(step % self._slots)
        return members.values() if members else ()
