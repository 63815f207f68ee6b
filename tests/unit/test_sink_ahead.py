"""The sink reads and decodes the next batch while one is stored, and stores them in their order."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from support.worker import Broker, BrokerClients
from test_sink_poison import NOW, RESULTS, SETTINGS, TOPICS, result

from everwatch.core.clock import SettableClock
from everwatch.core.errors import StoreError
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Unreadable
from everwatch.sink import batch_builder
from everwatch.sink.sink_process import Built, _Sink
from everwatch.store import MemoryStore, Partition, SinkBatch

PATIENCE_S = 60


class Source:
    """Gives what it has, a look at a time, and then ends the sink; notes what is asked of it."""

    def __init__(self, looks: Sequence[tuple[list[Record], list[Unreadable], list[Partition]]]) -> None:
        self.stop = asyncio.Event()
        self.asked: list[str] = []
        self.second_look = threading.Event()
        self._looks = list(looks)
        self._loop = asyncio.get_running_loop()
        self._left = 2

    def take(self, most: int, wait_s: float) -> tuple[list[Record], list[Unreadable], list[Partition]]:
        if "take" in self.asked:
            self.second_look.set()
        self.asked.append("take")
        if self._looks:
            return self._looks.pop(0)
        self._left -= 1
        if not self._left:
            self._loop.call_soon_threadsafe(self.stop.set)
        return [], [], []

    def commit(self, offsets: object) -> None:
        self.asked.append("commit")

    def restart(self, partitions: object) -> None:
        self.asked.append("restart")

    def close(self) -> None:
        self.asked.append("close")


async def run(monkeypatch: pytest.MonkeyPatch, source: Source, store: Any, broker: Broker | None = None) -> None:
    monkeypatch.setattr("everwatch.sink.sink_process.Source", lambda *_: source)
    await _Sink(SETTINGS, BrokerClients(broker or Broker()), SettableClock(NOW), source.stop, store).run()


class Waiting(MemoryStore):
    """Stores the first batch when the source was asked for the second one."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self.stored: list[int] = []

    def apply(self, batch: SinkBatch) -> None:
        assert self._source.second_look.wait(PATIENCE_S), "nothing was read meanwhile"
        self.stored.append(batch.offsets[RESULTS])
        super().apply(batch)


async def test_the_next_batch_is_read_while_one_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source([([result(f"user-{n}", n)], [], []) for n in range(4)])
    store = Waiting(source)
    await run(monkeypatch, source, store)
    assert store.stored == [1, 2, 3, 4]
    assert store.counts().results == 4


@pytest.mark.parametrize("unreadable", [True, False])
async def test_what_is_wrong_with_the_topics_is_put_right_before_more_is_read(
    monkeypatch: pytest.MonkeyPatch, unreadable: bool
) -> None:
    look: Any = ([result("ann", 0)], [], [RESULTS])
    if unreadable:
        look = ([result("ann", 0)], [Unreadable(TOPICS.results, 0, 1, 2, "too large")], [])
    source = Source([look])
    await run(monkeypatch, source, MemoryStore())
    until_next = source.asked[1 : source.asked.index("take", 1)]
    assert until_next == (["commit", "commit"] if unreadable else ["commit", "restart"])


class Broken(MemoryStore):
    """A database that fails for good."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def apply(self, batch: SinkBatch) -> None:
        self._source.second_look.wait(PATIENCE_S)
        raise StoreError("it is gone")


async def test_a_sink_whose_database_fails_ends_and_closes_its_source_when_nothing_is_read_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Source([([result("ann", 0)], [], []), ([result("bob", 1)], [], [])])
    with pytest.raises(StoreError, match="gone"):
        await run(monkeypatch, source, Broken(source))
    assert source.asked == ["take", "take", "close"]


async def test_a_record_that_cannot_be_built_is_put_aside_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(records: Sequence[Record], topics: Topics, stored_at: int) -> Built:
        assert not any(record.key == b"user-3" for record in records), "a fault of ours"
        return batch_builder.build_batch(records, topics, stored_at)

    monkeypatch.setattr("everwatch.sink.sink_process.build_batch", build)
    source, store, broker = Source([([result(f"user-{n}", n) for n in range(9)], [], [])]), MemoryStore(), Broker()
    await run(monkeypatch, source, store, broker)
    assert [key for key, _ in broker.pairs[TOPICS.dead_letters]] == [b"user-3"]
    assert store.counts().results == 8
    assert store.offsets() == {RESULTS: 9}
