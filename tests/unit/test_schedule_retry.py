"""Tests of how long it takes until a tick that failed is tried again."""

from collections import Counter

import pytest

from everwatch.model import Backoff, Retries
from everwatch.schedule.retry import retry_delay_ms

KEY, TICK = b"user-1\0http", 1_795_262_400_000


def delays(retries: Retries, attempts: range) -> list[int]:
    return [retry_delay_ms(retries, KEY, TICK, attempt) for attempt in attempts]


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (Backoff.FIXED, [5_000, 5_000, 5_000, 5_000, 5_000]),
        (Backoff.LINEAR, [5_000, 10_000, 15_000, 20_000, 25_000]),
        (Backoff.EXPONENTIAL, [5_000, 10_000, 20_000, 40_000, 60_000]),
    ],
)
def test_without_jitter_delays_grow_as_told_up_to_the_cap(backoff: Backoff, expected: list[int]) -> None:
    retries = Retries(5, backoff, base_ms=5_000, cap_ms=60_000, jitter=0)
    assert delays(retries, range(2, 7)) == expected


def test_the_hundred_thousandth_attempt_waits_for_the_cap_and_is_told_at_once() -> None:
    for backoff in (Backoff.LINEAR, Backoff.EXPONENTIAL):
        retries = Retries(100_000, backoff, base_ms=1, cap_ms=86_400_000, jitter=0)
        assert retry_delay_ms(retries, KEY, TICK, 1_000_000_000) == 86_400_000


def test_users_whose_ticks_failed_together_do_not_come_back_together_even_at_the_cap() -> None:
    retries = Retries(9, base_ms=300_000, cap_ms=300_000, jitter=0.1)
    found = [retry_delay_ms(retries, f"user-{n}".encode(), TICK, 2) for n in range(1_000)]
    assert 270_000 <= min(found) < 272_000
    assert 298_000 < max(found) <= 300_000
    assert max(Counter(found).values()) < 20


def test_each_attempt_and_each_tick_has_its_own_jitter_and_keeps_it() -> None:
    retries = Retries(9, Backoff.FIXED, base_ms=60_000, jitter=0.5)
    assert delays(retries, range(2, 50)) == delays(retries, range(2, 50))
    assert len(set(delays(retries, range(2, 50)))) > 40
    assert len({retry_delay_ms(retries, KEY, TICK + n, 2) for n in range(50)}) > 40


@pytest.mark.parametrize(("base_ms", "cap_ms"), [(0, 300_000), (1, 300_000), (10, 50), (0, 0)])
def test_a_retry_never_comes_at_once(base_ms: int, cap_ms: int) -> None:
    assert retry_delay_ms(Retries(3, base_ms=base_ms, cap_ms=cap_ms), KEY, TICK, 2) == 100


def test_a_cap_that_is_no_whole_step_is_not_exceeded() -> None:
    assert retry_delay_ms(Retries(3, base_ms=999, cap_ms=999, jitter=0), KEY, TICK, 2) == 900
