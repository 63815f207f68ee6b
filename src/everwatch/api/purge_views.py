"""Answers about purges of users, as types."""

from enum import StrEnum

import msgspec

from everwatch.api.views import Instant
from everwatch.store.purged_users import Remains


class PurgeState(StrEnum):
    """State of a purge.

    ``asked``: no worker has answered it yet. ``ended``: the user has ended, and the sink deletes what is stored of it.
    ``done``: nothing of it is stored any more. ``refused``: nothing was deleted, for the ``reason`` given.
    """

    ASKED = "asked"
    ENDED = "ended"
    DONE = "done"
    REFUSED = "refused"


class PurgeView(msgspec.Struct, frozen=True):
    """A purge of a user. Nothing of it from up to ``ended_at`` is stored once it is done.

    ``was_watched``: a worker had the user; null while it is asked. ``deleted``: rows by table, so far. ``over_at``:
    when it was done or refused, 0 before that. ``guarded_until``: until then the database keeps a hash of the user's
    id, so that nothing comes back from the topics. ``remains``: topics that may hold records of it, until when at the
    latest (null: not bounded), and the ``rule`` of the topic that says so.
    """

    purge_id: str
    user_id: str
    state: PurgeState
    ended_at: Instant = 0
    was_watched: bool | None = None
    deleted: dict[str, int] = {}
    over_at: Instant = 0
    guarded_until: Instant = 0
    remains: tuple[Remains, ...] = ()
    reason: str = ""
