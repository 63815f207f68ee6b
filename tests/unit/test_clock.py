"""Clocks: the machine's tells the time in milliseconds, the settable one only what it was told."""

from datetime import UTC, datetime

from everwatch.core.clock import SettableClock, SystemClock


def test_the_system_clock_tells_milliseconds_since_the_epoch() -> None:
    before = datetime.now(UTC).timestamp() * 1000
    now = SystemClock().now_ms()
    after = datetime.now(UTC).timestamp() * 1000
    assert isinstance(now, int)
    assert before - 1 <= now <= after


def test_the_system_clock_never_steps_back_when_durations_are_measured() -> None:
    clock = SystemClock()
    readings = [clock.monotonic_s() for _ in range(1_000)]
    assert readings == sorted(readings)


def test_the_settable_clock_stands_still_until_it_is_moved() -> None:
    clock = SettableClock(5_000)
    assert (clock.now_ms(), clock.now_ms()) == (5_000, 5_000)
    clock.advance(1_500)
    assert (clock.now_ms(), clock.monotonic_s()) == (6_500, 6.5)


def test_the_settable_clock_may_step_back_as_wall_clocks_do() -> None:
    clock = SettableClock(5_000)
    clock.set(4_000)
    assert clock.now_ms() == 4_000
