"""Entries of the table that cannot be decoded: they count as absent, and are logged, counted and noted.

A newer version may have written them, or a foreign client. The worker goes on without such an entry; its
bytes stay where they are until the entry is written anew.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable

from everwatch.core.clock import Clock
from everwatch.core.errors import UndecodableEntry
from everwatch.encoding import codec
from everwatch.model import Monitor, User
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled_key
from streams.metrics import UNDECODABLE

logger = logging.getLogger(__name__)
# of a partition; more are passed over without being distinguished
MOST_KNOWN = 10_000


class Undecodable:
    """Entries that could not be decoded, by partition."""

    def __init__(self, clock: Clock) -> None:
        self._known: defaultdict[int, set[bytes]] = defaultdict(set)
        self._log_throttle = LogThrottle(clock)

    def decode(self, partition: int, key: bytes, value: bytes) -> User | Monitor | None:
        """The user or monitor of an entry; None, and noted, if it cannot be decoded."""
        try:
            return codec.decode_entry(key, value)
        except UndecodableEntry as error:
            self.note(partition, key, error)
            return None

    def note(self, partition: int, key: bytes, error: Exception) -> None:
        """Note that an entry is passed over, and why."""
        known = self._known[partition]
        if key in known or len(known) >= MOST_KNOWN:
            return
        known.add(key)
        UNDECODABLE.labels(partition).set(len(known))
        if self._log_throttle.may_log(partition):
            reason = error if isinstance(error, UndecodableEntry) else UndecodableEntry(key, error)
            logger.error(
                "partition %d: %s; the entry is passed over, and its monitor does not run (logged once a minute)",
                partition,
                reason,
                extra=labelled_key(partition, key),
            )

    def of(self, partition: int, prefix: bytes = b"") -> list[bytes]:
        """The keys of a partition that start with ``prefix``."""
        return [key for key in self._known.get(partition, ()) if key.startswith(prefix)]

    def count(self, partition: int) -> int:
        """Return the number of such entries of a partition."""
        return len(self._known.get(partition, ()))

    def written(self, partition: int, keys: Iterable[bytes]) -> None:
        """Forget entries that were written anew, or deleted."""
        known = self._known.get(partition)
        if known:
            known.difference_update(keys)
            UNDECODABLE.labels(partition).set(len(known))

    def begin(self, partition: int) -> None:
        """Forget a partition, whose entries are met anew."""
        self._known.pop(partition, None)
