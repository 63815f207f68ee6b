"""Filter of records that purged users left on the topics, so that they are not stored again. Pure."""

from collections.abc import Mapping

import msgspec

from everwatch.store.letters import StoredLetter
from everwatch.store.purged_users import hash_of
from everwatch.store.sink_batch import SinkBatch


def users_of(batch: SinkBatch) -> set[str]:
    """Users whose records a batch holds."""
    users = {result.value.user_id for result in batch.results}
    users |= {transition.value.user_id for transition in batch.transitions}
    users |= {reply.value.user_id for reply in batch.replies}
    users |= {entry.value.user_id for entry in batch.audit if entry.value.user_id}
    users |= {letter.value.user_id for letter in batch.letters if isinstance(letter.value, StoredLetter)}
    return users | {entry.value.user_id for entry in batch.entries}


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
        replies=[r for r in batch.replies if is_kept(r.value.user_id, r.value.at)],
        audit=[a for a in batch.audit if is_kept(a.value.user_id, a.value.at)],
        # what was sent before may be refused after; a note names no user
        letters=[
            r
            for r in batch.letters
            if not isinstance(r.value, StoredLetter) or is_kept(r.value.user_id, r.value.known_at)
        ],
        # a deletion changes nothing where there is nothing; an earlier put is followed by one
        entries=[e for e in batch.entries if e.value.value is None or is_kept(e.value.user_id, e.timestamp + 1)],
    )
