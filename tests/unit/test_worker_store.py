"""The worker's local store: what it gives back, and what it does with a database from long ago."""

from pathlib import Path

from faust.types import TP
from support.calls import calls_of
from support.worker import START, TOPICS, Broker, signup, until, worker

from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.kafka.topics import DELETIONS_KEPT_MS
from everwatch.rules.changelog_marks import Mark, digest_of
from streams.app import create_app
from streams.state.entry_store import EntryStore

DAY_MS = 24 * 3_600_000


def _store(folder: Path, now_ms: int) -> EntryStore:
    app, engine = create_app(load_settings(), "127.0.0.1:9", SettableClock(now_ms), folder)
    app.finalize()
    store = engine.table.store
    store.clock = SettableClock(now_ms)
    return store


async def test_a_scan_gives_the_entries_of_one_user_in_order_and_nothing_of_the_bookkeeping(tmp_path: Path) -> None:
    store = _store(tmp_path, DAY_MS)
    store.write(0, {b"u\x00b": b"2", b"u\x00a": b"1", b"u\x00": b"user", b"v\x00a": b"3", b"t\x00a": b"0"}, 7)
    assert list(store.scan(0, b"u\x00")) == [(b"u\x00", b"user"), (b"u\x00a", b"1"), (b"u\x00b", b"2")]
    assert len(list(store.scan(0))) == 5
    store.write(0, {b"u\x00a": None}, 8)
    assert store.read(0, b"u\x00a") is None
    assert list(store.scan(1)) == []


async def test_what_a_walk_through_a_users_monitors_has_read_is_not_read_again(
    tmp_path: Path,
) -> None:
    broker = Broker()
    async with worker(broker, tmp_path, SettableClock(START)) as life:
        broker.take(TOPICS.signups, signup("ann", "a", "b", "c"))
        await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
        async with life.engine.units.begin() as work:
            work.delete(0, "ann", "b", at=START)
            with calls_of(EntryStore.read) as reads:
                assert [monitor.monitor_id for _, monitor in work.monitors_of(0, "ann")] == ["a", "c"]
                assert work.monitor(0, "ann", "c") is not None
                assert reads == []
                life.store.read(0, b"ann\0c")
                assert len(reads) == 1


async def test_a_table_from_last_week_is_read_anew_so_that_what_was_deleted_since_does_not_live_on(
    tmp_path: Path,
) -> None:
    store = _store(tmp_path, DAY_MS)
    store.write(0, {b"u\x00a": b"1"}, 7)
    await store.stop()
    fresh = _store(tmp_path, DAY_MS + DELETIONS_KEPT_MS // 4)
    assert fresh.read(0, b"u\x00a") == b"1"
    await fresh.stop()
    stale = _store(tmp_path, DAY_MS + DELETIONS_KEPT_MS)
    assert stale.read(0, b"u\x00a") is None
    assert stale.read(0, stale.offset_key) is None  # so recovery begins at the beginning


async def test_a_table_says_how_far_it_has_come_with_which_changelog(tmp_path: Path) -> None:
    store = _store(tmp_path, DAY_MS)
    assert store.mark_of(0) is None
    store.write(0, {b"u\x00a": b"1"}, 6)
    assert store.mark_of(0) == Mark("", 6, digest_of(b"u\x00a", b"1"))
    store.changelog_id = "id"
    store.write(0, {b"u\x00b": b"2", b"u\x00a": None}, 8)
    assert store.mark_of(0) == Mark("id", 8, digest_of(b"u\x00a", None))
    await store.stop()
    assert _store(tmp_path, DAY_MS).mark_of(0) == Mark("id", 8, digest_of(b"u\x00a", None))


async def test_an_offset_that_moved_by_itself_has_no_digest(tmp_path: Path) -> None:
    store = _store(tmp_path, DAY_MS)
    store.changelog_id = "id"
    store.write(0, {b"u\x00a": b"1"}, 6)
    store.set_persisted_offset(TP(TOPICS.monitors_changelog, 0), 9)
    assert store.mark_of(0) == Mark("id", 9)


async def test_a_table_of_a_version_that_kept_no_mark_has_an_offset_and_no_topic(tmp_path: Path) -> None:
    store = _store(tmp_path, DAY_MS)
    store.database(0).put(store.offset_key, b"41")
    assert store.mark_of(0) == Mark("", 41)


async def test_a_table_that_is_dropped_holds_nothing(tmp_path: Path) -> None:
    store = _store(tmp_path, DAY_MS)
    store.write(0, {b"u\x00a": b"1"}, 6)
    store.note_emitted(0, 5_000)
    assert store.emitted_to(0) == 5_000
    store.drop(0)
    assert store.mark_of(0) is None
    assert store.emitted_to(0) == 0
    assert list(store.scan(0)) == []
