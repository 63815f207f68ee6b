"""The database: what the sink stores, and what people and audits read.

``open_store`` and ``open_reader`` give the two sides; ``MemoryStore`` is both without a database.
"""

from everwatch.store.interface import (
    Counts,
    Entry,
    Identity,
    ListedUser,
    Reader,
    Received,
    Selection,
    SinkBatch,
    Store,
    StoreBusy,
    StoredResult,
    StoredTask,
    Stretch,
    TaskStatus,
    When,
)
from everwatch.store.memory_store import MemoryStore
from everwatch.store.partition import Partition
from everwatch.store.purged_users import Purge
from everwatch.store.sql_reader import SqlReader, open_reader
from everwatch.store.sql_writer import SqlStore, open_store

__all__ = [
    "Counts",
    "Entry",
    "Identity",
    "ListedUser",
    "MemoryStore",
    "Partition",
    "Purge",
    "Reader",
    "Received",
    "Selection",
    "SinkBatch",
    "SqlReader",
    "SqlStore",
    "Store",
    "StoreBusy",
    "StoredResult",
    "StoredTask",
    "Stretch",
    "TaskStatus",
    "When",
    "open_reader",
    "open_store",
]
