"""Purges of users: what the database keeps of one."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

import msgspec

from everwatch.store.partition import Partition


class Purge(msgspec.Struct, frozen=True):
    """A user that was purged: records from before are not stored.

    ``ended_at``: the instant (ms, of the worker's clock) at which its monitors ended. ``kept_until``: until when
    records of before may come from the topics. ``deletion``: for each partition of the changelog, an offset behind the
    user's deletion, wherever it stands.
    """

    user_id: str
    ended_at: int
    kept_until: int
    deletion: Mapping[Partition, int]

    def is_passed(self, stored: Mapping[Partition, int]) -> bool:
        """Tell whether a sink that has stored up to these offsets has seen the deletion."""
        return all(stored.get(partition, 0) >= end for partition, end in self.deletion.items())


@lru_cache(maxsize=20_000)
def hash_of(user_id: str) -> str:
    """Hash of a purged user's id; the id itself is not kept."""
    return blake2b(user_id.encode(), digest_size=32, person=b"everwatch-purge").hexdigest()
