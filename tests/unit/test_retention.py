"""Retention: expired rows take no more room, and their deletion stops nothing."""

import asyncio
import sqlite3
from pathlib import Path

import psycopg
import pytest
from support.new_databases import open_new_store
from test_sink_poison import NOW, RESULTS, SETTINGS, Source, result

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError, StoreError
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.model import Result, State, Status, Transition
from everwatch.plans.plans_file import PlansFile
from everwatch.sink.sink_process import Storing, StoringParts
from everwatch.store import MemoryStore, Partition, Received, SinkBatch, open_reader
from everwatch.store.database_status import contents_of, status_of
from everwatch.store.interface import Unstorable
from everwatch.store.plan_keeping import NO_PLANS, Keep, PlanKeeping
from everwatch.store.stored_values import DatabaseVolume

HOUR = 3_600_000
DAY = 24 * HOUR
SOURCE = Partition("results", 0)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    kept = {"keep_results_days": 1, "keep_hourly_rollups_days": 1, "keep_daily_rollups_days": 1}
    return Settings(data_dir=tmp_path, database=url, **kept)


def test_72_hours_of_results_with_a_day_kept_take_no_more_room_than_48(settings: Settings) -> None:
    store = open_new_store(settings)
    offset = 0
    sizes: dict[int, int] = {}
    for hour in range(1, 73):
        now = 20_000 * DAY + hour * HOUR
        results = [
            Received(
                SOURCE,
                offset + i,
                now,
                Result(f"user-{i:04}", "shop", now, "http", 1, Status.SUCCESS, "x" * 100, now, 1.0),
            )
            for i in range(400)
        ]
        offset += len(results)
        store.apply(SinkBatch(now, {SOURCE: offset}, results))
        while store.trim(now, 1_000):
            pass
        if settings.database:
            # as autovacuum does each minute
            with psycopg.connect(settings.database, autocommit=True) as connection:
                connection.execute("VACUUM hourly_rollups, daily_rollups")
        if hour % 24 == 0:
            # what is not moved into the file yet is no size that stays
            if not settings.database:
                sqlite3.connect(settings.data_dir / "everwatch.db").execute("PRAGMA wal_checkpoint(TRUNCATE)")
            sizes[hour] = status_of(settings).size
    store.close()
    assert sizes[72] <= sizes[48] * 1.05, sizes
    reader = open_reader(settings)
    # PostgreSQL keeps the rest of the oldest day
    assert 24 * 400 <= reader.counts().results <= 48 * 400 + 400
    reader.close()


def test_results_that_cannot_be_deleted_keep_nothing_else_from_being_deleted(tmp_path: Path) -> None:
    store = open_new_store(Settings(data_dir=tmp_path, keep_results_days=1, keep_transitions_days=1))
    transition = Transition("ann", "shop", DAY, State.NEW, State.UP, "", 1)
    old = Result("ann", "shop", DAY, "http", 1, Status.SUCCESS, "", DAY, 1.0)
    source = Partition("transitions", 0)
    store.apply(
        SinkBatch(DAY, {SOURCE: 1, source: 1}, [Received(SOURCE, 0, DAY, old)], [Received(source, 0, DAY, transition)])
    )
    sabotage = "CREATE TRIGGER no BEFORE DELETE ON results BEGIN SELECT RAISE(ABORT, 'no'); END"
    with sqlite3.connect(tmp_path / "everwatch.db") as connection:
        connection.execute(sabotage)
    assert store.trim(9 * DAY, 10) == 1
    reader = open_reader(Settings(data_dir=tmp_path))
    assert reader.transitions() == []
    assert len(reader.results()) == 1
    with pytest.raises(Unstorable):
        store.trim(9 * DAY, 10)
    reader.close()
    store.close()


def test_what_a_large_database_holds_is_told_without_counting_it(settings: Settings) -> None:
    store = open_new_store(settings)
    results = [
        Received(SOURCE, n, DAY, Result("ann", "shop", DAY + n, "http", 1, Status.SUCCESS, "", DAY, 1.0))
        for n in range(5)
    ]
    store.apply(SinkBatch(DAY, {SOURCE: 5}, results))
    assert contents_of(settings) == "0 users, 0 monitors, 5 results"
    assert contents_of(settings, most_counted=3) in (
        "0 users, 0 monitors, more than 3 results",
        "0 users, 0 monitors, about 5 results",
    )
    store.close()


class Untrimmable(MemoryStore):
    """Deletes nothing, and says why."""

    tried = 0

    def volume(self) -> DatabaseVolume:
        return DatabaseVolume(0, 0)

    def trim(self, now: int, most: int, plans: PlanKeeping = NO_PLANS) -> int:
        self.tried += 1
        raise StoreError("no")


async def run_sink(store: MemoryStore, records: int, plans: PlansFile | None = None) -> None:
    stop = asyncio.Event()
    source = Source([result(f"user-{offset}", offset) for offset in range(records)], [], stop)
    parts = StoringParts(plans, source=source)  # type: ignore[arg-type]
    await Storing(SETTINGS, MemoryClients(MemoryKafka()), SettableClock(NOW), stop, store, parts).run()


async def test_the_sink_deletes_what_is_too_old() -> None:
    store = MemoryStore(Keep(results=DAY))
    old = [Received(RESULTS, i, 1, Result(f"u{i}", "m", 1, "noop", 1, Status.SUCCESS, "", 1, 1.0)) for i in range(9)]
    store.apply(SinkBatch(1, {RESULTS: 9}, old))
    store.forget_offsets([RESULTS])
    await run_sink(store, 5)
    assert {stored.result.scheduled_at for stored in store.results()} == {NOW}


async def test_a_failure_to_delete_is_told_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Untrimmable()
    await run_sink(store, 50)
    assert store.tried == 1, "it is tried once a minute"
    assert len(store.results()) == 50
    assert "Expired rows were not deleted: no The sink goes on." in caplog.text


def test_history_that_is_kept_for_less_than_results_is_refused() -> None:
    from everwatch.core.config import load_settings

    for results, history in ((0, 400), (401, 400)):
        with pytest.raises(SettingsError, match="keep_history_days must not be less than keep_results_days"):
            load_settings(keep_results_days=results, keep_history_days=history)
    assert load_settings(keep_results_days=500, keep_history_days=0).keep_results_days == 500


def test_history_is_kept_for_as_long_as_results_whatever_a_plan_says_and_0_is_for_good() -> None:
    plans = PlanKeeping.of({"pro": {"results": 90, "history": 30}, "gold": {"results": 0}, "free": {"history": 10}})
    keep = Keep(results=5 * DAY, history=40 * DAY)
    assert plans.own("history", keep) == {"pro": 90 * DAY, "gold": 0, "free": 10 * DAY}
    assert plans.own("results", Keep(results=90 * DAY)) == {"gold": 0}
    assert [(look.age_ms, look.spared, look.meant) for look in plans.looks("history", keep)] == [
        (10 * DAY, (), ("free",)),
        (40 * DAY, ("gold", "pro"), ()),
        (90 * DAY, ("gold",), ()),
    ]
    assert [look.age_ms for look in plans.looks("results", Keep())] == [90 * DAY], "others keep them for good"
    assert list(NO_PLANS.looks("results", Keep())) == []


def test_a_plan_that_says_nothing_of_results_keeps_its_history_for_as_long_as_all_results_are_kept() -> None:
    plans = PlanKeeping.of({"free": {"history": 10}, "brief": {"history": 10, "results": 3}})
    assert plans.own("history", Keep(results=20 * DAY, history=40 * DAY)) == {"free": 20 * DAY, "brief": 10 * DAY}
    assert plans.own("history", Keep()) == {"brief": 10 * DAY}, "results are kept for good"


class Keeping(MemoryStore):
    """Notes by which plans it is trimmed."""

    def __init__(self) -> None:
        super().__init__()
        self.plans: list[PlanKeeping] = []

    def volume(self) -> DatabaseVolume:
        return DatabaseVolume(0, 0)

    def trim(self, now: int, most: int, plans: PlanKeeping = NO_PLANS) -> int:
        self.plans.append(plans)
        return super().trim(now, most, plans)


async def test_the_sink_keeps_by_the_file_of_plans_as_it_is_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "plans.toml"
    path.write_text("[plans.pro.keep]\nresults = 90\n")
    file = PlansFile(path)
    store = Keeping()
    await run_sink(store, 1, file)
    path.write_text("[plans.pro.keep]\nresults = 1\nevery_result = 0\n")
    await run_sink(store, 1, file)
    path.write_text("[plans.pro.keep]\nresult = 1\n")
    await run_sink(store, 1, file)
    newest = PlanKeeping.of({"pro": {"results": 1, "every_result": 0}})
    assert store.plans == [PlanKeeping.of({"pro": {"results": 90}}), newest, newest]
    assert "the plans stay as they were" in caplog.text
