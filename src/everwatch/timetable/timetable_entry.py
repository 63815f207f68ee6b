"""Entries of a timetable, and its firings."""

from collections.abc import Sequence
from typing import NamedTuple

from everwatch.core.errors import Transient
from everwatch.model import Schedule
from everwatch.timetable.chunk import Chunk
from everwatch.timetable.destination import BatchKey

NEVER = 1 << 62
NONE = range(0)


class Retry(NamedTuple):
    """One more try of a tick that failed.

    It goes out at ``due`` and says that it was scheduled at ``scheduled_at``; ``record`` is framed, too.
    """

    due: int
    scheduled_at: int
    record: bytes


class FirstCheck(NamedTuple):
    """A run beside the schedule, soon after the monitor begins: its instant and its record."""

    due: int
    record: bytes


class TimetableEntry(NamedTuple):
    """One monitor in the timetable; ``record`` is its firing as it goes out (``record_framing.framed``).

    It is due strictly after ``since``, and at ``until`` for the last time. ``held_back``: that it begins at ``since``
    is its owner's wish, and until that is loaded only the store's index knows it.
    """

    key: bytes
    schedule: Schedule
    since: int
    batch_key: BatchKey
    record: bytes
    until: int = NEVER
    held_back: bool = False
    retry: Retry | None = None
    first: FirstCheck | None = None


class Firing(NamedTuple):
    """Due records of a chunk: emitted for each instant of ``fire``, only reported for each of ``skipped``.

    A record's timestamp delta counts on top of the instant; a retry's is negative.
    """

    batch_key: BatchKey
    chunk: Chunk
    fire: Sequence[int]
    skipped: Sequence[int] = NONE


class LocalStateWrong(Transient):
    """What this worker holds does not follow what is durable: the worker ends, and the next owner builds it anew.

    Transient, as no record is at fault: a batch that
    meets it must not be halved down to a record that is then refused.
    """
