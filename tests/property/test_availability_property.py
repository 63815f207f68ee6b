"""Availability against a model that asks for the state at every single instant."""

from hypothesis import given
from hypothesis import strategies as st

from everwatch.model import Maintenance, State, Transition
from everwatch.store.availability import KnownPast, availability, maintained

END = 60
STATES = st.sampled_from([State.NEW, State.UP, State.DOWN, State.LATE, State.PAUSED])
CHANGES = st.lists(st.tuples(st.integers(0, END - 1), STATES), max_size=8, unique_by=lambda change: change[0])
WINDOWS = st.lists(st.tuples(st.integers(0, END), st.integers(0, END)), max_size=3)
ACTIVE = st.lists(st.tuples(st.integers(0, END), st.integers(0, END) | st.none()), max_size=2)


@given(CHANGES, STATES | st.none(), WINDOWS, ACTIVE, st.integers(1, 7))
def test_each_instant_counts_for_its_state_unless_in_maintenance_or_not_there(
    changes: list[tuple[int, State]],
    first: State | None,
    windows: list[tuple[int, int]],
    active: list[tuple[int, int | None]],
    bars: int,
) -> None:
    changes.sort()
    before = None if first is None else Transition("u", "m", -1, State.NEW, first, "", 1)
    states = [first or State.NEW, *(state for _, state in changes)]
    within = [Transition("u", "m", at, states[i], state, "", 1) for i, (at, state) in enumerate(changes)]

    def state_at(instant: int) -> State | None:
        state = states[0] if changes or before else None
        for at, following in changes:
            state = following if at <= instant else state
        there = any(since <= instant and (until is None or instant < until) for since, until in active)
        return state if state is State.PAUSED or there else None

    def is_maintained(instant: int) -> bool:
        return any(begin <= instant < end for begin, end in windows)

    maintenance = [Maintenance(start=begin, end=end) for begin, end in windows]
    found = availability(KnownPast(before, within, active, None), maintenance, 0, END, bars)
    assert [bar.begin for bar in found.bars] == [0, *(bar.end for bar in found.bars[:-1])]
    assert found.bars[-1].end == END
    for bar in [found.total, *found.bars]:
        instants = [instant for instant in range(bar.begin, bar.end) if not is_maintained(instant)]
        counted = [state for instant in instants if (state := state_at(instant)) is not None]
        assert bar.by_state == {state: counted.count(state) for state in set(counted)}
        assert bar.maintenance_ms == bar.end - bar.begin - len(instants)


def test_maintenance_by_cron_is_taken_where_it_reaches_in_and_merged() -> None:
    hour, day = 3_600_000, 86_400_000
    nightly = Maintenance(cron="0 2 * * *", timezone="UTC", duration_ms=2 * hour)
    once = Maintenance(start=day + 3 * hour, end=day + 5 * hour)
    assert maintained([nightly, once], 3 * hour, 2 * day) == [(3 * hour, 4 * hour), (day + 2 * hour, day + 5 * hour)]
