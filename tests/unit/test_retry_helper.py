"""The retry helper: what it repeats, for how long, and what ends it."""

import pytest

from everwatch.core.clock import SettableClock
from everwatch.core.errors import BrokerUnavailable
from everwatch.core.retrying import retry, retry_for


class Away(Exception):
    """Passes by itself."""


def test_a_blocking_call_is_repeated_until_it_succeeds() -> None:
    answers = iter([Away(), Away(), "here"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Away):
            raise answer
        return answer

    assert retry_for(60, Away, ask, SettableClock(), pause_s=0) == "here"


def test_a_blocking_call_that_never_succeeds_raises_its_error_after_the_patience() -> None:
    clock, asked_s = SettableClock(), []

    def ask() -> None:
        asked_s.append(clock.monotonic_s())
        clock.advance(25_000)
        raise Away("still")

    with pytest.raises(Away, match="still"):
        retry_for(60, Away, ask, clock, pause_s=0)
    assert asked_s == [0, 25, 50]


@pytest.mark.parametrize(("longest_s", "paused_s"), [(0.3, [0.1, 0.2, 0.3, 0.3]), (60, [0.1, 0.2, 0.4, 0.8])])
async def test_an_awaited_call_is_repeated_after_pauses_that_double(longest_s: float, paused_s: list[float]) -> None:
    pauses: list[float] = []
    failures: list[Exception] = []

    async def ask() -> int:
        if len(failures) < 4:
            raise Away
        return len(failures)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    assert await retry(Away, ask, failures.append, pause, first_pause_s=0.1, longest_pause_s=longest_s) == 4
    assert pauses == pytest.approx(paused_s)


async def test_another_error_and_one_of_the_pause_end_an_awaited_call() -> None:
    class Stopped(Exception):
        pass

    async def away() -> None:
        raise Away

    async def broken() -> None:
        raise BrokerUnavailable("no broker answers")

    async def stop(_: float) -> None:
        raise Stopped

    failures: list[Exception] = []
    with pytest.raises(Stopped):
        await retry(Away, away, failures.append, stop)
    with pytest.raises(BrokerUnavailable):
        await retry(Away, broken, failures.append, stop)
    assert len(failures) == 1
