"""Tests of when failures at one target are an incident of the target, against a model that remembers every failure."""

from hypothesis import given
from hypothesis import strategies as st

from everwatch.notifier.target_incidents import Correlation, Failure, TargetIncident, after_end, after_failure

RULES = Correlation(monitors=6, users=3, within_ms=1_000)
STEPS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 5), st.integers(0, 8), st.booleans()), min_size=1, max_size=60
)


@given(STEPS)
def test_an_incident_opens_with_the_failure_that_is_one_too_many_and_closes_once(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    known, at = TargetIncident("shop.example"), 1_000_000
    failing: set[tuple[int, int]] = set()
    past: list[tuple[int, int, int]] = []
    for gap, user, monitor, ends in steps:
        at += gap
        key = user, monitor
        was_open = known.is_open
        if ends or key in failing:
            if key in failing:
                failing.discard(key)
                left, closed = after_end(known, at, RULES)
                assert (closed is not None) == (was_open and not left.is_open)
                if closed is not None:
                    past.clear()
                known = left
        else:
            failing.add(key)
            past.append((at, *key))
            known = after_failure(known, Failure(at, f"u-{user}", f"m-{monitor}"), RULES)
            within = {(u, m) for when, u, m in past if when > at - RULES.within_ms}
            expected = len(within) >= RULES.monitors and len({u for u, _ in within}) >= RULES.users
            assert known.is_open == (was_open or expected)
        assert known.failing == len(failing)
        assert len(known.recent) < RULES.monitors * RULES.users
        if known.is_open:
            assert known.has(at)
