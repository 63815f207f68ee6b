"""The partition of a user under another count: by the partitioner that its producers use. Pure."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from everwatch.core.errors import TopicMismatch
from everwatch.encoding.codec import SEPARATOR
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.memory.partitioner import murmur2

_CACHED_USERS = 1 << 20


class Partitioner(StrEnum):
    """Partitioner: the rule by which producers choose the partition of a user.

    ``murmur2``: Java's default, and Everwatch's own. ``crc32``: the default of librdkafka.
    """

    MURMUR2 = "murmur2"
    CRC32 = "crc32"


def partition_of_user(partitioner: Partitioner, user: bytes, partitions: int) -> int:
    """Return the partition that a producer gives the user."""
    if partitioner is Partitioner.CRC32:
        return crc32(user) % partitions
    return (murmur2(user) & 0x7FFFFFFF) % partitions


def place_by(partitioner: Partitioner, partitions: int) -> Callable[[bytes], int]:
    """Return what gives the partition of a record's key: that of its user."""

    @lru_cache(_CACHED_USERS)
    def of_user(user: bytes) -> int:
        return partition_of_user(partitioner, user, partitions)

    def of_key(key: bytes) -> int:
        return of_user(user_of(key))

    return of_key


class NewPlaces(NamedTuple):
    """Partitions of records in topics that have ``partitions``; ``place`` gives that of a key."""

    place: Callable[[bytes], int]
    partitions: int

    def of(self, record: Record) -> int:
        """Return the partition of a record; one without a key keeps its own, as far as there is one."""
        return self.place(record.key) if record.key else record.partition % self.partitions


def user_of(key: bytes) -> bytes:
    """Return the user of a key of any topic: entries and cancellations have the monitor behind a NUL."""
    return key.partition(SEPARATOR)[0]


class Places:
    """Users of a generation by partition; which partitioner put them there."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._users: dict[bytes, int] = {}
        self._twice: set[bytes] = set()

    def add(self, key: bytes, value: bytes | None, number: int) -> None:
        """Take the next entry of the table; only those of users themselves count."""
        if not key.endswith(SEPARATOR):
            return
        user = key[:-1]
        before = self._users.get(user, number)
        if value is None:
            if before == number:
                self._users.pop(user, None)
            self._twice.discard(user)
            return
        if before != number:
            self._twice.add(user)
        self._users[user] = number

    def __len__(self) -> int:
        return len(self._users)

    def partitioner(self, wanted: Partitioner | None) -> Partitioner:
        """Return the partitioner of all users, or the one that is wanted. Raises TopicMismatch."""
        if self._twice:
            some = _shown(self._twice)
            raise TopicMismatch(
                f"{len(self._twice)} users are on two partitions ({some}): their producers use different"
                " partitioners, and only one of the two states can be kept. Deregister them, and sign them up again."
            )
        if wanted is not None:
            return wanted
        fewest: list[bytes] = []
        for each in Partitioner:
            strays = [u for u, number in self._users.items() if partition_of_user(each, u, self._partitions) != number]
            if not strays:
                return each
            fewest = min(fewest or strays, strays, key=len)
        raise TopicMismatch(
            f"{len(fewest)} of {len(self._users)} users are not where a known partitioner puts them ({_shown(fewest)}):"
            " have all producers use one partitioner, and say which one with --partitioner; these users move there."
        )


def _shown(users: Iterable[bytes]) -> str:
    some = sorted(users)[:3]
    return ", ".join(user.decode(errors="backslashreplace") for user in some)
