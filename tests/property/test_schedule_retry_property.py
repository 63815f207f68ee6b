"""Delays before retries against the plain definition, and maintenance against a walk through every minute."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from everwatch.model import Backoff, Maintenance, Retries
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.schedule.maintenance import maintenance_end
from everwatch.schedule.retry import retry_delay_ms

START = 1_795_262_400_000  # 2026-11-21T12:00:00Z
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

retries = st.builds(
    Retries,
    st.integers(1, 10),
    st.sampled_from(Backoff),
    st.integers(0, HOUR_MS),
    st.integers(0, DAY_MS),
    st.floats(0, 1),
)


def naive_delay(rule: Retries, attempt: int) -> int:
    delay_ms = rule.base_ms
    for number in range(2, attempt):
        if rule.backoff is Backoff.LINEAR:
            delay_ms = rule.base_ms * number
        elif rule.backoff is Backoff.EXPONENTIAL:
            delay_ms *= 2
    return min(delay_ms, rule.cap_ms)


@given(retries, st.binary(max_size=24), st.integers(0, START), st.integers(2, 60))
def test_a_delay_is_the_plain_one_more_or_less(rule: Retries, key: bytes, scheduled_at: int, attempt: int) -> None:
    delay_ms = retry_delay_ms(rule, key, scheduled_at, attempt)
    plain_ms = naive_delay(rule, attempt)
    assert delay_ms % PHASE_STEP_MS == 0
    assert PHASE_STEP_MS <= delay_ms <= max(rule.cap_ms, PHASE_STEP_MS)
    # the step to which it is rounded, and the least
    assert plain_ms * (1 - rule.jitter) - PHASE_STEP_MS <= delay_ms <= plain_ms * (1 + rule.jitter) + PHASE_STEP_MS
    assert delay_ms == retry_delay_ms(rule, key, scheduled_at, attempt)


@given(retries, st.binary(max_size=24), st.integers(10**6, 10**12))
def test_a_great_number_of_attempts_is_no_trouble(rule: Retries, key: bytes, attempt: int) -> None:
    assert retry_delay_ms(rule, key, START, attempt) <= max(rule.cap_ms, PHASE_STEP_MS)


# --- maintenance ------------------------------------------------------------------------------------------------------

minutes = st.integers(0, 600).map(lambda n: START + n * MINUTE_MS)
one_offs = st.builds(
    lambda start, length: Maintenance(start=start, end=start + length * MINUTE_MS), minutes, st.integers(0, 120)
)
recurring = st.builds(
    lambda minute, hour, length: Maintenance(cron=f"{minute} {hour} * * *", duration_ms=length * MINUTE_MS),
    st.integers(0, 59),
    st.integers(10, 23),
    st.integers(0, 300),
)


def is_open(window: Maintenance, minute: int) -> bool:
    if not window.cron:
        return window.start <= minute < window.end
    at, hour, *_ = window.cron.split()
    for begin in range(minute, minute - window.duration_ms, -MINUTE_MS):
        wall = EPOCH + timedelta(milliseconds=begin)
        if (wall.minute, wall.hour) == (int(at), int(hour)):
            return True
    return False


@settings(deadline=None)
@given(st.lists(one_offs | recurring, max_size=4), minutes, st.integers(0, MINUTE_MS - 1))
def test_maintenance_is_over_in_the_first_minute_in_which_no_window_is_open(
    windows: list[Maintenance], minute: int, rest_ms: int
) -> None:
    end = minute
    while any(is_open(window, end) for window in windows):
        end += MINUTE_MS
    assert maintenance_end(windows, minute + rest_ms) == (end if end > minute else 0)
