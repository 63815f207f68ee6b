"""Roll-ups that go by the journal: always what is stored says, whoever writes, folds, reads or is killed when."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import event
from support.new_databases import open_new_store
from support.waiting import wait_until

from everwatch.core.config import Settings
from everwatch.model import Result, Status
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS
from everwatch.store import MemoryStore, Partition, Purge, Received, SinkBatch, SqlReader, SqlStore, open_reader
from everwatch.store.database import open_for_writing
from everwatch.store.plan_keeping import Keep
from everwatch.store.rollup_counts import Rollup, RollupStep
from everwatch.store.rollup_journal import BUCKETS, FOLD_EVERY_MS, MOST_IN_BUCKET, FoldingTurns, bucket_of, folded
from everwatch.store.sketch import counts_of

NOW = 20_000 * DAY_MS
USERS = ["anna", "bert", "cleo", "dora"]
MONITORS = ["shop", "blog"]


class Killed(Exception):
    """The process ended before its commit."""


class Sinks:
    """Sinks of one database that write every batch of ``fewest`` results into the journal, and a model of it."""

    def __init__(self, settings: Settings, stores: int, fewest: int) -> None:
        open_new_store(settings).close()
        self.settings = settings
        self.engines = [open_for_writing(settings.database_url) for _ in range(stores)]
        keep = Keep(hourly_rollups=DAY_MS)
        self.stores = [SqlStore(engine, keep, fewest_journaled=fewest) for engine in self.engines]
        self.reader: SqlReader = open_reader(settings)
        self.model = MemoryStore(keep)
        self.now = NOW
        self.batches: list[SinkBatch] = []

    def store(self, number: int, *results: Result) -> None:
        """Store results that come next on the topic of a sink."""
        source = Partition("results", number)
        first = max((batch.offsets[source] for batch in self.batches if source in batch.offsets), default=0)
        received = [Received(source, offset, 1, each) for offset, each in enumerate(results, first)]
        self.batches.append(SinkBatch(self.now, {source: first + len(results)}, received))
        self.apply(number, self.batches[-1])

    def apply(self, number: int, batch: SinkBatch) -> None:
        self.stores[number].apply(batch)
        self.model.apply(batch)

    def is_killed_storing(self, number: int, *results: Result) -> None:
        """Store results, but do not come to the commit."""
        source = Partition("results", number)
        received = [Received(source, 2**40 + offset, 1, each) for offset, each in enumerate(results)]
        batch = SinkBatch(self.now, {source: 2**40 + len(results)}, received)
        with ExitStack() as stack:
            self._kill(self.engines[number], stack)
            with pytest.raises(Killed):
                self.stores[number].apply(batch)

    def is_killed_folding(self, number: int) -> None:
        """Come to the commit of no fold."""
        with suppress(Killed), ExitStack() as stack:
            self._kill(self.engines[number], stack)
            self.stores[number].trim(self.now, 1)

    @staticmethod
    def _kill(engine: Any, stack: ExitStack) -> None:
        def kill(_: object) -> None:
            raise Killed

        event.listen(engine, "commit", kill)
        stack.callback(event.remove, engine, "commit", kill)

    def journaled(self) -> int:
        """Return how many rows the journal has."""
        with self.reader.engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM rollup_journal").scalar_one())

    def says(self, step: RollupStep = RollupStep.HOUR) -> dict[Any, Any]:
        return self._all(self.reader, step)

    def should_say(self, step: RollupStep = RollupStep.HOUR) -> dict[Any, Any]:
        return self._all(self.model, step)

    @staticmethod
    def _all(reader: Any, step: RollupStep) -> dict[Any, Any]:
        found: list[Rollup] = [
            each for user in USERS for monitor in MONITORS for each in reader.rollups(user, monitor, step)
        ]
        return {
            (each.user_id, each.monitor_id, each.at): (
                each.successes, each.failures, each.lates, each.skips, each.duration_us, counts_of(each.durations)
            )
            for each in found
        }  # fmt: skip

    def fold_all(self) -> None:
        """Let the time of all buckets come."""
        self.now += 2 * FOLD_EVERY_MS
        for store in self.stores:
            store.trim(self.now, 1)

    def close(self) -> None:
        self.reader.close()
        for store in self.stores:
            store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def sinks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sinks]:
    """One sink of SQLite, two of PostgreSQL."""
    on_postgresql = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if on_postgresql else ""
    made = Sinks(Settings(data_dir=tmp_path, database=url), 2 if on_postgresql else 1, 3)
    yield made
    made.close()


def result(user_id: str = "anna", at: int = NOW, **fields: Any) -> Result:
    usual: dict[str, Any] = {
        "monitor_id": "shop",
        "kind": "http",
        "version": 1,
        "status": Status.SUCCESS,
        "reason": "",
        "started_at": at,
        "duration_ms": 12.5,
    }
    return Result(user_id=user_id, scheduled_at=at, **usual | fields)


def some_result(chance: Random) -> Result:
    at = NOW - chance.randrange(0, 9) * 20 * MINUTE_MS
    fields: dict[str, Any] = {
        "monitor_id": chance.choice(MONITORS),
        "attempt": chance.choice([1, 1, 1, 2]),
        "status": chance.choice([Status.SUCCESS, Status.SUCCESS, *Status]),
        "duration_ms": chance.choice([0.0, 0.4, 12.345, 3_000.0]),
    }
    if chance.random() < 0.2:
        fields |= {"skipped_until": at + MINUTE_MS, "skipped_count": chance.randrange(0, 4)}
    return result(chance.choice(USERS), at, **fields)


@pytest.mark.parametrize("seed", range(3))
def test_roll_ups_say_what_is_stored_whatever_is_repeated_folded_rebuilt_or_killed(sinks: Sinks, seed: int) -> None:
    chance = Random(seed)
    for _ in range(40):
        number = chance.randrange(len(sinks.stores))
        # users of one partition are those of one sink; after a rebalance another one has them
        match chance.choice(["store", "store", "store", "again", "replay", "kill", "kill fold", "time", "rebuild"]):
            case "store":
                sinks.store(number, *(some_result(chance) for _ in range(chance.randrange(1, 12))))
            case "again" if sinks.batches:
                sinks.apply(number, chance.choice(sinks.batches))
            case "replay" if sinks.batches:
                batch = chance.choice(sinks.batches)
                for store in (sinks.stores[number], sinks.model):
                    store.forget_offsets(batch.offsets)
                sinks.apply(number, batch)
            case "kill":
                sinks.is_killed_storing(number, *(some_result(chance) for _ in range(5)))
            case "kill fold":
                sinks.now += FOLD_EVERY_MS
                sinks.is_killed_folding(number)
            case "time":
                sinks.now += chance.randrange(0, FOLD_EVERY_MS)
                sinks.stores[number].trim(NOW, 1)
            case "rebuild":
                last: str | None = ""
                while last is not None:
                    last = sinks.stores[number].rebuild_rollups(0, last, 5)
        assert sinks.says() == sinks.should_say()
        assert sinks.says(RollupStep.DAY) == sinks.should_say(RollupStep.DAY)
    sinks.fold_all()
    assert sinks.journaled() == 0
    assert sinks.says() == sinks.should_say()


def test_a_large_batch_is_in_the_journal_until_its_time_and_a_small_one_never(sinks: Sinks) -> None:
    sinks.store(0, result(), result("bert"))
    assert sinks.journaled() == 0
    sinks.store(0, *(result(user, NOW + MINUTE_MS) for user in USERS))
    assert sinks.journaled() == len({bucket_of(user) for user in USERS})
    assert sinks.says()["anna", "shop", NOW][0] == 2
    sinks.now += FOLD_EVERY_MS + MINUTE_MS
    sinks.store(0, result("bert", NOW + 2 * MINUTE_MS))
    # PostgreSQL: beside the next batches
    wait_until("it is folded", lambda: sinks.journaled() == 0)
    assert sinks.says() == sinks.should_say()


def test_what_another_sink_left_in_the_journal_is_folded(sinks: Sinks) -> None:
    sinks.store(0, *map(result, USERS))
    other = SqlStore(open_for_writing(sinks.settings.database_url))
    other.trim(NOW, 1)
    other.trim(NOW + FOLD_EVERY_MS, 1)
    other.close()
    assert sinks.journaled() == 0
    assert sinks.says() == sinks.should_say()


def test_hours_that_are_late_in_the_journal_join_their_day(sinks: Sinks) -> None:
    sinks.store(0, *(result(user, NOW + hour * HOUR_MS) for user in USERS for hour in range(24)))
    day = sinks.should_say(RollupStep.DAY)
    sinks.fold_all()
    sinks.now = NOW + 3 * DAY_MS
    while sinks.stores[0].trim(sinks.now, 50):
        pass
    assert not sinks.says()
    sinks.store(0, *(result(user, NOW + HOUR_MS, attempt=2) for user in USERS))
    for _ in range(2):
        assert {key: counts[0] for key, counts in sinks.says(RollupStep.DAY).items()} == {
            key: counts[0] + 1 for key, counts in day.items()
        }
        sinks.fold_all()
        sinks.stores[0].trim(sinks.now, 50)
    assert not sinks.says()


def test_of_a_purged_user_nothing_is_left_in_the_journal(sinks: Sinks) -> None:
    sinks.store(0, *map(result, USERS))
    purge = Purge("anna", NOW + HOUR_MS, NOW + DAY_MS, {})
    sinks.stores[0].begin_purge(purge)
    while sinks.stores[0].purge_some(purge, 100):
        pass
    with sinks.reader.engine.connect() as connection:
        left = connection.exec_driver_sql("SELECT additions FROM rollup_journal").scalars().all()
    assert {row[0] for row in folded(left)} == set(USERS) - {"anna"}
    assert not sinks.reader.rollups("anna", "shop", RollupStep.HOUR)
    assert len(sinks.reader.rollups("bert", "shop", RollupStep.HOUR)) == 1


def test_each_bucket_has_its_turn_once_in_ten_minutes_or_after_so_many_results() -> None:
    turns = FoldingTurns()
    assert turns.due(NOW) == []
    seen = [bucket for second in range(1, 601) for bucket in turns.due(NOW + second * 1_000)]
    assert sorted(seen) == list(range(BUCKETS))
    assert turns.due(NOW + 600_000) == []
    assert len(turns.due(NOW + DAY_MS)) == BUCKETS
    assert turns.due(NOW - DAY_MS) == [], "a clock that was put back"
    turns.note(3 * MOST_IN_BUCKET + 1)
    assert len(turns.due(NOW - DAY_MS)) == 3
    assert turns.due(NOW - DAY_MS) == []


WRITTEN_BY_1 = (
    "960192a4616e6e61a4616e6e6192a473686f70a473686f7092ce00075300ce0007530092cb4029000000000000cb40a7700000000000"
    "9199a462657274a4626c6f67cf0000019254d3800000010002cd30d4a26142"
)


def test_what_the_first_version_wrote_is_read() -> None:
    at = 480_000 * HOUR_MS
    first, second = folded([bytes.fromhex(WRITTEN_BY_1)])
    assert first[:8] == ("anna", "shop", at, 2, 0, 0, 0, 3_012_500)
    assert sum(counts_of(first[8]).values()) == 2
    assert second == ("bert", "blog", at, 0, 1, 0, 2, 12_500, "aB")
