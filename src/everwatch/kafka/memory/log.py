"""One partition's records, and the transactions that they belong to."""

from dataclasses import dataclass, field
from enum import Enum, auto

Headers = list[tuple[str, bytes]]


class TransactionState(Enum):
    """State of a transaction."""

    OPEN = auto()
    COMMITTED = auto()
    ABORTED = auto()


@dataclass(slots=True)
class LogTransaction:
    """A transaction of one producer."""

    state: TransactionState = TransactionState.OPEN


@dataclass(slots=True)
class LogEntry:
    """One offset's entry: a record, or (``is_marker``) the end of a transaction, which no consumer is given."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int = 0
    headers: Headers = field(default_factory=list)
    transaction: LogTransaction | None = None
    is_marker: bool = False

    def is_visible(self, *, committed_only: bool) -> bool:
        """Return whether a consumer of this isolation is given the record."""
        if self.is_marker:
            return False
        return self.transaction is None or not committed_only or self.transaction.state is TransactionState.COMMITTED


class Log:
    """The entries of a partition from the offset ``start`` on."""

    def __init__(self) -> None:
        self.start = 0
        self.entries: list[LogEntry] = []

    @property
    def end(self) -> int:
        """The offset of the next entry."""
        return self.start + len(self.entries)

    @property
    def stable_end(self) -> int:
        """The offset of the first entry of an open transaction, or the end: read_committed reads up to there."""
        for place, entry in enumerate(self.entries):
            if entry.transaction is not None and entry.transaction.state is TransactionState.OPEN:
                return self.start + place
        return self.end

    def append(self, entry: LogEntry) -> int:
        """Add an entry; gives its offset."""
        self.entries.append(entry)
        return self.end - 1

    def at(self, offset: int) -> LogEntry:
        """Return the entry at an offset that the log holds."""
        return self.entries[offset - self.start]

    def records(self) -> list[LogEntry]:
        """Return the records that a read_committed consumer is given."""
        return [entry for entry in self.entries if entry.is_visible(committed_only=True)]

    def cut(self, start: int) -> None:
        """Delete the entries before ``start``, as retention does."""
        del self.entries[: max(0, start - self.start)]
        self.start = max(self.start, start)
