"""Facts of a partition's table that are noted beside its progress."""

from everwatch.kafka.progress import EntryCounts
from everwatch.rules.changelog_marks import Mark
from streams.state.entry_store import EntryStore
from streams.state.owned_partitions import OwnedPartitions


class TableNotes:
    """Notes about the tables of this worker's partitions. ``member``: the worker's name in its group."""

    def __init__(self, store: EntryStore, partitions: OwnedPartitions, member: str) -> None:
        self._store = store
        self._partitions = partitions
        self._member = member

    def store_progress(self, number: int, emitted_to: int) -> Mark | None:
        """Store ``emitted_to`` beside the table, and return the mark of the table for it; None: it has no id yet."""
        store = self._store
        store.note_emitted(number, emitted_to)
        mark = store.mark_of(number) or Mark(store.changelog_id, -1)
        return mark._replace(member=self._member) if mark.topic_id else None

    def count_undecodable(self, number: int) -> int:
        """Return the number of entries that are passed over because they cannot be decoded."""
        return self._store.undecodable.count(number)

    def count_entries(self, number: int) -> EntryCounts | None:
        """Return the number of entries; None if they are not counted."""
        partition = self._partitions.get(number)
        return partition.entries if partition is not None else None
