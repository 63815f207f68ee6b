"""Folding of the journal of roll-ups beside the batches, in a thread and a connection of its own.

For PostgreSQL: while its server stores a batch, the sink would do nothing. SQLite takes one writer at a time.
"""

import logging
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor

from everwatch.store.rollup_journal import BUCKETS

logger = logging.getLogger(__name__)


class FoldingBeside:
    """Folds buckets one call after the other; ``fold`` runs in a thread."""

    def __init__(self, fold: Callable[[Collection[int]], None]) -> None:
        self._fold = fold
        self._threads = ThreadPoolExecutor(1, "fold-rollups")
        self._running: Future[None] | None = None
        self._waiting: set[int] = set()

    def begin(self, buckets: Collection[int]) -> None:
        """Fold these buckets soon. Waits only when all of them wait already, so that the journal stays small."""
        self._waiting.update(buckets)
        if self._running is not None:
            if not self._running.done() and len(self._waiting) < BUCKETS:
                return
            self._end()
        if self._waiting:
            self._running = self._threads.submit(self._fold, sorted(self._waiting))
            self._waiting.clear()

    def close(self) -> None:
        """Wait for what is being folded; the rest is in the journal for the next sink."""
        self._end()
        self._threads.shutdown()

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        if (failure := running.exception()) is not None:
            # the next batch meets the same database, and waits for it if need be
            logger.warning("Roll-ups stay in their journal for ten minutes more: %s", failure)
