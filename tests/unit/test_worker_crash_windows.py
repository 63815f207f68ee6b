"""Tests of what a worker does when it fails, or loses its partition, between two things that belong together.

All in one file: one worker, stopped between each two steps.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.waiting import PATIENCE
from support.worker import CHANGELOG, START, TOPICS, Broker, Life, crashed, known, signup, until, users, worker

from everwatch.core.clock import SettableClock
from everwatch.encoding import avro_schemas
from everwatch.encoding.codec import table_key
from everwatch.kafka.compression import codec_named
from everwatch.model import Every, Misfire
from everwatch.timetable import FORMAT, BatchKey, Destination, LocalStateWrong, Timetable, TimetableEntry, framed
from streams.state.fenced_writers import PartitionLost
from streams.state.snapshot_mark import SnapshotMark
from streams.state.unit_of_work import UnitsOfWork

Sabotage = Callable[[Life], None]
NORMAL = BatchKey(Destination.NORMAL, Misfire.FIRE_LAST, 60_000)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(START)


def fails(*_: object, **__: object) -> None:
    raise OSError("no space left on device")


def the_disk(life: Life) -> None:
    """The table cannot be written."""
    life.stage.at["write"] = fails


def the_timetable(life: Life) -> None:
    """No monitor gets into a timetable, or out of it."""
    life.stage.at["put"] = life.stage.at["remove"] = fails


SABOTAGES = pytest.mark.parametrize("sabotage", [the_disk, the_timetable])


# --- before it is durable ---------------------------------------------------------------------------------------------


ENDINGS = [("pause", "m"), ("delete", "m"), ("pause_user", ""), ("deregister", "")]


@pytest.mark.parametrize(("command", "monitor"), ENDINGS, ids=[name for name, _ in ENDINGS])
async def test_executors_drop_no_tick_of_a_monitor_whose_end_is_not_durable(
    broker: Broker, clock: SettableClock, tmp_path: Path, command: str, monitor: str
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        broker.held.add(CHANGELOG)
        broker.take(
            TOPICS.commands, {"user_id": "ann", "command": command} | ({"monitor_id": monitor} if monitor else {})
        )
        await until("its unit of work is sent", lambda: broker.queued(CHANGELOG))
        # what the worker has sent outside of transactions is on the broker
        await life.engine.outbox.delivered()
        # a worker that is killed here leaves the monitor as it was
        assert not broker.pairs[TOPICS.cancellations]
        broker.held.clear()
        await until("the command is acknowledged", lambda: broker.is_acknowledged(TOPICS.commands))
        assert len(broker.pairs[TOPICS.cancellations]) == 1


async def test_a_change_whose_transition_is_lost_is_made_again_and_told(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        written = len(broker.pairs[CHANGELOG])
        broker.held.add(TOPICS.transitions)
        broker.take(TOPICS.commands, {"user_id": "ann", "monitor_id": "m", "command": "pause"})
        await until("the transition is sent", lambda: broker.queued(TOPICS.transitions))
        # what could be committed meanwhile would be by now
        for _ in range(20):
            await asyncio.to_thread(lambda: None)
        assert len(broker.pairs[CHANGELOG]) == written
        broker.loses = lambda sent: sent.topic == TOPICS.transitions
        broker.held.clear()
        await crashed(life)
        assert not broker.pairs[TOPICS.transitions]
    broker.loses = lambda sent: False
    async with worker(broker, tmp_path, clock):
        await until("the command is acknowledged", lambda: broker.is_acknowledged(TOPICS.commands))
        assert len(broker.pairs[TOPICS.transitions]) == 1


# --- between durable and known ----------------------------------------------------------------------------------------


async def sabotaged(life: Life, sabotage: Sabotage, change: Callable[[], Awaitable[object]], *names: str) -> None:
    """Make a change on a worker with these users that is durable and not taken in; the worker ends."""
    for name in names:
        await known(life, name)
    await life.tick_to(START + 2_000)
    sabotage(life)
    await change()
    assert isinstance(await crashed(life), LocalStateWrong)
    life.stage.at.clear()


@SABOTAGES
async def test_a_signup_that_is_durable_but_not_taken_in_ends_the_worker_and_the_next_one_makes_good(
    broker: Broker, clock: SettableClock, tmp_path: Path, sabotage: Sabotage
) -> None:
    async def bob_signs_up() -> None:
        broker.take(TOPICS.signups, signup("bob"))

    async with worker(broker, tmp_path, clock) as life:
        await sabotaged(life, sabotage, bob_signs_up, "ann")
        assert not broker.is_acknowledged(TOPICS.signups)
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        await until("the signup is acknowledged", lambda: broker.is_acknowledged(TOPICS.signups))
        assert users(await life.tick_to(START + 5_000)) == {"ann", "bob"}


@SABOTAGES
async def test_a_change_that_is_durable_but_not_taken_in_ends_the_worker_and_the_next_one_makes_good(
    broker: Broker, clock: SettableClock, tmp_path: Path, sabotage: Sabotage
) -> None:
    async def ann_changes() -> None:
        broker.take(TOPICS.signups, signup("ann", interval="2s"))

    async with worker(broker, tmp_path, clock) as life:
        await sabotaged(life, sabotage, ann_changes, "ann", "bob")
        assert not broker.is_acknowledged(TOPICS.signups)
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        ticks = await life.tick_to(START + 6_000)
        assert sum(user == "ann" for user, _ in ticks) == 2
        assert sum(user == "bob" for user, _ in ticks) == 4


@SABOTAGES
async def test_a_command_that_is_durable_but_not_taken_in_is_not_tried_again_by_a_worker_that_cannot_know(
    broker: Broker, clock: SettableClock, tmp_path: Path, sabotage: Sabotage
) -> None:
    async with worker(broker, tmp_path, clock) as life:

        async def ann_pauses() -> None:
            assert not await life.command("ann", "pause")

        await sabotaged(life, sabotage, ann_pauses, "ann", "bob")
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        assert users(await life.tick_to(START + 4_000)) == {"bob"}


async def test_an_agent_that_is_stopped_half_way_through_a_crowd_ends_the_worker_too(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    """Faust cancels agents; who was not put by then would be durable, and silent."""
    crowd = [f"m{number}" for number in range(120)]
    async with worker(broker, tmp_path, clock) as life:
        life.stage.at["put"] = life.agents["signups"].cancel
        broker.take(TOPICS.signups, signup("ann", *crowd))
        assert isinstance(await crashed(life), LocalStateWrong)
        life.stage.at.clear()
    async with worker(broker, tmp_path, clock) as life:
        await until("the signup is acknowledged", lambda: broker.is_acknowledged(TOPICS.signups))
        assert len(life.timetable) == len(crowd)


@SABOTAGES
@pytest.mark.parametrize("patience_s", [5.0, 0.2], ids=["within the lanes' patience", "after the lanes gave up"])
async def test_what_is_not_taken_in_while_a_rebalance_begins_is_not_put_away_as_if_it_were(
    broker: Broker, clock: SettableClock, tmp_path: Path, sabotage: Sabotage, patience_s: float
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        broker.held.add(CHANGELOG)
        broker.take(TOPICS.signups, signup("bob"))
        await until("bob is on his way", lambda: broker.queued(CHANGELOG) == 2)
        sabotage(life)
        revoked = asyncio.create_task(life.revoked(patience_s))
        lane = life.engine.batch_consumers[0]
        await until("the lanes are closed", lambda: not lane.is_reading)
        if patience_s < 1:
            await asyncio.wait([revoked], timeout=patience_s * 1.5)
            assert not revoked.done()
        broker.held.clear()
        await asyncio.wait_for(revoked, 5 * PATIENCE)
        life.stage.at.clear()
        assert not life.put_away()
        await life.recovered()
        await until("the signup is acknowledged", lambda: broker.is_acknowledged(TOPICS.signups))
        assert users(await life.tick_to(START + 5_000)) == {"ann", "bob"}


async def test_somebody_who_is_durable_and_not_yet_in_the_timetable_keeps_it_from_being_put_away(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        with life.partition.ceiling_at(START + 2_500):
            await life.engine.ownership.close_partitions({0})
        assert not life.put_away()


async def test_somebody_who_does_not_begin_before_the_next_sweep_keeps_the_timetable_from_being_put_away(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        life.timetable.put(planned("late", since=START + 10_000))
        await life.engine.ownership.close_partitions({0})
        assert not life.put_away()


async def test_monitors_whose_user_is_missing_are_watched_once_when_the_signup_is_read_again(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    """A version without transactions could lose a user's record and not the monitors'."""
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await known(life, "bob")
    log = broker.pairs[CHANGELOG]
    log[:] = [record for record in log if record[0] != table_key("bob")]
    # nor did it note whose table it was
    broker.owner = None
    shutil.rmtree(tmp_path)
    broker.acknowledge(TOPICS.signups, broker.acknowledged(TOPICS.signups) - 1)
    async with worker(broker, tmp_path, clock) as life:
        await until("the signup is acknowledged", lambda: broker.is_acknowledged(TOPICS.signups))
        assert len(life.timetable) == 2
        ticks = await life.tick_to(START + 4_000)
        assert users(ticks) == {"ann", "bob"}
        assert await life.command("bob", "deregister", "")
        assert users(await life.tick_to(START + 6_000)) == {"ann"}


# --- lost and owned again ---------------------------------------------------------------------------------------------


async def reopened(life: Life) -> None:
    """A rebalance that gives the partition back, while a unit of work waits for the broker."""
    life.engine.partitions.abandon()
    assert await life.engine.partitions.open({0}, {0: START})


def units_of(life: Life) -> UnitsOfWork:
    return life.engine.units


@pytest.mark.parametrize("meets", ["read", "send"])
@pytest.mark.parametrize(
    "touches", ["read", "look_up", "with_users", "value", "monitor", "monitors_of", "send", "finish", "owned"]
)
async def test_a_unit_of_work_does_not_go_on_in_a_partition_that_was_lost_and_came_back(
    broker: Broker, clock: SettableClock, tmp_path: Path, meets: str, touches: str
) -> None:
    key = table_key("ann", "m")
    async with worker(broker, tmp_path, clock) as life, units_of(life).begin() as work:
        if meets == "read":
            work.read(0, [key])
        work.add_value(0, key, b"another")
        if meets == "send":
            work.begin_commit(0)
            await work.commits.pop(0)  # so that each way of touching it is tried, a second sending too
        sent = len(broker.pairs[CHANGELOG]) + broker.queued(CHANGELOG)
        await reopened(life)
        calls: dict[str, Callable[[], Any]] = {
            "read": lambda: work.read(0, [key]),
            "look_up": lambda: work.look_up(0, [key]),
            "with_users": lambda: work.with_users(0, [table_key("bob", "m")]),
            "value": lambda: work.value(0, table_key("bob")),
            "monitor": lambda: work.monitor(0, "ann", "m"),
            "monitors_of": lambda: list(work.monitors_of(0, "ann")),
            "send": lambda: work.begin_commit(0),
            "owned": lambda: work.owned(0),
        }
        with pytest.raises(PartitionLost):
            await work.finish() if touches == "finish" else calls[touches]()
        assert len(broker.pairs[CHANGELOG]) + broker.queued(CHANGELOG) == sent
        assert life.store.read(0, key) is None


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_partition_that_is_lost_while_the_broker_is_waited_for_is_not_written(
    broker: Broker, clock: SettableClock, tmp_path: Path, comes_back: bool
) -> None:
    key = table_key("ann", "m")
    async with worker(broker, tmp_path, clock) as life, units_of(life).begin() as work:
        broker.held.add(CHANGELOG)
        work.add_value(0, key, b"another")
        finished = asyncio.create_task(work.finish())
        await until("it is sent", lambda: broker.queued(CHANGELOG) == 1)
        life.engine.partitions.abandon()
        if comes_back:
            assert await life.engine.partitions.open({0}, {0: START})
        broker.held.clear()
        with pytest.raises(PartitionLost):
            await finished
        assert life.store.read(0, key) is None
        assert life.store.read(0, life.store.offset_key) is None


async def test_who_signs_up_while_a_partition_goes_and_comes_back_is_watched(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        broker.held.add(CHANGELOG)
        broker.take(TOPICS.signups, signup("bob"))
        await until("bob is on his way", lambda: broker.queued(CHANGELOG) == 2)
        await life.revoked(0.05)
        assert life.engine.partitions.owned == set()
        await life.recovered()
        broker.held.clear()
        await until("the signup is acknowledged", lambda: broker.is_acknowledged(TOPICS.signups))
        assert users(await life.tick_to(START + 5_000)) == {"ann", "bob"}
        assert not life.engine.crashed


async def test_a_command_whose_partition_goes_and_comes_back_is_read_again(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        broker.held.add(CHANGELOG)
        paused = asyncio.create_task(life.command("ann", "pause"))
        await until("the pause is on its way", lambda: broker.queued(CHANGELOG) == 1)
        await life.revoked(0.05)
        await life.recovered()
        assert not paused.done()
        broker.held.clear()
        assert await paused
        assert not life.engine.crashed
        assert users(await life.tick_to(START + 5_000)) == set()


# --- fenced -----------------------------------------------------------------------------------------------------------


async def test_a_worker_that_is_fenced_writes_nothing_gives_everything_up_and_goes_on_when_it_is_given_the_partition(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock, rejoin_s=0) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        written = len(broker.pairs[CHANGELOG])
        broker.fence_owner()  # another worker initialises
        broker.take(TOPICS.signups, signup("bob"))
        await until("the partition is given up", lambda: life.engine.partitions.owned == set())
        await until("it joins again", lambda: life.group_member.joined == 1)
        assert len(broker.pairs[CHANGELOG]) == written
        assert life.store.read(0, table_key("bob")) is None
        await life.revoked()
        assert not life.put_away()
        await life.recovered()
        await until("the signup is acknowledged", lambda: broker.is_acknowledged(TOPICS.signups))
        assert users(await life.tick_to(START + 5_000)) == {"ann", "bob"}
        assert not life.engine.crashed


async def test_progress_that_is_refused_by_a_fence_gives_the_partition_up_too(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 2_000)
        broker.fence_owner()
        clock.set(START + 4_000)
        await until("the partition is given up", lambda: life.engine.partitions.owned == set())
        assert broker.noted() == START + 2_000


async def test_what_another_owner_wrote_until_it_was_fenced_is_read_before_the_partition_opens(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.revoked()
        # the other one has had the partition in between, and says bye to ann
        broker.pairs[CHANGELOG] += [(table_key("ann", "m"), None), (table_key("ann"), None)]
        life.generation += 1
        epoch = broker.epoch
        await life.recovered()
        assert broker.epoch == epoch + 1
        assert len(life.timetable) == 0


async def test_a_partition_that_stays_keeps_its_producer_unless_something_was_under_way(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.paused()
        await life.recovered()
        assert broker.epoch == 1
        broker.held.add(CHANGELOG)
        broker.take(TOPICS.signups, signup("bob"))
        await until("bob is on his way", lambda: broker.queued(CHANGELOG) == 2)
        await life.paused(0.05)
        await life.recovered()
        assert broker.epoch == 2
        broker.held.clear()
        await until("the signup is acknowledged", lambda: broker.is_acknowledged(TOPICS.signups))
        assert len(life.timetable) == 2


async def test_progress_is_committed_once_a_second_and_to_the_last_instant_at_the_end(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        already = len(broker.pairs[TOPICS.progress])
        for instant in range(START + 100, START + 3_500, 100):
            clock.set(instant)
            await until("it is emitted", lambda instant=instant: life.partition.emitted_to >= instant)  # type: ignore[misc]
        assert 1 <= len(broker.pairs[TOPICS.progress]) - already <= 5
    assert broker.noted() == START + 3_400


# --- what was put away ------------------------------------------------------------------------------------------------


def planned(user: str, since: int = START - 60_000) -> TimetableEntry:
    return TimetableEntry(table_key(user, "m"), Every(1_000), since, NORMAL, framed(user.encode(), b"tick"))


def put_away(life: Life, form: str = "", newest_since: int = 0, packing: str = "lz4") -> None:
    """Put a timetable away that has somebody in it whom the table does not know."""
    timetable = Timetable(codec_named(packing), life.broker.noted())
    timetable.put(planned("ghost"))
    life.store.save_snapshot(0, timetable.save(), SnapshotMark(form or life.engine.planner.form, newest_since))


def deleted(life: Life) -> None:
    """A unit of work is written."""
    life.store.write(0, {table_key("dan"): None}, 7)


def replicated(life: Life) -> None:
    """A standby, or recovery, reads on."""
    life.store.apply(0, [(table_key("dan"), None)], 7)


async def test_what_was_put_away_is_taken_up_and_only_once(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock, opened=False) as life:
        put_away(life)
        await life.recovered()
        assert life.rebuilds == 0
        assert users(await life.tick_to(START + 2_000)) == {"ghost"}
        life.engine.partitions.abandon()  # a crash: what is in memory now is not put away
        assert await life.engine.partitions.open({0}, {0: START})
        assert life.rebuilds == 1


@pytest.mark.parametrize("moves", [deleted, replicated])
async def test_a_timetable_from_before_the_table_changed_is_not_taken_up(
    broker: Broker, clock: SettableClock, tmp_path: Path, moves: Callable[[Life], None]
) -> None:
    async with worker(broker, tmp_path, clock, opened=False) as life:
        put_away(life)
        broker.pairs[CHANGELOG] = [(table_key("dan"), None)] * 8
        moves(life)
        await life.recovered()
        assert life.rebuilds == 1
        assert users(await life.tick_to(START + 2_000)) == set()


FORM = {
    "version": version("everwatch"),
    "format": str(FORMAT),
    "tick": avro_schemas.header("tick").hex(),
    "packing": str(codec_named("lz4").code),
}


@pytest.mark.parametrize("other", FORM)
async def test_a_timetable_in_another_form_is_not_taken_up(
    broker: Broker, clock: SettableClock, tmp_path: Path, other: str
) -> None:
    async with worker(broker, tmp_path, clock, opened=False) as life:
        assert life.engine.planner.form == " ".join(FORM.values())
        put_away(life, " ".join((FORM | {other: "1000"}).values()))
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        assert users(await life.tick_to(START + 2_000)) == set()


async def test_a_timetable_with_somebody_who_begins_later_than_what_is_emitted_is_not_taken_up(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    """The progress after bob's beginning was lost with the crash of another worker: he would be due too early."""
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 3_000)
        await known(life, "bob")
        began = START + 3_500
        await life.tick_to(START + 5_000)
    # what is noted says less than what was emitted
    broker.note(START + 2_000)
    clock.set(START + 2_000)  # no sweep is due before ``tick_to``
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        ticks = await life.tick_to(START + 6_000)
        assert users(ticks) == {"ann", "bob"}
        assert min(instant for user, instant in ticks if user == "bob") > began


async def test_since_when_nobody_began_is_not_forgotten_by_a_worker_that_only_takes_up_and_puts_away(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 3_000)
        await known(life, "bob")
        await life.tick_to(START + 5_000)
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 0
    broker.note(START + 2_000)
    clock.set(START + 2_000)  # no sweep is due before ``tick_to``
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 1
        assert users(await life.tick_to(START + 3_400)) == {"ann"}


async def test_a_timetable_whose_everybody_began_before_what_is_noted_is_taken_up_although_more_was_emitted(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock) as life:
        await known(life, "ann")
        await life.tick_to(START + 5_000)
    broker.note(START + 2_000)
    clock.set(START + 2_000)  # no sweep is due before ``tick_to``
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 0
        assert len(await life.tick_to(START + 6_000)) == 4


async def test_a_broken_record_of_what_was_put_away_is_as_good_as_none(
    broker: Broker, clock: SettableClock, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, clock, opened=False) as life:
        put_away(life)
        life.store.database(0)[b"\0Tm"] = b"{"
        await life.recovered()
        assert life.rebuilds == 1
        assert users(await life.tick_to(START + 2_000)) == set()
