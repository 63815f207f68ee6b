"""Options of a worker beside the settings: constants of a process, which tests make small."""

from typing import NamedTuple


class WorkerOptions(NamedTuple):
    """``rebuild_changelog``: by a person's decision this worker's tables replace what the changelog has lost.

    ``retry_s``: pause between attempts at a batch of inputs. ``unreadable_every_s``: how often a changelog that cannot
    be read is tried again. ``changelog_id_every_s``: how often its id is compared. ``sessions``: session timeouts for
    which ticks go on without an assignment; a rebalance waits one for a member that died. ``written_back_at_once``:
    entries in a transaction that writes a table back.
    """

    rebuild_changelog: bool = False
    retry_s: float = 1.0
    unreadable_every_s: float = 30.0
    changelog_id_every_s: float = 10.0
    sessions: float = 2
    written_back_at_once: int = 5_000


DEFAULT_OPTIONS = WorkerOptions()
