"""The sink carries out purges beside its batches, on a store in memory."""

import pytest
from msgspec.structs import replace
from support.worker import until

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.encoding.codec import table_key
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.memory.broker import SentRecord
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


def asked(user_id: str = "anna", *, partition: int = 3, deletion: int = 1, was_watched: bool = True) -> AskedPurge:
    return AskedPurge(key_of_purge(user_id, "p-1"), user_id, NOW, partition, deletion, was_watched)


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
    """A sink's purging, which looks whenever it is asked whether a purge is over.

    ``signed_up``: partition of the changelog with the user's signup, which is not stored yet. Partition 3 has an entry
    of the user and its deletion.
    """

    def __init__(self, store: MemoryStore, signed_up: int | None = None) -> None:
        self.clock = SettableClock(NOW)
        kafka = MemoryKafka(partitions=6, clock=self.clock)
        for number in (3, 3) if signed_up is None else (3, 3, signed_up):
            kafka.append(SentRecord(CHANGELOG.topic, number, table_key("anna"), None, NOW - 1, []))
        clients = MemoryClients(kafka)
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


class Large(Store):
    """A store that always has more of anna to delete, which takes long."""

    running: Running
    is_large = True

    def purge_some(self, purge: Purge, most: int) -> dict[str, int]:
        if purge.user_id != "anna" or not self.is_large:
            return super().purge_some(purge, most)
        self.running.clock.advance(10_000)
        return {"results": 1}


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


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (asked(partition=4, deletion=0, was_watched=False), "on partition 3, and the command came to the worker of 4"),
        (asked(was_watched=False), "the worker of partition 3 does not have the user"),
        (asked(deletion=50), "the changelog is another one since"),
        (asked(partition=9), "the changelog is another one since"),
    ],
    ids=["partitioner", "changelog lost", "changelog restored", "repartitioned"],
)
async def test_a_user_that_the_database_still_has_is_not_purged(wanted: AskedPurge, why: str) -> None:
    store = store_of(wanted)
    over = await Running(store).until_over()
    assert (over.deleted, why in over.outcome.refused) == ({}, True)
    assert store.user("anna") == USER


@pytest.mark.parametrize(("partition", "deletion"), [(3, 50), (9, 1)])
async def test_a_purge_of_an_earlier_changelog_does_not_wait_for_an_offset_that_never_comes(
    partition: int, deletion: int
) -> None:
    store = store_of(asked(partition=partition, deletion=deletion))
    read_on(store)
    over = await Running(store).until_over()
    assert (over.outcome.refused, store.purges_to_do()) == ("", [])


async def test_a_user_whose_signup_at_another_worker_is_not_stored_yet_is_not_purged() -> None:
    store = store_of(asked(deletion=0, was_watched=False), asked("bert", deletion=0, was_watched=False))
    read_on(store)
    running = Running(store, signed_up=5)
    await until("the other one is over", lambda: bool(running.found("bert").over_at))
    assert running.found().over_at == 0
    entry = Received(Partition(CHANGELOG.topic, 5), 0, NOW - 1, CatalogueEntry("anna", "", USER))
    store.apply(SinkBatch(NOW, {entry.source: 1}, entries=[entry]))
    over = await running.until_over()
    assert ("the user is on partition 5" in over.outcome.refused, store.user("anna")) == (True, USER)


async def test_purges_that_wait_keep_none_from_its_turn_and_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"user-{number}" for number in range(MOST_TO_DO)]
    store = store_of(*(asked(name, deletion=2) for name in names), replace(asked("bert"), ended_at=NOW + 1))
    running = Running(store)
    await until("the last one is over", lambda: bool(running.found("bert").over_at))
    await until("it is said", lambda: running.found(names[0]).over_at > 0 or "A purge has waited" in caplog.text)
    assert running.found(names[0]).over_at == 0
    await running.purging.close()


async def test_a_large_purge_keeps_no_small_one_from_being_over() -> None:
    store = Large([])
    reply = [Received(REPLIES, number, NOW, each) for number, each in enumerate((asked(deletion=0), asked("bert")))]
    store.apply(SinkBatch(NOW, {CHANGELOG: 2, REPLIES: 2}, purges=reply))
    running = store.running = Running(store)
    await until("the small one is over", lambda: bool(running.found("bert").over_at))
    assert running.found().over_at == 0
    store.is_large = False
    await running.until_over()


async def test_more_purges_than_are_looked_for_at_once_are_all_carried_out() -> None:
    names = [f"user-{number}" for number in range(MOST_TO_DO + 1)]
    store = store_of(*(asked(name) for name in names))
    running = Running(store)
    await until("all are over", lambda: all(running.found(name).over_at for name in names))
    await running.purging.close()
    assert store.purges_to_do() == []


async def test_what_goes_wrong_is_tried_again_and_keeps_no_other_purge_from_being_carried_out() -> None:
    failures: list[Exception] = [ValueError("a bug"), StoreError("its server is away")]
    store = store_of(asked(deletion=2), asked("bert"), failures=failures)
    read_on(store)
    running = Running(store)
    await until("both are over", lambda: all(running.found(each).over_at for each in ("anna", "bert")))
    await running.purging.close()
    assert (store.user("anna"), failures) == (None, [])
