"""Executors by the notes that they write: which of them ended without being asked to."""

from collections.abc import Collection, Iterable, Mapping

from everwatch.core.errors import InvalidInput
from everwatch.diagnosis.newest_records import newest_records
from everwatch.diagnosis.system import System
from everwatch.encoding.presence_notes import NOTED_EVERY_S, PresenceNote, decode_note

MOST_READ = 5_000
"""Records of a partition that are read: the newest; an executor writes six notes a minute."""
SILENT_MS = int(2.5 * NOTED_EVERY_S * 1000)
"""An executor that is not in its group and has noted nothing for so long is gone or frozen, and not just starting."""


def newest_notes(system: System) -> dict[str, PresenceNote]:
    """Return the newest note of each executor that has written one within ``recent_ms``. Raises AccessError."""
    topic = system.topics.trial_results
    found: dict[str, PresenceNote] = {}
    for record in newest_records(system, topic, MOST_READ, since=system.clock.now_ms() - system.recent_ms):
        try:
            note = decode_note(record.value)
        except InvalidInput:
            continue  # the outcome of a trial
        before = found.get(note.executor)
        if before is None or before.at <= note.at:
            found[note.executor] = note
    return found


def ended_unasked(
    notes: Mapping[str, PresenceNote], seen: Mapping[str, int], present: Collection[str], now: int
) -> dict[str, int]:
    """Return executors that were killed, are frozen or cut off, and when each was at work last, ms.

    ``seen``: when each finished something last; ``present``: members of the group. One that was started on the same
    host since stands for one that is gone, as it was started in its place, also when it has been stopped on purpose.
    """
    gone = {
        name: max(note.at, seen.get(name, 0))
        for name, note in notes.items()
        if not note.left and name not in present and now - max(note.at, seen.get(name, 0)) > SILENT_MS
    }
    begun = sorted((note for note in notes.values() if note.executor not in gone), key=lambda note: note.began_at)
    return _without_replaced(gone, begun)


def _without_replaced(gone: Mapping[str, int], others: Iterable[PresenceNote]) -> dict[str, int]:
    left = dict(gone)
    for note in others:
        replaced = [name for name, at in left.items() if _host(name) == _host(note.executor) and at <= note.began_at]
        if replaced:
            del left[min(replaced, key=lambda name: left[name])]
    return left


def _host(executor: str) -> str:
    return executor.rpartition("-")[0]
