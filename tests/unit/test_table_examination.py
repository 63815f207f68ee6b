"""A changelog that has lost records: what a worker does before it uses its table."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from support.waiting import PATIENCE
from support.worker import CHANGELOG, START, TOPICS, Broker, Life, known, signup, until, users, worker

from everwatch.core.clock import SettableClock
from everwatch.core.errors import ChangelogLost
from everwatch.encoding.codec import table_key
from everwatch.kafka.memory import SentRecord
from everwatch.rules.changelog_marks import Mark
from everwatch.timetable import LocalStateWrong


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(START)


async def watching(life: Life, *names: str) -> None:
    """These users are watched, and have been for a while."""
    await known(life, *names)
    assert users(await life.tick_to(life.clock.now_ms() + 2_000)) == set(names)


def keys_of(broker: Broker) -> set[bytes]:
    """Entries that the changelog has."""
    found: dict[bytes, bytes | None] = dict(broker.pairs[CHANGELOG])
    return {key for key, value in found.items() if value is not None}


def made_anew(broker: Broker) -> None:
    broker.make_changelog_anew()


def cut_off(broker: Broker) -> None:
    del broker.pairs[CHANGELOG][3:]


def cut_off_and_grown(broker: Broker) -> None:
    del broker.pairs[CHANGELOG][3:]
    broker.pairs[CHANGELOG] += [(table_key("stranger"), None)] * 20


LOSSES = pytest.mark.parametrize("lose", [made_anew, cut_off, cut_off_and_grown])


@LOSSES
async def test_the_last_owner_writes_its_table_back_and_nobody_is_missed(
    broker: Broker, clock: SettableClock, tmp_path: Path, lose: Callable[[Broker], None]
) -> None:
    async with worker(broker, tmp_path / "a", clock) as life:
        await watching(life, "ann", "bob")
        whole = keys_of(broker)
    lose(broker)
    async with worker(broker, tmp_path / "a", clock) as life:
        assert users(await life.tick_to(START + 4_000)) == {"ann", "bob"}
        assert keys_of(broker) == whole
    # and a worker without a table finds all of them
    async with worker(broker, tmp_path / "b", clock) as life:
        assert users(await life.tick_to(START + 6_000)) == {"ann", "bob"}


async def test_what_the_changelog_has_and_the_table_has_not_is_taken_back(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await watching(life, "ann")
        whole = keys_of(broker)
    broker.make_changelog_anew()
    # written before it was noticed; its input is not acknowledged
    broker.pairs[CHANGELOG].append((table_key("eve"), b"user"))
    async with worker(broker, tmp_path, clock) as life:
        await life.tick_to(START + 4_000)
        assert keys_of(broker) == whole


@LOSSES
async def test_a_worker_without_a_table_does_not_go_on_with_what_is_left(
    broker: Broker, clock: SettableClock, tmp_path: Path, lose: Callable[[Broker], None]
) -> None:
    async with worker(broker, tmp_path / "a", clock) as life:
        await watching(life, "ann", "bob")
    lose(broker)
    before = list(broker.pairs[CHANGELOG])
    if lose is cut_off_and_grown:
        return  # to tell this, one needs a table
    async with worker(broker, tmp_path / "b", clock, opened=False) as life:
        with pytest.raises(ChangelogLost, match="--rebuild-changelog"):
            await life.recovered()
        assert life.engine.partitions.owned == set()
    assert broker.pairs[CHANGELOG] == before


async def test_a_table_that_was_not_the_last_owners_is_not_taken_for_the_truth(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path / "a", clock) as life:
        await watching(life, "ann")
    async with worker(broker, tmp_path / "b", clock) as life:
        await life.tick_to(START + 4_000)
    broker.make_changelog_anew()
    async with worker(broker, tmp_path / "a", clock, opened=False) as life:
        with pytest.raises(ChangelogLost, match="owned it last"):
            await life.recovered()


async def test_a_person_may_say_that_the_table_is_the_truth(
    broker: Broker, clock: SettableClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with worker(broker, tmp_path / "a", clock) as life:
        await watching(life, "ann")
        whole = keys_of(broker)
    # all of Kafka is gone
    broker.make_changelog_anew()
    broker.lose_progress()
    async with worker(broker, tmp_path / "a", clock, opened=False) as life:
        with pytest.raises(ChangelogLost):
            await life.recovered()
    async with worker(broker, tmp_path / "a", clock, rebuild_changelog=True) as life:
        assert "it has 0 entries, the table of this worker has 2" in caplog.text
        assert keys_of(broker) == whole
        # what was emitted before is not emitted again
        ticks = await life.tick_to(START + 6_000)
        assert users(ticks) == {"ann"}
        assert min(instant for _, instant in ticks) >= START + 1_000
    async with worker(broker, tmp_path / "b", clock) as life:
        assert users(await life.tick_to(START + 8_000)) == {"ann"}


async def test_a_copy_of_what_was_lost_is_dropped_once_the_owner_has_written_it_back(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path / "b", clock) as life:
        await watching(life, "ann")
    async with worker(broker, tmp_path / "a", clock) as life:
        await watching(life, "ann")
    broker.make_changelog_anew()
    async with worker(broker, tmp_path / "a", clock) as life:
        await life.tick_to(START + 8_000)
        whole = keys_of(broker)
    async with worker(broker, tmp_path / "b", clock) as life:
        assert users(await life.tick_to(START + 10_000)) == {"ann"}
        assert {key for key, _ in life.store.scan(0)} == whole
        mark = life.store.mark_of(0)
        assert mark is not None
        assert mark.topic_id == broker.changelog_id


async def test_a_worker_that_is_killed_while_it_writes_back_does_it_again(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await watching(life, "ann", "bob")
        whole = keys_of(broker)
    broker.make_changelog_anew()
    owner = broker.owner
    broker.loses = lambda sent: sent.topic == TOPICS.progress
    async with worker(broker, tmp_path, clock, opened=False, written_back_at_once=1) as life:
        await life.assigned()
        await until("the owner's mark is lost", lambda: broker.aborted)
        assert keys_of(broker) == whole
        assert broker.owner == owner
    broker.loses = lambda _: False
    async with worker(broker, tmp_path, clock) as life:
        assert users(await life.tick_to(START + 4_000)) == {"ann", "bob"}
        assert keys_of(broker) == whole


async def test_a_rebalance_ends_what_is_written_back_and_the_next_owner_does_it_again(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    def holds_the_next(sent: SentRecord) -> bool:
        if sent.topic == CHANGELOG:
            broker.held.add(CHANGELOG)
        return False

    async with worker(broker, tmp_path, clock) as life:
        await watching(life, "ann", "bob")
        whole = keys_of(broker)
    broker.make_changelog_anew()
    broker.loses = holds_the_next
    async with worker(broker, tmp_path, clock, opened=False, written_back_at_once=1) as life:
        opening = asyncio.create_task(life.recovered())
        await until("the second record is written", lambda: broker.queued(CHANGELOG))
        await life.revoked()
        await asyncio.wait_for(opening, 5 * PATIENCE)
        assert len(broker.pairs[CHANGELOG]) == 1
        broker.loses = lambda _: False
        broker.held.clear()
        await life.recovered()
        assert users(await life.tick_to(START + 4_000)) == {"ann", "bob"}
        assert keys_of(broker) == whole


async def test_what_an_owner_notes_while_its_changelog_is_looked_at_is_not_lost(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await watching(life, "ann")

        async def goes_on() -> None:
            # the owner is another worker, whose commits come in while this one asks
            await asyncio.sleep(0.05)
            broker.pairs[CHANGELOG] += [(table_key("bob"), b"user")] * 5
            broker.owner = Mark(broker.changelog_id, broker.last_offset(CHANGELOG), 0, "another")

        broker.at_progress = goes_on
        assert await life.engine.examiner.usable_as_standby({0}) == {0}


async def test_a_changelog_that_goes_back_under_a_running_worker_ends_it(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await watching(life, "ann", "bob")
        whole = keys_of(broker)
        broker.make_changelog_anew()
        acknowledged = broker.acknowledged(TOPICS.signups)
        broker.take(TOPICS.signups, signup("eve"))
        await until("the worker ends", lambda: life.engine.crashed)
        assert isinstance(life.engine.crash_reason, LocalStateWrong)
        assert broker.acknowledged(TOPICS.signups) == acknowledged
    async with worker(broker, tmp_path, clock) as life:
        await until("eve is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
        assert users(await life.tick_to(START + 6_000)) == {"ann", "bob", "eve"}
        assert keys_of(broker) > whole


async def test_a_changelog_that_is_made_anew_ends_a_running_worker_that_has_nothing_to_write(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock, changelog_id_every_s=0.01) as life:
        await watching(life, "ann")
        broker.make_changelog_anew()
        await until("the worker ends", lambda: life.engine.crashed)
        assert isinstance(life.engine.crash_reason, ChangelogLost)


async def test_progress_that_was_lost_is_known_from_beside_the_table(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await watching(life, "ann")
    broker.lose_progress()
    async with worker(broker, tmp_path, clock) as life:
        ticks = await life.tick_to(START + 4_000)
        assert len(ticks) == len(set(ticks)) <= 3


async def test_a_table_of_the_version_before_is_taken_over(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await watching(life, "ann")
        life.store.database(0).delete(b"\0C")
    broker.owner = None
    last = broker.last_offset(CHANGELOG)
    async with worker(broker, tmp_path, clock, opened=False) as life:
        assert life.store.mark_of(0) == Mark("", last)
        await life.recovered()
        assert life.store.mark_of(0) == Mark(broker.changelog_id, last)
        await watching(life, "ann")
        assert broker.owner is not None
        assert broker.owner.topic_id == broker.changelog_id
