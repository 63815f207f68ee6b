"""The bisecting of batches, held against a handler that some records make fail."""

from hypothesis import given
from hypothesis import strategies as st

from everwatch.core.bisection import Bisection

MOST = 300
sizes = st.integers(0, MOST)


@given(size=sizes, poison=st.sets(st.integers(0, MOST - 1)), attempts=st.integers(1, 4))
def test_exactly_the_records_that_fail_are_given_up_and_the_rest_is_done_once_in_order(
    size: int, poison: set[int], attempts: int
) -> None:
    poison &= set(range(size))
    work = Bisection(range(size), attempts)
    handled: list[int] = []
    given_up: list[int] = []
    tried = 0
    while part := work.part:
        tried += 1
        if poison.isdisjoint(part):
            handled += part
        elif work.failed():
            given_up += part
        else:
            continue
        work.done()
    assert given_up == sorted(poison)
    assert handled == sorted(set(range(size)) - poison)
    assert tried <= max(0, 2 * size - 1) + (attempts - 1) * size
    assert tried <= 1 + len(poison) * (2 * size.bit_length() + attempts)


@given(size=st.integers(1, MOST), poison=st.integers(0, MOST - 1), breaks=st.lists(st.integers(0, 20), max_size=5))
def test_work_that_is_interrupted_goes_on_where_it_stood(size: int, poison: int, breaks: list[int]) -> None:
    work = Bisection(range(size))
    seen: list[int] = []
    steps = 0
    while part := work.part:
        steps += 1
        if steps in breaks:
            continue  # the broker is away: the part is handled again as it is
        if poison in part and not work.failed():
            continue
        seen += part
        work.done()
    assert seen == list(range(size))


@given(size=st.integers(2, MOST), passing=st.integers(1, 2))
def test_a_record_that_fails_fewer_times_than_it_may_is_done(size: int, passing: int) -> None:
    work = Bisection(range(size), attempts=3)
    left = passing
    given_up = []
    while part := work.part:
        if 0 in part and (len(part) > 1 or left):
            left -= len(part) == 1
            if not work.failed():
                continue
            given_up += part
        work.done()
    assert given_up == []
