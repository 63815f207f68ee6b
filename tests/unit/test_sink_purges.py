"""The sink carries out purges beside its batches, on a store in memory."""

from msgspec.structs import replace
from support.worker import until

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.topics import Topics
from everwatch.model import User
from everwatch.sink.purging import Purging
from everwatch.store import CatalogueEntry, MemoryStore, Partition, Purge, Received, SinkBatch
from everwatch.store.purged_users import MOST_TO_DO, AskedPurge, StoredPurge, key_of_purge

NOW = 1_800_000_000_000
SETTINGS = Settings()
CHANGELOG = Partition(Topics.of(SETTINGS).monitors_changelog, 3)
REPLIES = Partition(Topics.of(SETTINGS).replies, 3)
USER = User("anna", "pro", {}, (), NOW - 2, NOW - 1)


class Store(MemoryStore):
    """A store that fails some times before it deletes."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__()
        self._failures = failures

    def purge_some(self, purge: Purge, most: int) -> dict[str, int]:
        if self._failures:
            raise self._failures.pop()
        return super().purge_some(purge, most)


def asked(user_id: str = "anna", *, deletion: int = 1, was_watched: bool = True) -> AskedPurge:
    return AskedPurge(key_of_purge(user_id, "p-1"), user_id, NOW, 3, deletion, was_watched)


def store_of(*purges: AskedPurge, failures: list[Exception] | None = None) -> Store:
    """A store with a user whose deletion it has not read yet, and purges."""
    store = Store(failures or [])
    entry = Received(CHANGELOG, 0, NOW - 1, CatalogueEntry("anna", "", USER))
    replies = [Received(REPLIES, number, NOW, each) for number, each in enumerate(purges)]
    store.apply(SinkBatch(NOW, {CHANGELOG: 1, REPLIES: len(purges)}, entries=[entry], purges=replies))
    return store


def read_on(store: MemoryStore) -> None:
    """Read the deletion of the user."""
    entry = Received(CHANGELOG, 1, NOW, CatalogueEntry("anna", "", None))
    store.apply(SinkBatch(NOW, {CHANGELOG: 2}, entries=[entry]))


class Running:
    """A sink's purging, which looks whenever it is asked whether a purge is over."""

    def __init__(self, store: MemoryStore) -> None:
        self.clock = SettableClock(NOW)
        clients = MemoryClients(MemoryKafka(clock=self.clock))
        self.purging = Purging(SETTINGS, clients, self.clock, store, lambda: store)
        self._store = store

    def found(self, user_id: str = "anna") -> StoredPurge:
        self.purging.look()
        self.clock.advance(1_000)
        found = self._store.purge(user_id, "p-1")
        assert found is not None
        return found

    async def until_over(self, user_id: str = "anna") -> StoredPurge:
        await until("the purge is over", lambda: bool(self.found(user_id).over_at))
        await self.purging.close()
        return self.found(user_id)


async def test_a_purge_begins_when_the_end_of_its_user_is_stored() -> None:
    store = store_of(asked(deletion=2), asked("bert"))
    running = Running(store)
    await until("the other one is over", lambda: bool(running.found("bert").over_at))
    assert store.user("anna") == USER
    read_on(store)
    over = await running.until_over()
    assert (over.was_watched, over.outcome.refused) == (True, "")
    assert {each.topic for each in over.outcome.remains} >= {"results", "replies", "transitions"}
    # of what comes later nothing of before is stored
    store.apply(
        SinkBatch(NOW, {CHANGELOG: 3}, entries=[Received(CHANGELOG, 2, NOW - 1, CatalogueEntry("anna", "", USER))])
    )
    assert store.user("anna") is None


async def test_a_user_that_another_worker_watches_is_not_purged() -> None:
    store = store_of(asked(was_watched=False))
    over = await Running(store).until_over()
    assert (over.deleted, "the user is on partition 3" in over.outcome.refused) == ({}, True)
    assert store.user("anna") == USER


async def test_more_purges_than_are_looked_for_at_once_are_all_carried_out() -> None:
    names = [f"user-{number}" for number in range(MOST_TO_DO + 1)]
    store = store_of(*(asked(name) for name in names))
    running = Running(store)
    await until("all are over", lambda: all(running.found(name).over_at for name in names))
    await running.purging.close()
    assert store.purges_to_do() == []


async def test_what_goes_wrong_is_tried_again_and_keeps_no_other_purge_from_being_carried_out() -> None:
    failures: list[Exception] = [ValueError("a bug"), StoreError("its server is away")]
    store = store_of(replace(asked(), deletion=0), asked("bert"), failures=failures)
    running = Running(store)
    await until("both are over", lambda: all(running.found(each).over_at for each in ("anna", "bert")))
    await running.purging.close()
    assert (store.user("anna"), failures) == (None, [])
