"""PostgreSQL beyond the contract of every store: days, copies, locks, and its errors.

All in one file: one server, which all tests share.
"""

import signal
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from support.postgres import Databases, Missing, running
from support.waiting import wait_until

from everwatch.core.config import Settings
from everwatch.core.errors import StoreError, is_retryable
from everwatch.model import Every, MonitorSpec, Origin, Result, Status, User
from everwatch.rules import lifecycle
from everwatch.store import (
    CatalogueEntry,
    Partition,
    Purge,
    Received,
    SinkBatch,
    SqlStore,
    StoreBusy,
    open_reader,
    open_store,
)
from everwatch.store.database import is_locked, open_for_reading, open_for_writing, parse_url, shown_url
from everwatch.store.facts import TEXTS_FILLED, put_fact
from everwatch.store.interface import Unstorable
from everwatch.store.postgres import translate

DAY = 86_400_000
NOW = 20_000 * DAY  # 2024-10-04
ONE = Partition("results", 1)
TWO = Partition("results", 2)


def result(at: int = NOW, user_id: str = "anna", **fields: Any) -> Result:
    usual: dict[str, Any] = {
        "kind": "http",
        "version": 1,
        "status": Status.SUCCESS,
        "reason": "200 OK",
        "started_at": at,
        "duration_ms": 1.0,
    }
    return Result(user_id, "shop", at, **usual | fields)


def batch(*results: Result, source: Partition = ONE, first: int = 0, stored_at: int = NOW) -> SinkBatch:
    received = [Received(source, offset, 1, each) for offset, each in enumerate(results, first)]
    return SinkBatch(stored_at, {source: first + len(results)}, received)


@pytest.fixture
def settings(postgres_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, database=postgres_url, keep_hourly_rollups_days=0)


def days(postgres: Databases, settings: Settings) -> list[str]:
    found = postgres.ask(settings.database, "SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1")
    return [str(name) for (name,) in found if str(name).startswith("results_") and "_by_" not in str(name)]


def rows_of(postgres: Databases, settings: Settings, table: str) -> int:
    [(count,)] = postgres.ask(settings.database, f"SELECT count(*) FROM {table}")
    assert isinstance(count, int)
    return count


def test_each_day_is_a_partition_made_ahead_late_and_for_all_before(settings: Settings, postgres: Databases) -> None:
    store = open_store(settings)
    store.apply(batch(result(NOW), result(NOW + 40 * 60_000), result(NOW - 20 * DAY), result(0), result(5)))
    tables = [name for name in days(postgres, settings) if not name.endswith(("_pkey", "_idx"))]
    assert tables == [
        "results_20240914",
        "results_20241004",
        "results_20241005",
        "results_20241006",
        "results_before",
    ]
    assert [rows_of(postgres, settings, name) for name in tables] == [1, 2, 0, 0, 2]
    # a year later: still no row without its partition, and what lies in between is made on demand
    later = NOW + 365 * DAY
    store.apply(batch(result(later), result(NOW + 9 * DAY), first=5, stored_at=later))
    assert {"results_20241013", "results_20251004"} <= set(days(postgres, settings))
    store.close()


def test_a_day_dropped_by_another_process_is_made_again_by_the_retry(settings: Settings, postgres: Databases) -> None:
    store = open_store(settings)
    store.apply(batch(result(NOW)))
    postgres.ask(settings.database, "DROP TABLE results_20241004")
    late = batch(result(NOW + 1), first=1)
    with pytest.raises(StoreBusy, match="was dropped"):
        store.apply(late)
    store.apply(late)
    assert rows_of(postgres, settings, "results_20241004") == 1
    store.close()


def test_two_stores_make_the_same_days_at_once(settings: Settings, postgres: Databases) -> None:
    stores = [open_store(settings) for _ in range(4)]
    failed: list[Exception] = []
    ready = threading.Barrier(len(stores))

    def work(number: int) -> None:
        ready.wait()
        try:
            for day in range(5):
                at = NOW + day * DAY
                stores[number].apply(
                    batch(result(at, f"u{number}"), source=Partition("results", number), first=day, stored_at=at)
                )
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert failed == []
    assert rows_of(postgres, settings, "results") == 20


def test_a_replay_is_folded_into_what_is_stored_and_new_results_between_are_not_lost(settings: Settings) -> None:
    store = open_store(settings)
    users = [f"u{number:03}" for number in range(300)]
    store.apply(batch(*(result(user_id=user) for user in users[::2])))
    store.forget_offsets([ONE])
    store.apply(batch(*(result(user_id=user) for user in users), stored_at=NOW + 1))
    for first in range(300, 330, 10):
        store.apply(batch(*(result(NOW + first, user) for user in users[:10]), first=first))
    reader = open_reader(settings)
    found = {
        s.result.user_id: (s.deliveries, s.stored_at)
        for s in reader.results(limit=1_000)
        if s.stored_at != NOW or s.deliveries == 2
    }
    assert found == dict.fromkeys(users[::2], (2, NOW)) | dict.fromkeys(users[1::2], (1, NOW + 1))
    assert len(reader.results(limit=1_000)) == 330
    reader.close()
    store.close()


def test_a_text_with_nul_is_stored_with_a_mark_in_its_place(settings: Settings) -> None:
    store = open_store(settings)
    store.apply(batch(result(reason="a\0b", detail="\0")))
    reader = open_reader(settings)
    [stored] = reader.results()
    assert (stored.result.reason, stored.result.detail) == ("a\ufffdb", "\ufffd")
    reader.close()
    store.close()


@pytest.mark.parametrize("wrong", [{"skipped_count": 2**63}, {"kind": "a\0b"}])
def test_what_no_column_takes_is_refused_and_nothing_of_its_batch_is_stored(
    settings: Settings, postgres: Databases, wrong: dict[str, Any]
) -> None:
    store = open_store(settings)
    with pytest.raises(Exception) as raised:
        store.apply(batch(result(), result(user_id="bert", **wrong)))
    assert not is_retryable(raised.value)
    assert rows_of(postgres, settings, "results") == 0
    store.apply(batch(result()))
    assert rows_of(postgres, settings, "results") == 1
    store.close()


def test_stores_of_other_partitions_do_not_wait_and_one_of_the_same_does(
    settings: Settings, postgres: Databases
) -> None:
    store = open_store(settings)
    store.apply(batch(result()))
    with psycopg.connect(settings.database) as other:
        other.execute("SELECT * FROM sink_offsets WHERE partition = 1 FOR UPDATE")
        store.apply(batch(result(user_id="bert"), source=TWO))
        second = open_store(settings)
        done: list[int] = []

        def store_the_same() -> None:
            second.apply(batch(result(NOW + 1), first=1))
            done.append(1)

        thread = threading.Thread(target=store_the_same)
        thread.start()
        wait_until("the sink is seen to wait for a lock", lambda: is_locked(settings.database))
        assert not done
        # as if that sink had stored the same record meanwhile
        other.execute("UPDATE sink_offsets SET next_offset = 2 WHERE partition = 1")
        other.commit()
        thread.join()
        second.close()
    assert done == [1]
    assert rows_of(postgres, settings, "results") == 2, "what another sink stored is not stored again"
    assert store.offsets() == {ONE: 2, TWO: 1}
    store.close()


def test_what_a_sink_and_a_purge_delete_at_once_is_counted_out_once(settings: Settings, postgres: Databases) -> None:
    changelog = Partition("changelog", 0)
    spec = MonitorSpec("shop", "noop", "{}", Every(60_000))
    put = lifecycle.first_put("ann", spec, Origin.SIGNUP, NOW, NOW)
    entries = [
        CatalogueEntry("ann", "", User("ann", "free", {}, (), NOW, NOW)),
        CatalogueEntry("ann", "shop", put),
    ]
    store = open_store(settings)
    received = [Received(changelog, offset, NOW, entry) for offset, entry in enumerate(entries)]
    store.apply(SinkBatch(NOW, {changelog: 2}, entries=received))
    with psycopg.connect(settings.database) as sink:
        # what another sink does that stores the deletion of the user
        for statement in (
            "SELECT * FROM sink_offsets WHERE topic = 'changelog' FOR UPDATE",
            "DELETE FROM monitors",
            "DELETE FROM users",
            "UPDATE monitor_counts SET monitors = monitors - 1",
            "UPDATE user_counts SET users = users - 1",
            "UPDATE sink_offsets SET next_offset = 3",
        ):
            sink.execute(statement)
        purge = Purge("ann", NOW, NOW + DAY, {changelog: 3})
        thread = threading.Thread(target=store.purge_some, args=(purge, 10))
        thread.start()
        wait_until("the purge is seen to wait for the sink", lambda: is_locked(settings.database))
        sink.commit()
        thread.join()
    assert rows_of(postgres, settings, "monitors") == 0
    assert postgres.ask(settings.database, "SELECT sum(monitors) FROM monitor_counts") == [(0,)]
    assert postgres.ask(settings.database, "SELECT sum(users) FROM user_counts") == [(0,)]
    store.close()


def test_a_connection_that_was_cut_is_busy_and_the_retry_stores_the_batch_once(
    settings: Settings, postgres: Databases
) -> None:
    store = open_store(settings)
    store.apply(batch(result()))
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'everwatch-sink' AND datname = current_database()"
    )
    assert postgres.ask(settings.database, cut)
    again = batch(result(NOW + 1), first=1)
    with pytest.raises(StoreBusy, match="cannot be used now"):
        store.apply(again)
    store.apply(again)
    assert rows_of(postgres, settings, "results") == 2
    store.close()


def test_a_reader_of_an_empty_database_says_what_fills_it(empty_postgres_url: str) -> None:
    with pytest.raises(StoreError, match="has no tables yet: they are made when a sink starts"):
        open_reader(Settings(database=empty_postgres_url))


def test_two_sinks_that_start_at_once_note_the_same_fact(settings: Settings, postgres: Databases) -> None:
    engine = open_for_writing(settings.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM database_facts")
    noted: list[int] = []
    with engine.connect() as first:
        put_fact(first, TEXTS_FILLED, 1)
        # it goes through what a start does, as far as the fact that the first one has not committed
        second = threading.Thread(target=lambda: noted.append(open_store(settings).close() is None))
        second.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until("the second one waits", lambda: postgres.ask(settings.database, waiting) == [(1,)])
        first.commit()
    second.join(60)
    engine.dispose()
    assert noted == [True]


def test_no_page_waits_until_its_statement_is_compiled(settings: Settings) -> None:
    # a walk over all that ends after a page looks expensive to the planner
    for open_one in (open_for_reading, open_for_writing):
        engine = open_one(settings.database_url)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW jit").scalar_one() == "off"
        engine.dispose()


def test_a_reader_cannot_write(settings: Settings) -> None:
    reader = open_reader(settings)
    with reader.engine.connect() as connection, pytest.raises(Exception, match="read-only transaction"):
        connection.exec_driver_sql("DELETE FROM results")
    reader.close()


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        (("/test_", "/not_there_"), StoreError, r'not_there_\d+ on .* failed: database ".*" does not exist\.'),
        (("everwatch@", "stranger:secret@"), StoreError, 'failed: role "stranger" does not exist'),
        (("everwatch-pg-", "no-pg-"), StoreBusy, "cannot be used now: .*No such file or directory"),
    ],
)
def test_a_server_that_cannot_be_used_is_named_without_its_password(
    postgres_url: str, change: tuple[str, str], kind: type[StoreError], sentence: str
) -> None:
    for opening in (open_store, open_reader):
        with pytest.raises(StoreError, match=sentence) as raised:
            opening(Settings(database=postgres_url.replace(*change)))
        assert type(raised.value) is kind
        assert "secret" not in str(raised.value)


def test_a_url_is_shown_without_its_password() -> None:
    assert shown_url("postgresql://me:secret@db/ew") == "postgresql+psycopg://me:***@db/ew"
    assert "secret" not in shown_url("postgres://db/ew?user=me&password=secret")


def test_an_unstorable_record_is_not_taken_for_a_server_in_trouble(settings: Settings) -> None:
    store = open_store(settings)
    with pytest.raises(Unstorable, match="the database refuses it"):
        store.apply(batch(result(kind="\0")))
    assert isinstance(store, SqlStore)
    store.close()


def test_days_that_are_too_old_are_dropped_whole_and_late_results_make_them_anew(
    settings: Settings, postgres: Databases
) -> None:
    store = open_store(settings)
    assert store.trim(NOW, 10) == 0, "nothing was ever stored"
    store.apply(batch(*(result(NOW - day * DAY) for day in range(5)), result(NOW - 100 * DAY)))
    now = NOW + 29 * DAY
    assert [store.trim(now, 10) for _ in range(5)] == [1, 1, 1, 1, 0]
    tables = [name for name in days(postgres, settings) if not name.endswith(("_pkey", "_idx"))]
    assert tables[0] == "results_20241003"
    assert [rows_of(postgres, settings, name) for name in ("results", "results_before")] == [2, 0]
    late = batch(result(NOW - 3 * DAY), first=6, stored_at=now)
    with pytest.raises(StoreBusy):
        store.apply(late)
    store.apply(late)
    assert rows_of(postgres, settings, "results") == 3
    assert store.trim(now, 10) == 1
    store.close()


def test_a_day_that_is_being_read_is_dropped_later_and_nobody_waits_for_that(
    settings: Settings, postgres: Databases
) -> None:
    store = open_store(settings)
    store.apply(batch(result(NOW - 3 * DAY), result(NOW)))
    now = NOW + 29 * DAY
    with psycopg.connect(settings.database) as other:
        other.execute("SELECT * FROM results LIMIT 1")
        with pytest.raises(StoreBusy, match="locked by another session"):
            store.trim(now, 10)
        store.apply(batch(result(NOW + 1), first=2))
    assert store.trim(now, 10) == 1
    assert rows_of(postgres, settings, "results") == 2
    store.close()


def test_a_day_that_somebody_reads_keeps_no_other_day_and_nothing_else_from_being_deleted(
    settings: Settings, postgres: Databases
) -> None:
    store = open_store(settings)
    store.apply(batch(*(result(NOW - day * DAY) for day in range(4)), result(NOW - 100 * DAY)))
    oldest = next(name for name in days(postgres, settings) if not name.endswith(("_pkey", "_idx")))
    now = NOW + 29 * DAY
    with psycopg.connect(settings.database) as other:
        other.execute(f"SELECT * FROM {oldest} LIMIT 1")  # type: ignore[arg-type]
        assert [store.trim(now, 10) for _ in range(2)] == [1, 1], "another day, and a result from before all days"
        with pytest.raises(StoreBusy, match="locked by another session"):
            store.trim(now, 10)
    assert store.trim(now, 10) == 1
    assert rows_of(postgres, settings, "results") == 2
    store.close()


def test_what_comes_and_what_is_purged_while_a_day_is_thinned_is_as_it_would_be_without(
    settings: Settings, postgres: Databases
) -> None:
    store = open_store(replace(settings, keep_every_result_days=1))
    users = [f"user-{i}" for i in range(5)]
    minutes = [NOW + minute * 60_000 for minute in range(10)]
    store.apply(batch(*(result(at, user) for user in users for at in minutes)))
    now = NOW + 3 * DAY
    # some users have been copied
    assert [store.trim(now, 15) for _ in range(2)] == [15, 15]
    late = result(NOW + 30_000, "user-0", status=Status.FAILURE)
    store.apply(batch(late, result(NOW + 90_000, "user-00"), first=50, stored_at=now))
    # the first and the last of a user that was copied come once more
    again = [result(at, "user-0") for at in (minutes[0], minutes[-1])]
    store.apply(batch(*again, first=52, stored_at=now))
    purge = Purge("user-1", now, now + DAY, {})
    while store.purge_some(purge, 100):
        pass
    while store.trim(now, 15):
        pass
    store.close()
    assert len(days(postgres, settings)) == len(set(days(postgres, settings)))
    found = postgres.ask(settings.database, "SELECT user_id, count(*) FROM results GROUP BY 1 ORDER BY 1")
    assert found == [("user-0", 3), ("user-00", 1), ("user-2", 2), ("user-3", 2), ("user-4", 2)]
    delivered = "SELECT deliveries FROM results WHERE user_id = 'user-0' ORDER BY scheduled_at"
    assert postgres.ask(settings.database, delivered) == [(2,), (1,), (2,)]


def test_of_several_hosts_the_one_that_takes_writes_is_used_by_sink_and_readers(
    postgres_url: str, postgres: Databases
) -> None:
    url = f"{postgres_url.replace('?host=', '?host=/tmp/no-server-here&host=')}&target_session_attrs=read-write"
    settings = Settings(database=url)
    store = open_store(settings)
    store.apply(batch(result()))
    reader = open_reader(settings)
    assert len(reader.results()) == 1
    reader.close()
    name = postgres_url.split("/")[3].partition("?")[0]
    # as a standby is, until it is promoted
    postgres.ask(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(StoreBusy, match=r"cannot be used now: .*read-only"):
        open_store(settings)
    store.close()
    store = open_store(Settings(database=postgres_url))
    with pytest.raises(StoreBusy, match=r"cannot be used now: .*read-only"):
        store.apply(batch(result(NOW + 1), first=1))
    store.close()


def test_a_standby_that_is_promoted_has_all_that_was_stored_and_the_store_goes_on_there_once() -> None:
    try:
        with running("shared_buffers=32MB") as primary, running("shared_buffers=32MB", primary=primary) as standby:
            # a commit waits for the standby from here on
            primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.run("SELECT pg_reload_conf()")
            url = primary.new_database().replace("?host=", f"?host={standby.folder}&host=")
            settings = Settings(database=f"{url}&target_session_attrs=read-write")
            store = open_store(settings)
            for turn in range(5):
                store.apply(batch(result(NOW + turn), first=turn))
            primary.stop(signal.SIGQUIT)
            last = batch(result(NOW + 5), first=5)
            with pytest.raises(StoreBusy):
                store.apply(last)
            standby.run("SELECT pg_promote()")

            def stored() -> bool:
                try:
                    store.apply(last)
                except StoreBusy:
                    return False
                return True

            wait_until("the promoted standby takes the batch", stored)
            # what the sink would do after a restart
            store.apply(last)
            assert store.offsets() == {ONE: 6}
            store.close()
            reader = open_reader(settings)
            assert [(each.result.scheduled_at, each.deliveries) for each in reader.results()] == [
                (NOW + turn, 1) for turn in reversed(range(6))
            ]
            reader.close()
    except Missing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.errors.DiskFull("could not extend file: No space left on device"), StoreBusy),
        (psycopg.errors.TooManyConnections("sorry, too many clients already"), StoreBusy),
        (psycopg.errors.DeadlockDetected("deadlock detected"), StoreBusy),
        (psycopg.errors.CrashShutdown("terminating connection"), StoreBusy),
        (psycopg.errors.IdleInTransactionSessionTimeout("terminating connection"), StoreBusy),
        (psycopg.OperationalError("server closed the connection unexpectedly"), StoreBusy),
        (psycopg.OperationalError("connection failed: FATAL:  the database system is starting up"), StoreBusy),
        (
            psycopg.OperationalError('connection failed: FATAL:  password authentication failed for user "x"'),
            StoreError,
        ),
        (psycopg.errors.InsufficientPrivilege("permission denied for table results"), StoreError),
        (psycopg.errors.NumericValueOutOfRange("integer out of range"), Unstorable),
    ],
)
def test_what_passes_is_waited_for_what_does_not_is_told_and_what_is_a_record_s_fault_is_refused(
    error: psycopg.Error, kind: type[Exception]
) -> None:
    clear = translate(error, parse_url("postgresql://me:secret@db/everwatch"))
    assert type(clear) is kind
    assert "secret" not in str(clear)
    assert "FATAL" not in str(clear)
