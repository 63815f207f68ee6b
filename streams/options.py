"""Options of a worker that are no settings.

``--rebuild-changelog``, constants that tests make small, and parts that tests make fail.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from rocksdict import Rdict, WriteBatch

from everwatch.timetable import Packing, Timetable


def write_batch(database: Rdict, batch: WriteBatch) -> None:
    """Write a batch of entries to the database of a partition."""
    database.write(batch)


class WorkerOptions(NamedTuple):
    """``rebuild_changelog``: by a person's decision this worker's tables replace what the changelog has lost.

    ``retry_s``: pause between attempts at a batch of inputs. ``unreadable_every_s``: how often a changelog that cannot
    be read is tried again. ``changelog_id_every_s``: how often its id is compared. ``sessions``: session timeouts for
    which ticks go on without an assignment; a rebalance waits one for a member that died. ``written_back_at_once``:
    entries in a transaction that writes a table back. ``reopen_s``: pause between attempts to open partitions.
    ``rejoin_s``: pause before a fenced worker joins the group again: it finds out by itself as a rule within this time.
    ``agendas_every_s``: how often agendas are looked at.

    ``new_timetable`` makes the timetables (packing, ``emitted_to``), ``write_batch`` writes to the databases.
    """

    rebuild_changelog: bool = False
    retry_s: float = 1.0
    unreadable_every_s: float = 30.0
    changelog_id_every_s: float = 10.0
    sessions: float = 2
    written_back_at_once: int = 5_000
    reopen_s: float = 1.0
    rejoin_s: float = 1.0
    agendas_every_s: float = 0.5
    new_timetable: Callable[[Packing, int], Timetable] = Timetable
    write_batch: Callable[[Any, WriteBatch], None] = write_batch


DEFAULT_OPTIONS = WorkerOptions()
