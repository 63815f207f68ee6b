"""Sequence of catalogue entries: the stretches that begin and end, and the entries that one statement may store."""

from collections.abc import Iterable
from typing import NamedTuple

from everwatch.model import ASLEEP, Monitor
from everwatch.store.sink_batch import CatalogueEntry, Received


class Ending(NamedTuple):
    """Stretches that a monitor's record begins and ends.

    ``others_until``: when its open stretches of another version or ``since`` ended, those begun later excepted.
    ``own_until``: when the stretch of this version and ``since`` ended; None while it lasts.
    ``has_own``: False when it was never active since ``since`` (changed while it was paused).
    """

    others_until: int
    own_until: int | None
    has_own: bool


def ending_of(monitor: Monitor) -> Ending:
    """The stretches of a monitor, from its newest record.

    Records may be missing in between (the changelog is compacted), so each one is read for all it says: a paused
    monitor tells both when its last stretch began and when it ended.
    """
    if monitor.state not in ASLEEP:
        return Ending(others_until=monitor.since, own_until=None, has_own=True)
    return Ending(
        others_until=min(monitor.since, monitor.state_since),
        own_until=monitor.state_since,
        has_own=monitor.state_since > monitor.since,
    )


def into_waves(entries: Iterable[Received[CatalogueEntry]]) -> list[list[Received[CatalogueEntry]]]:
    """Entries in as few groups as possible, such that only entries of different groups depend on their order.

    Entries of one key depend on each other; so do a user's deletion and all entries of that user.
    """
    waves: list[list[Received[CatalogueEntry]]] = []
    last_of_key: dict[tuple[str, str], int] = {}
    last_of_user: dict[str, int] = {}
    last_deletion: dict[str, int] = {}
    for received in entries:
        entry = received.value
        user_id, key = entry.user_id, (entry.user_id, entry.monitor_id)
        if entry.monitor_id == "" and entry.value is None:
            wave = last_of_user.get(user_id, -1) + 1
            last_deletion[user_id] = wave
        else:
            wave = max(last_of_key.get(key, -1), last_deletion.get(user_id, -1)) + 1
        last_of_key[key] = wave
        last_of_user[user_id] = max(wave, last_of_user.get(user_id, -1))
        if wave == len(waves):
            waves.append([])
        waves[wave].append(received)
    return waves
