"""Sketches of durations against the durations themselves."""

from math import floor

from hypothesis import given
from hypothesis import strategies as st

from everwatch.store.sketch import SMALLEST_MS, code_of, compacted, counts_of, merged, quantile_ms, text_of

DURATIONS = st.floats(0, 400 * 86_400_000.0)
SHARES = st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0])


def text(durations: list[float]) -> str:
    return "".join(map(code_of, durations))


@given(st.lists(DURATIONS, min_size=1), SHARES)
def test_a_quantile_is_within_two_percent(durations: list[float], share: float) -> None:
    exact = sorted(durations)[floor(share * (len(durations) - 1))]
    found = quantile_ms(counts_of(text(durations)), share)
    assert found is not None
    assert abs(found - exact) <= max(0.02 * exact, SMALLEST_MS)


@given(st.lists(DURATIONS), st.lists(DURATIONS), st.booleans(), st.booleans())
def test_texts_merge_by_standing_behind_each_other(
    some: list[float], others: list[float], shorten_one: bool, shorten_other: bool
) -> None:
    together = counts_of(text(some + others))
    one = compacted(text(some)) if shorten_one else text(some)
    other = compacted(text(others)) if shorten_other else text(others)
    assert counts_of(one + other) == together
    assert counts_of(other + one) == together
    assert merged([one, other]) == text_of(together) == compacted(text_of(together))


@given(st.lists(DURATIONS))
def test_no_duration_is_lost_and_none_is_added(durations: list[float]) -> None:
    assert sum(counts_of(compacted(text(durations))).values()) == len(durations)
    assert quantile_ms({}, 0.5) is None
