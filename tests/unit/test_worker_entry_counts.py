"""A worker notes how many users and monitors its table has, whatever changes them."""

from pathlib import Path

from support.worker import START, TOPICS, Broker, Life, known, signup, until, worker

from everwatch.core.clock import SettableClock
from everwatch.encoding import codec
from everwatch.kafka.progress import ENTRIES_HEADER


def counted(life: Life) -> tuple[int, int]:
    """How many users and monitors there are, read one by one."""
    keys = [key for key, _ in life.store.scan(0)]
    users = [key for key in keys if key.endswith(codec.SEPARATOR)]
    others = [key for key in keys if codec.is_bookkeeping(key.partition(codec.SEPARATOR)[2])]
    return len(users), len(keys) - len(users) - len(others)


def noted(broker: Broker) -> bytes | None:
    """What the newest record of progress says of entries."""
    return dict(broker.logs(TOPICS.progress)[0].records()[-1].headers).get(ENTRIES_HEADER)


def assert_counts(life: Life, users: int, monitors: int) -> None:
    assert life.partition.entries == (users, monitors) == counted(life)


async def taken(life: Life, *values: dict[str, object]) -> None:
    for value in values:
        life.broker.take(TOPICS.signups, value)
    await until("the signups are acknowledged", lambda: life.broker.is_acknowledged(TOPICS.signups))


async def test_the_count_follows_whatever_comes_and_goes(tmp_path: Path) -> None:
    broker, clock = Broker(), SettableClock(START)
    async with worker(broker, tmp_path, clock) as life:
        assert_counts(life, 0, 0)
        # alike, and each of its own
        await taken(life, signup("ann", "m", "n"), signup("ben", "m", "n"), signup("cem", "x"), signup("ann", "m", "n"))
        assert_counts(life, 3, 5)
        # one more monitor, one fewer
        await taken(life, signup("ben", "m", "n", "o"), signup("ann", "m"))
        assert_counts(life, 3, 5)
        assert await life.command("cem", "pause", "x")
        assert_counts(life, 3, 5)
        life.broker.take(
            TOPICS.commands, {"user_id": "cem", "command": "pause", "monitor_id": "x", "command_id": "c-1"}
        )
        await until("it is acknowledged", lambda: life.broker.is_acknowledged(TOPICS.commands))
        assert_counts(life, 3, 5)
        assert await life.command("ben", "delete", "m")
        assert_counts(life, 3, 4)
        assert await life.command("ann", "deregister", "")
        assert_counts(life, 2, 3)
        # what begins later than all is emitted is not put away
        await life.tick_to(START + 3_000)
        await life.revoked()
    # the timetable is taken up, and nothing is read
    async with worker(broker, tmp_path, clock) as life:
        assert life.rebuilds == 0
        assert_counts(life, 2, 3)
        await known(life, "dan")
        assert_counts(life, 3, 4)
    # rebuilt from the changelog
    async with worker(broker, tmp_path / "elsewhere", clock) as life:
        assert life.rebuilds == 1
        assert_counts(life, 3, 4)


async def test_the_count_is_noted_with_progress(tmp_path: Path) -> None:
    broker, clock = Broker(), SettableClock(START)
    async with worker(broker, tmp_path, clock) as life:
        await taken(life, signup("ann", "m", "n"))
        await life.tick_to(START + 3_000)
        await until("it is noted", lambda: noted(broker) == b"1 2")
