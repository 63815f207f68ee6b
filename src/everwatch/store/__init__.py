"""The database: what the sink stores, and what people and audits read.

``open_store`` and ``open_reader`` give the two sides; ``MemoryStore`` is both without a database. Code that needs
SQLAlchemy is imported when it is used: most commands read no database.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from everwatch.store.interface import Reader, ResultStore, StoreBusy
from everwatch.store.partition import Partition
from everwatch.store.purged_users import Purge
from everwatch.store.selections import Selection, When
from everwatch.store.sink_batch import CatalogueEntry, Received, SinkBatch
from everwatch.store.stored_values import Counts, Identity, ListedUser, StoredResult, StoredTask, Stretch, TaskStatus

if TYPE_CHECKING:
    from everwatch.store.memory_store import MemoryStore
    from everwatch.store.sql_reader import SqlReader, open_reader
    from everwatch.store.sql_writer import SqlStore, open_store

__all__ = [
    "CatalogueEntry",
    "Counts",
    "Identity",
    "ListedUser",
    "MemoryStore",
    "Partition",
    "Purge",
    "Reader",
    "Received",
    "ResultStore",
    "Selection",
    "SinkBatch",
    "SqlReader",
    "SqlStore",
    "StoreBusy",
    "StoredResult",
    "StoredTask",
    "Stretch",
    "TaskStatus",
    "When",
    "open_reader",
    "open_store",
]
_MODULES = {
    "MemoryStore": "memory_store",
    "SqlReader": "sql_reader",
    "SqlStore": "sql_writer",
    "open_reader": "sql_reader",
    "open_store": "sql_writer",
}


def __getattr__(name: str) -> Any:
    """Import a name that needs SQLAlchemy."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
