"""Users that were purged: what of a batch is theirs and must not be stored again. Pure."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

import msgspec

from everwatch.store.interface import Partition, SinkBatch


class Purge(msgspec.Struct, frozen=True):
    """A user that was ended, and of whom nothing from before is to be stored.

    ``ended_at``: the instant (ms, of the worker's clock) at which its monitors ended. ``kept_until``: until when
    records of before may come from the topics. ``deletion``: for each partition of the changelog, an offset behind the
    user's deletion, wherever it stands.
    """

    user_id: str
    ended_at: int
    kept_until: int
    deletion: Mapping[Partition, int]

    def is_passed(self, stored: Mapping[Partition, int]) -> bool:
        """Whether a sink that stored up to these offsets has seen the deletion."""
        return all(stored.get(partition, 0) >= end for partition, end in self.deletion.items())


@lru_cache(maxsize=20_000)
def hash_of(user_id: str) -> str:
    """What stands for a purged user: the id itself is not kept."""
    return blake2b(user_id.encode(), digest_size=32, person=b"everwatch-purge").hexdigest()


def without_purged(batch: SinkBatch, ended_at: Mapping[str, int]) -> SinkBatch:
    """The batch without what purged users had before they ended; ``ended_at``: by ``hash_of`` the user.

    Ticks that were under way then are due before it, however late their results come. A user that signs up anew has
    ticks that are due after it.
    """

    def is_kept(user_id: str, instant: int) -> bool:
        return ended_at.get(hash_of(user_id), -1) < instant

    return msgspec.structs.replace(
        batch,
        results=[r for r in batch.results if is_kept(r.value.user_id, r.value.scheduled_at)],
        transitions=[t for t in batch.transitions if is_kept(t.value.user_id, t.value.at)],
        # a deletion changes nothing where there is nothing; a put of before is followed by one
        entries=[e for e in batch.entries if e.value.value is None or is_kept(e.value.user_id, e.timestamp + 1)],
    )
