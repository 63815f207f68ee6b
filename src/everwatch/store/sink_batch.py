"""Batch of records that the sink stores in one transaction."""

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from everwatch.model import AuditEntry, Monitor, Reply, Result, Transition, User
from everwatch.store.letters import Redrive, StoredLetter
from everwatch.store.partition import Partition
from everwatch.store.purged_users import AskedPurge

Value = TypeVar("Value")


class Received(msgspec.Struct, Generic[Value], frozen=True, gc=False):
    """A decoded record and where it stood: its partition, its offset, its timestamp (ms)."""

    source: Partition
    offset: int
    timestamp: int
    value: Value


class CatalogueEntry(msgspec.Struct, frozen=True, gc=False):
    """Record of the monitors changelog: the value of one key; ``value`` None means deleted.

    ``monitor_id`` "" is the user itself: its deletion deletes all of the user's monitors too.
    """

    user_id: str
    monitor_id: str
    value: User | Monitor | None


class SinkBatch(msgspec.Struct, frozen=True):
    """Records for one transaction, in the order of their topics, and the offsets at which reading goes on.

    ``offsets`` gives the next offset to read of every partition that the batch holds records of.
    ``stored_at`` is the instant that new results are stamped with.
    """

    stored_at: int
    offsets: Mapping[Partition, int]
    results: list[Received[Result]] = []
    transitions: list[Received[Transition]] = []
    entries: list[Received[CatalogueEntry]] = []
    letters: list[Received[StoredLetter | Redrive]] = []
    replies: list[Received[Reply]] = []
    audit: list[Received[AuditEntry]] = []
    purges: list[Received[AskedPurge]] = []
