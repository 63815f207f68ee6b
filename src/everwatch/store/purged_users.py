"""Purges of users: those that the sink has to carry out, and what the database keeps of one."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

import msgspec

from everwatch.store.partition import Partition

MOST_TO_DO = 100
"""Stored purges that ``purges_to_do`` gives at most."""


class Purge(msgspec.Struct, frozen=True):
    """A user that was purged: records from before are not stored.

    ``ended_at``: the instant (ms, of the worker's clock) at which its monitors ended. ``kept_until``: until when
    records of before may come from the topics. ``deletion``: for each partition of the changelog, an offset behind the
    user's deletion, wherever it stands. ``key``: that of the stored purge that counts the deleted rows, "" for none.
    """

    user_id: str
    ended_at: int
    kept_until: int
    deletion: Mapping[Partition, int]
    key: str = ""

    def is_passed(self, stored: Mapping[Partition, int]) -> bool:
        """Tell whether a sink that has stored up to these offsets has seen the deletion."""
        return all(stored.get(partition, 0) >= end for partition, end in self.deletion.items())


class AskedPurge(msgspec.Struct, frozen=True):
    """A purge that a worker has answered, and the sink has to carry out.

    ``key``: see ``key_of_purge``. ``ended_at``: ms, when the worker answered. ``partition`` and ``deletion``: of the
    changelog, where the user's deletion stands, and an offset behind it. ``was_watched``: the worker had the user.
    """

    key: str
    user_id: str
    ended_at: int
    partition: int
    deletion: int
    was_watched: bool


class Remains(msgspec.Struct, frozen=True):
    """A topic that may still hold records of the user.

    ``until``: the instant (ms) at which the last of them is gone at the latest; None: none is certain. ``rule``: the
    topic's configuration that says so.
    """

    topic: str
    until: int | None
    rule: str


class PurgeOutcome(msgspec.Struct, frozen=True):
    """The outcome of a purge that is over.

    ``guarded_until``: until then (ms) the database keeps a hash of the user's id, so that nothing comes back from the
    topics. ``refused``: why nothing was deleted; "" if it was carried out.
    """

    guarded_until: int = 0
    remains: tuple[Remains, ...] = ()
    refused: str = ""


class StoredPurge(msgspec.Struct, frozen=True):
    """A purge as the database has it. ``deleted``: rows by table. ``over_at``: ms, 0 while it is carried out."""

    ended_at: int
    was_watched: bool
    deleted: dict[str, int]
    over_at: int
    outcome: PurgeOutcome


@lru_cache(maxsize=20_000)
def hash_of(user_id: str) -> str:
    """Hash of a purged user's id; the id itself is not kept."""
    return blake2b(user_id.encode(), digest_size=32, person=b"everwatch-purge").hexdigest()


def key_of_purge(user_id: str, command_id: str) -> str:
    """Return the key of the purge of a user by a command, which names neither."""
    return blake2b(f"{user_id}\0{command_id}".encode(), digest_size=32, person=b"everwatch-purge").hexdigest()
