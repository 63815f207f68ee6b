"""The engine of a worker: what ends it, how it opens partitions, and what it leaves when it stops.

All in one file: one engine, in the order of its life.
"""

import asyncio
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from faust.types import TP
from prometheus_client import REGISTRY
from support.waiting import PATIENCE
from support.worker import (
    CHANGELOG,
    INPUTS,
    PATIENCE_S,
    START,
    TOPICS,
    Broker,
    BrokerClients,
    Life,
    crashed,
    known,
    signup,
    until,
    users,
    worker,
)

from everwatch.core.clock import SettableClock
from everwatch.core.errors import BrokerUnavailable, PermissionMissing, TopicMismatch
from everwatch.encoding.codec import table_key
from everwatch.kafka.memory import SentRecord
from everwatch.kafka.outbox import Outbox

AWAY_FOR = 3


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(START)


def record_number(number: int, topic: str) -> Callable[[SentRecord], bool]:
    """Loses the record of that number (from 0) that goes to a topic from now on."""
    seen = iter(range(1_000_000))
    return lambda sent: sent.topic == topic and next(seen) == number


# --- a lost delivery --------------------------------------------------------------------------------------------------


# of a run of four: a user and three monitors
@pytest.mark.parametrize("number", range(4), ids=["first", "second", "third", "last"])
async def test_a_signup_of_which_a_record_is_lost_leaves_nothing_of_it_and_is_written_again_as_a_whole(
    broker: Broker, clock: SettableClock, tmp_path: Path, number: int
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        written = len(broker.pairs[CHANGELOG])
        broker.loses = record_number(number, CHANGELOG)
        broker.take(TOPICS.signups, signup("bob", "a", "b", "c"))
        await until("the signup is acknowledged", lambda: broker.is_acknowledged(TOPICS.signups))
        assert broker.aborted == 1
        assert len(broker.pairs[CHANGELOG]) == written + 4
        assert users(await life.tick_to(START + 5_000)) == {"ann", "bob"}
        assert not life.engine.crashed


async def test_what_is_sent_after_a_lost_record_is_not_taken_for_durable(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        broker.loses = record_number(0, TOPICS.transitions)
        life.engine.outbox.send(TOPICS.transitions, partition=0, key=b"ann", value=b"lost")
        await crashed(life)
        async with life.engine.units.begin() as work:
            work.add_value(0, b"ann\0m", b"another")
            with pytest.raises(BrokerUnavailable):
                await work.finish()
            with pytest.raises(BrokerUnavailable):
                await life.engine.outbox.delivered()
        assert not broker.pairs[CHANGELOG]
        assert life.store.read(0, b"ann\0m") is None
        assert life.store.read(0, life.store.offset_key) is None


async def test_a_lost_record_that_nobody_waits_for_ends_the_worker_once_and_from_its_event_loop(
    broker: Broker,
) -> None:
    failures: list[tuple[str, threading.Thread]] = []
    outbox = Outbox(
        BrokerClients(broker).producer(), lambda error: failures.append((str(error), threading.current_thread()))
    )
    broker.loses = lambda sent: sent.topic == TOPICS.transitions
    for _ in range(3):
        outbox.send(TOPICS.transitions, partition=0, key=b"ann", value=b"lost")
    await until("it fails", lambda: failures)
    # failures come in order, so whatever comes of these three has come by then
    await until("all three are lost", lambda: not broker.queued(TOPICS.transitions))
    with pytest.raises(BrokerUnavailable, match=TOPICS.transitions) as raised:
        await outbox.delivered()
    assert failures == [(str(raised.value), threading.main_thread())]
    await outbox.close(PATIENCE)


# --- opening ----------------------------------------------------------------------------------------------------------


# pauses between two attempts to open, s: as good as none, and one in which a test does something
AT_ONCE, A_WHILE = 0.01, 0.2


def paused_openings(caplog: pytest.LogCaptureFixture) -> int:
    """How many attempts to open partitions have failed; after each there is a pause."""
    return sum("partitions cannot be opened yet" in message for message in caplog.messages)


async def test_partitions_are_opened_as_soon_as_the_broker_is_back(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    owned: list[set[int]] = []

    async with worker(broker, tmp_path, clock, opened=False, reopen_s=AT_ONCE) as life:

        async def asked() -> None:
            owned.append(life.engine.partitions.owned)
            broker.is_progress_away = broker.asked <= AWAY_FOR

        broker.at_progress = asked
        await asyncio.wait_for(life.recovered(), 5 * PATIENCE)
        assert owned == [set()] * (AWAY_FOR + 1)
        assert broker.asked == AWAY_FOR + 1
        assert life.engine.partitions.owned == {0}
        await known(life, "ann")
        assert users(await life.tick_to(START + 2_000)) == {"ann"}
        assert not life.engine.crashed


@pytest.mark.parametrize("lane", [TOPICS.signups, TOPICS.results])
async def test_partitions_that_are_open_are_not_opened_anew_while_a_lane_waits_for_the_broker(
    broker: Broker, clock: SettableClock, tmp_path: Path, caplog: pytest.LogCaptureFixture, lane: str
) -> None:
    async with worker(broker, tmp_path, clock, opened=False, reopen_s=AT_ONCE) as life:
        broker.away = {lane}
        opening = asyncio.create_task(life.recovered())
        await until("it pauses", lambda: paused_openings(caplog))
        partition = life.partition  # ticks go out meanwhile
        broker.away = set()
        await asyncio.wait_for(opening, 5 * PATIENCE)
        assert broker.asked == 1
        assert life.partition is partition
        assert all(each.is_reading for each in life.engine.batch_consumers)
        await known(life, "ann")


async def test_a_topic_whose_offsets_do_not_come_holds_up_neither_the_others_nor_a_hand_over(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slow(topic: str) -> None:
        # the first of the topics: none may wait for its turn behind it
        if topic == TOPICS.signups:
            asked.set()
            answered.wait(PATIENCE_S)

    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.revoked()
        broker.at_committed = slow
        await life.assigned()
        await until("the offsets are asked for", asked.is_set)
        assert users(await life.tick_to(START + 2_000)) == {"ann"}
        assert await life.command("ann", "pause")
        await asyncio.wait_for(life.revoked(), PATIENCE_S / 2)
        assert life.put_away()
        answered.set()
        await life.recovered()
        await known(life, "bob")
        assert users(await life.tick_to(START + 4_000)) == {"bob"}


@pytest.mark.parametrize("what", ["partitions", "lanes"])
async def test_a_worker_whose_partitions_went_meanwhile_does_not_go_on_trying_to_open_them(
    broker: Broker, clock: SettableClock, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    async with worker(broker, tmp_path, clock, opened=False, reopen_s=A_WHILE) as life:
        if what == "partitions":
            broker.is_progress_away = True
        else:
            broker.away = {TOPICS.signups}
        opening = asyncio.create_task(life.recovered())
        await until("it pauses", lambda: paused_openings(caplog))
        await life.revoked()
        asked = broker.asked
        broker.is_progress_away, broker.away = False, set()
        await asyncio.wait_for(opening, 5 * PATIENCE)
        assert broker.asked == asked
        assert life.engine.partitions.owned == set()
        assert not any(each.is_reading for each in life.engine.batch_consumers)


async def test_a_rebalance_in_the_middle_of_opening_leaves_nothing_open(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock, opened=False) as life:
        asking, answered = asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            asking.set()
            await answered.wait()

        broker.at_progress = slow
        opening = asyncio.create_task(life.recovered())
        await asking.wait()
        revoked = asyncio.create_task(life.revoked())
        await asyncio.sleep(0)
        answered.set()
        await asyncio.wait_for(asyncio.gather(opening, revoked), 5)
        assert broker.asked == 1
        assert broker.assigned_to == {}
        assert life.engine.partitions.owned == set()
        assert not any(each.is_reading for each in life.engine.batch_consumers)


async def test_a_rebalance_while_earlier_owners_are_fenced_leaves_the_table_to_the_next_opening(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock, opened=False) as life:
        fencing, fenced = threading.Event(), threading.Event()

        def slow() -> None:
            fencing.set()
            fenced.wait(PATIENCE_S)

        broker.at_fencing = slow
        opening = asyncio.create_task(life.recovered())
        await until("earlier owners are fenced", fencing.is_set)
        await life.paused()
        fenced.set()
        await asyncio.wait_for(opening, 5 * PATIENCE)
        assert broker.asked == 0


async def test_an_opening_that_waits_its_turn_behind_a_newer_rebalance_opens_nothing(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock, opened=False) as life:
        async with life.engine.ownership.hand_over_lock:
            opening = asyncio.create_task(life.recovered())
            await asyncio.sleep(0)
            revoked = asyncio.create_task(life.revoked())
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(opening, revoked), 5)
        assert broker.asked == 0
        assert life.engine.partitions.owned == set()


async def broken_changelog(broker: Broker, clock: SettableClock, folder: Path) -> None:
    """Two users, of whom the first one's records cannot be read any more, and no table."""
    async with worker(broker, folder, clock) as life:
        await known(life, "ann", "bob")
    broker.damaged[CHANGELOG, 0] = range(2)
    shutil.rmtree(folder)


async def test_a_changelog_that_cannot_be_read_is_told_with_the_way_out_and_opens_when_it_can(
    broker: Broker,
    clock: SettableClock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await broken_changelog(broker, clock, tmp_path / "a")
    async with worker(broker, tmp_path / "b", clock, unreadable_every_s=0.01, rejoin_s=0) as life:
        assert life.engine.partitions.owned == set()
        [said] = {record.message for record in caplog.records if "stays closed" in record.message}
        assert f"{CHANGELOG}, partition 0 cannot be read from offset 0 on" in said
        assert "everwatch worker --rebuild-changelog" in said
        assert not life.engine.crashed
        # another replica has it whole
        broker.damaged.clear()
        await until("it joins again", lambda: life.group_member.joined)
        await life.paused()
        await life.recovered()
        assert users(await life.tick_to(START + 2_000)) == {"ann", "bob"}


async def test_a_changelog_that_may_not_be_read_any_more_ends_the_worker_with_a_sentence(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    await broken_changelog(broker, clock, tmp_path / "a")
    async with worker(broker, tmp_path / "b", clock, unreadable_every_s=0.01) as life:
        broker.denied.add(CHANGELOG)
        await asyncio.wait_for(life.engine.access_denied.wait(), PATIENCE_S)
        assert isinstance(life.engine.access_error, PermissionMissing)
        assert CHANGELOG in str(life.engine.access_error)
        assert not life.engine.crashed


async def test_what_cannot_be_read_of_a_changelog_is_given_up_when_a_person_says_so(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    await broken_changelog(broker, clock, tmp_path / "a")
    async with worker(broker, tmp_path / "b", clock, rebuild_changelog=True) as life:
        assert users(await life.tick_to(START + 2_000)) == {"bob"}


async def test_partitions_whose_changelog_can_be_read_do_not_wait_for_one_that_cannot(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    for name in (b"ann", b"bob"):
        broker.append(SentRecord(CHANGELOG, 7, table_key(name.decode()), b"user", START, []))
    broker.damaged[CHANGELOG, 7] = range(1)
    async with worker(broker, tmp_path, clock, opened=False) as life:
        await life.assigned(0, 7)
        await life.engine.ownership.wait_until_open()
        assert life.engine.partitions.owned == {0}
        assert broker.assigned_to == {topic: {0} for topic in INPUTS}


async def test_a_standby_that_may_not_read_the_changelog_ends_the_worker_with_a_sentence(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        broker.denied.add(TOPICS.progress)
        assert await life.engine.table.usable_as_standby({1}) == set()
        assert life.engine.access_denied.is_set()
        assert isinstance(life.engine.access_error, PermissionMissing)


async def test_a_worker_that_stops_does_not_wait_for_a_broker_that_is_away(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    broker.is_progress_away = True
    async with worker(broker, tmp_path, clock, opened=False) as life:
        opening = asyncio.create_task(life.recovered())
        await until("it has tried", lambda: broker.asked == 1)
        await life.engine.stop()
        await asyncio.wait_for(opening, 5 * PATIENCE)
        assert broker.asked == 1


async def test_a_worker_that_is_about_to_end_opens_nothing_more(
    broker: Broker, clock: SettableClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with worker(broker, tmp_path, clock, opened=False, reopen_s=A_WHILE) as life:
        broker.is_progress_away = True
        opening = asyncio.create_task(life.recovered())
        await until("it pauses", lambda: paused_openings(caplog))
        life.engine.end(RuntimeError("a part is broken"))
        await crashed(life)
        broker.is_progress_away = False
        await asyncio.wait_for(opening, 5 * PATIENCE)
        assert broker.asked == 1
        assert life.engine.partitions.owned == set()


async def test_an_error_that_waiting_does_not_mend_ends_the_worker_although_faust_does_not_look(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async def mismatch() -> None:
        raise TopicMismatch("progress has 4 partitions")

    broker.at_progress = mismatch
    async with worker(broker, tmp_path, clock, opened=False) as life:
        await life.assigned()
        await life.engine.table.on_recovery_completed({TP(CHANGELOG, 0)}, set())
        assert life.app.crashed
        assert isinstance(life.app.crash_reason, TopicMismatch)
        assert broker.asked == 1


# --- stopping ---------------------------------------------------------------------------------------------------------


async def ticking(life: Life) -> None:
    """Ann is watched, and has been for a while."""
    await known(life, "ann")
    assert users(await life.tick_to(START + 2_000)) == {"ann"}


async def test_a_clean_stop_puts_timetables_away_and_the_next_worker_takes_them_up(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        await ticking(life)
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 0
        assert len(await life.tick_to(START + 5_000)) == 3
        await known(life, "bob")
        assert users(await life.tick_to(START + 8_000)) == {"ann", "bob"}


async def test_a_rebalance_puts_timetables_away_and_takes_them_up_when_the_partition_stays(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        await life.revoked()
        assert life.engine.partitions.owned == set()
        assert life.put_away()
        await life.recovered()
        assert life.rebuilds == 1  # at the start only
        assert len(await life.tick_to(START + 5_000)) == 3


async def ended(life: Life) -> None:
    """A part says that it cannot go on."""
    life.engine.end(RuntimeError("a part is broken"))


async def engine_crashed(life: Life) -> None:
    """A task of the engine failed."""
    await life.engine.crash(RuntimeError("a task failed"))


async def app_crashed(life: Life) -> None:
    """Something of Faust's failed."""
    await life.app.crash(RuntimeError("an agent failed"))
    assert not life.engine.crashed


@pytest.mark.parametrize("then", ["stop", "rebalance"])
@pytest.mark.parametrize("how", [ended, engine_crashed, app_crashed])
async def test_after_a_crash_no_timetable_is_put_away_and_the_next_worker_builds_its_own(
    broker: Broker, clock: SettableClock, tmp_path: Path, how: Callable[[Life], object], then: str
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        await how(life)  # type: ignore[misc]
        if then == "rebalance":
            await life.revoked()
            assert not life.put_away()
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        assert users(await life.tick_to(START + 5_000)) == {"ann"}


async def test_a_part_that_fails_while_the_last_unit_of_work_ends_is_not_noticed_too_late(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        async with life.engine.units.begin():
            revoked = asyncio.create_task(life.revoked())
            await until("batch consumers have stopped", lambda: not life.engine.batch_consumers[0].is_reading)
            await ended(life)
            assert not life.engine.crashed  # that takes another turn of the event loop
        await revoked
        assert not life.put_away()
        assert isinstance(await crashed(life), RuntimeError)


async def test_a_sweep_that_fails_half_way_leaves_no_timetable_to_be_taken_up(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    def torn() -> None:
        raise LookupError("half of it is done, and the rest is gone")

    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        life.stage.at["mark_emitted"] = torn
        clock.set(START + 3_000)
        assert isinstance(await crashed(life), LookupError)
        await life.revoked()
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        assert users(await life.tick_to(START + 5_000)) == {"ann"}


async def test_a_broker_that_answers_nothing_any_more_holds_no_stop_up_and_no_timetable_is_put_away(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        broker.held |= {CHANGELOG}
        broker.take(TOPICS.signups, signup("bob"))
        await until("bob is on his way", lambda: broker.queued(CHANGELOG) == 2)
        await asyncio.wait_for(life.engine.stop(), 10)
    assert not broker.is_acknowledged(TOPICS.signups)
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        await until("the signup is acknowledged", lambda: broker.is_acknowledged(TOPICS.signups))
        assert users(await life.tick_to(START + 5_000)) == {"ann", "bob"}


# --- a rebalance ------------------------------------------------------------------------------------------------------


async def test_ticks_go_on_while_a_rebalance_is_under_way(broker: Broker, clock: SettableClock, tmp_path: Path) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        await life.paused()
        ticks = await life.tick_to(START + 6_000)
        assert len(ticks) == len(set(ticks)) == 4


async def test_a_partition_that_stays_is_not_opened_again_and_goes_on_with_what_is_new(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        partition = life.partition
        await life.paused()
        # what is signed up meanwhile waits
        broker.take(TOPICS.signups, signup("bob"))
        assert users(await life.tick_to(START + 4_000)) == {"ann"}
        await life.recovered()
        assert life.partition is partition
        assert life.rebuilds == 1
        await until("bob is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
        assert users(await life.tick_to(START + 8_000)) == {"ann", "bob"}


async def test_a_worker_that_was_left_out_of_a_generation_reads_its_partition_anew(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        await life.paused()
        # another worker may have owned it, and changed what this one has in memory
        life.generation += 1
        partition = life.partition
        await life.recovered()
        assert life.partition is not partition


async def test_a_partition_that_goes_to_another_worker_ticks_until_then_and_is_put_away(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        await life.paused()
        await life.tick_to(START + 4_000)
        await life.assigned(7)
        assert life.engine.partitions.owned == set()
        assert life.put_away()
        assert broker.noted() == START + 4_000


async def test_a_sweep_that_is_under_way_when_a_partition_goes_is_not_emitted_again_by_its_next_owner(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path / "a", clock) as life:
        await ticking(life)
        await life.paused()
        before = len(broker.ticks)
        broker.held.add(TOPICS.ticks)
        clock.set(START + 4_000)
        await until("a sweep is under way", lambda: len(broker.ticks) > before)
        going = asyncio.create_task(life.assigned(7))
        await until("the partition is given up", lambda: life.engine.partitions.owned == set())
        broker.held.clear()
        await going
    before = len(broker.ticks)
    async with worker(broker, tmp_path / "b", clock) as life:
        await life.tick_to(START + 6_000)
    assert len(broker.ticks) > before
    assert len(broker.ticks) == len(set(broker.ticks))


async def test_a_partition_whose_ticks_are_not_acknowledged_keeps_no_other_one_from_being_handed_over(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    def noted_of_the_other_one() -> int:
        return int(broker.logs(TOPICS.progress)[1].records()[-1].value or 0)

    async with worker(broker, tmp_path, clock) as life:
        await ticking(life)
        await life.paused()
        await life.assigned(0, 1, 2)
        await life.engine.ownership.wait_until_open()
        await life.paused()
        partitions = life.engine.partitions
        stays = partitions[2]
        await until("its progress is noted", lambda: noted_of_the_other_one() == START + 2_000)
        # too little to be noted before it goes
        clock.set(START + 2_500)
        await until("it has come this far", lambda: partitions[1].emitted_to == START + 2_500)
        async with life.partition.sweep_lock:
            going = asyncio.create_task(life.assigned(2, 7))
            await until("the other one is handed over", lambda: noted_of_the_other_one() == START + 2_500)
            await going
            assert partitions.get(2) is stays
        assert partitions.get(0) is None


async def test_ticks_stop_when_a_rebalance_does_not_end(broker: Broker, clock: SettableClock, tmp_path: Path) -> None:
    async with worker(broker, tmp_path, clock, sessions=0.001) as life:
        await ticking(life)
        await life.paused()
        await until("it gives up", lambda: life.engine.partitions.owned == set())
        await life.recovered()
        assert users(await life.tick_to(START + 4_000)) == {"ann"}


# --- gauges -----------------------------------------------------------------------------------------------------------


def exported() -> set[str]:
    """Names of the metrics that are exported of partition 0."""
    return {
        sample.name
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.labels.get("partition") == "0"
    }


async def test_a_worker_exports_nothing_of_a_partition_that_it_has_given_up(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        assert {"everwatch_monitors", "everwatch_emitted_to_seconds"} <= exported()
        await life.revoked()
        assert exported() == set()
        await life.recovered()
        await life.tick_to(START + 4_000)
        assert "everwatch_monitors" in exported()


# --- commands that earlier workers have read --------------------------------------------------------------------------


async def test_commands_go_on_where_the_group_of_earlier_workers_stood(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    broker.take(TOPICS.commands, {"user_id": "ann", "command": "pause", "monitor_id": "m"})
    broker.acknowledge(TOPICS.commands, 1, group="everwatch")
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        broker.take(TOPICS.commands, {"user_id": "ann", "command": "pause", "monitor_id": "other"})
        await until("the second command is acknowledged", lambda: broker.is_acknowledged(TOPICS.commands))
        assert users(await life.tick_to(START + 2_000)) == {"ann"}
        # it is for a monitor that there is not
        assert len(broker.pairs[TOPICS.dead_letters]) == 1


async def test_what_was_sent_of_a_unit_of_work_that_fails_is_read_before_the_partition_is_used_again(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:

        async def failing() -> None:
            async with life.engine.units.begin() as work:
                work.add_value(0, b"ann\0m", b"another")
                work.begin_commit(0)
                raise ValueError("poison")

        with pytest.raises(ValueError, match="poison"):
            await failing()
        await until("the broker has it", lambda: len(broker.pairs[CHANGELOG]) == 1)
        assert life.store.read(0, b"ann\0m") is None
        # the partition is not kept through a rebalance as it is
        assert not life.engine.writers.follows_directly(life.generation)
