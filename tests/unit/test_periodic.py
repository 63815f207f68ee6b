"""Work that is done again and again."""

import asyncio

import pytest
from support.waiting import PATIENCE

from everwatch.processes.periodic import Periodic


async def test_it_is_done_again_and_again_one_call_at_a_time_until_it_is_cancelled() -> None:
    calls, running = 0, 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal calls, running
        assert running == 0
        running += 1
        await asyncio.sleep(0)
        running -= 1
        calls += 1
        if calls == 3:
            enough.set()

    task = asyncio.create_task(Periodic(work, 0.001, lambda error: pytest.fail(str(error))).run())
    await asyncio.wait_for(enough.wait(), 30 * PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_is_told_once_and_ends_it() -> None:
    told: list[Exception] = []

    async def work() -> None:
        raise ValueError("no")

    await asyncio.wait_for(Periodic(work, 0.001, told.append).run(), 30 * PATIENCE)
    assert [str(error) for error in told] == ["no"]
    with pytest.raises(ValueError, match="no"):
        await asyncio.wait_for(Periodic(work, 0.001).run(), 30 * PATIENCE)


async def test_it_may_wait_before_the_first_call() -> None:
    calls: list[int] = []

    async def work() -> None:
        calls.append(1)

    task = asyncio.create_task(Periodic(work, 3_600, print, at_once=False).run())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    assert calls == []
