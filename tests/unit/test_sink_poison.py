"""The sink and records that the database does not take: they harm nothing but themselves."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.output_format import OutputFormat
from everwatch.encoding.codec import encode_result
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Unreadable
from everwatch.model import Result, Status
from everwatch.sink.sink_process import Storing, StoringParts
from everwatch.store import MemoryStore, Partition, SinkBatch, StoreBusy
from everwatch.store.interface import Unstorable
from everwatch.store.letters import StoredLetter
from everwatch.store.plan_keeping import PlanKeeping
from everwatch.store.purged_users import AskedPurge
from everwatch.store.stored_values import DatabaseVolume

SETTINGS = Settings()
TOPICS = Topics.of(SETTINGS)
RESULTS = Partition(TOPICS.results, 0)
NOW = 1_800_000_000_000


class Source:
    """Gives a batch, and ends the sink when it is stored."""

    def __init__(self, records: list[Record], unreadable: list[Unreadable], stop: asyncio.Event) -> None:
        self._records = records
        self._unreadable = unreadable
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._looks_in_vain = 0
        self.committed: dict[Partition, int] = {}

    def take(self, most: int, wait_s: float) -> tuple[list[Record], list[Unreadable], list[Partition]]:
        records, self._records = self._records, []
        unreadable, self._unreadable = self._unreadable, []
        # the first look is made while the batch before is stored
        self._looks_in_vain += not records
        if self._looks_in_vain > 1:
            self._loop.call_soon_threadsafe(self._stop.set)
        return records, unreadable, []

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self.committed |= offsets

    def close(self) -> None:
        pass


class Store:
    """A store in memory that does not take some users' results."""

    def __init__(self, refuses: Iterable[str], busy: int = 0) -> None:
        self.inner = MemoryStore()
        self._refuses = set(refuses)
        self._busy = busy
        self.before: Callable[[SinkBatch], object] = lambda _: None

    def apply(self, batch: SinkBatch) -> None:
        self.before(batch)
        if self._busy:
            self._busy -= 1
            raise StoreBusy("it is locked")
        held = [*batch.results, *(each for each in batch.letters if isinstance(each.value, StoredLetter))]
        if self._refuses & {received.value.user_id for received in held}:
            raise Unstorable("it has a NUL")
        self.inner.apply(batch)

    def volume(self) -> DatabaseVolume:
        return DatabaseVolume(0, 0)

    def purges_to_do(self) -> list[AskedPurge]:
        return []

    def trim(self, now: int, most: int, plans: PlanKeeping) -> int:
        return 0


def result(user_id: str, offset: int) -> Record:
    value = encode_result(Result(user_id, "m", NOW, "noop", 1, Status.SUCCESS, "", NOW, 1.0), OutputFormat.AVRO)
    return Record(TOPICS.results, 0, offset, NOW, user_id.encode(), value)


async def stored(
    records: list[Record],
    store: Store,
    unreadable: Iterable[Unreadable] = (),
    kafka: MemoryKafka | None = None,
) -> tuple[Source, list[tuple[bytes, bytes | None]]]:
    """Let a sink store these records; gives its source and the dead letters."""
    kafka, stop = kafka or MemoryKafka(clock=SettableClock(NOW)), asyncio.Event()
    source = Source(records, list(unreadable), stop)
    given: Any = store
    parts: Any = StoringParts(source=source)  # type: ignore[arg-type]
    await Storing(SETTINGS, MemoryClients(kafka), SettableClock(NOW), stop, given, parts).run()
    return source, [(letter.key or b"", letter.value) for letter in kafka.records(TOPICS.dead_letters)]


async def test_what_the_database_refuses_is_put_aside_once_and_the_rest_is_stored_with_its_offset() -> None:
    records = [result(f"user-{offset}", offset) for offset in range(50)]
    records[7] = records[7]._replace(value=b"{}")
    store = Store({"user-3", "user-40", "user-49"}, busy=2)
    source, letters = await stored(records, store)
    assert sorted(key for key, _ in letters) == [b"user-3", b"user-40", b"user-49", b"user-7"]
    assert store.inner.counts().results == 46
    assert source.committed == store.inner.offsets() == {RESULTS: 50}


async def test_what_cannot_be_read_is_in_the_dead_letters_before_any_offset_behind_it_is_stored() -> None:
    """A record that is too large may stand between others; a batch that does not unpack stands behind them."""
    store, kafka = Store(()), MemoryKafka(clock=SettableClock(NOW))
    written: list[tuple[int, Mapping[Partition, int]]] = []
    store.before = lambda batch: written.append((len(kafka.records(TOPICS.dead_letters)), batch.offsets))
    unreadable = [
        Unreadable(TOPICS.results, 0, 1, 2, "too large"),
        Unreadable(TOPICS.results, 0, 4, 9, "Invalid compressed data"),
    ]
    source, letters = await stored([result("ann", 0), result("bob", 2)], store, unreadable, kafka)
    assert len(letters) == 2
    assert written == [(2, {RESULTS: 3}), (2, {RESULTS: 9})]
    assert source.committed == {RESULTS: 9}
    written.clear()
    await stored([result("ann", 0), result("bob", 2)], store, unreadable[:1])
    assert [offsets for _, offsets in written] == [{RESULTS: 3}]


async def test_a_dead_letter_that_the_database_refuses_or_that_cannot_be_read_gets_no_letter() -> None:
    """It would be refused like the one before, for ever."""
    store, letters_of = Store({"bob"}), Partition(TOPICS.dead_letters, 0)
    records = [Record(TOPICS.dead_letters, 0, n, NOW, key, b"{}") for n, key in enumerate([b"ann", b"bob", b"cleo"])]
    unreadable = [Unreadable(TOPICS.dead_letters, 0, 3, 9, "Invalid compressed data")]
    source, letters = await stored(records, store, unreadable)
    assert letters == []
    assert sorted(each.user_id for each in store.inner.dead_letters()) == ["ann", "cleo"]
    assert source.committed == store.inner.offsets() == {letters_of: 9}
