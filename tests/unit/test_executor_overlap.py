"""Overlap of runs, against a plain list."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from everwatch.executor.overlap import Running, RunningTick, reason_of_skip
from everwatch.model import Tick

NINE = 1_795_251_600_000
TICK = Tick("user", "monitor", NINE, "http", "{}", 5_000, 1, 0)


def another(**changes: object) -> Tick:
    return msgspec.structs.replace(TICK, **changes)


def run_of(tick: Tick) -> RunningTick[object, object]:
    return RunningTick(tick, NINE)


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (NINE, "2026-11-21T09:00:00Z"),
        (NINE + 100, "2026-11-21T09:00:00.100Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2**62, f"{2**62} ms"),
    ],
)
def test_the_reason_names_the_run_that_was_in_the_way(at: int, written: str) -> None:
    reason = reason_of_skip(run_of(another(scheduled_at=at)), another(scheduled_at=at + 1))
    assert reason == f"the run of {written} was still going on (overlap: skip)"


def test_the_reason_of_a_repetition_says_that_it_is_one() -> None:
    reason = reason_of_skip(run_of(TICK), TICK)
    assert reason == "the run of 2026-11-21T09:00:00Z was still going on when the same tick was delivered again"


def test_a_late_run_does_not_cost_its_monitor_the_ticks_that_become_due_meanwhile() -> None:
    fresh = another(scheduled_at=NINE + 1)
    assert run_of(another(scheduled_at=NINE - 5_000)).overlaps(fresh)
    assert not run_of(another(scheduled_at=NINE - 5_001)).overlaps(fresh)
    # how late a retry is, its instant does not tell
    assert run_of(another(scheduled_at=NINE - 60_000, attempt=2)).overlaps(fresh)


class RunningMachine(RuleBasedStateMachine):
    """Few monitors, few instants, so that they meet."""

    def __init__(self) -> None:
        super().__init__()
        self.running: Running[str] = Running()
        self.runs: list[RunningTick[str]] = []

    @rule(
        user=st.sampled_from(["a", "b"]),
        monitor=st.sampled_from(["a", "b"]),
        at=st.integers(0, 2),
        attempt=st.integers(1, 2),
        may_overlap=st.booleans(),
    )
    def come(self, user: str, monitor: str, at: int, attempt: int, may_overlap: bool) -> None:
        tick = another(user_id=user, monitor_id=monitor, scheduled_at=at, attempt=attempt, may_overlap=may_overlap)
        of_monitor = [run for run in self.runs if (run.tick.user_id, run.tick.monitor_id) == (user, monitor)]
        same = next((r for r in of_monitor if (r.tick.scheduled_at, r.tick.attempt) == (at, attempt)), None)
        before = of_monitor[0] if of_monitor and not may_overlap else None
        assert self.running.same_as(tick) is same
        assert self.running.in_the_way_of(tick) is before
        if same is None and before is None:
            self.runs.append(self.running.begin(tick, 0))

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.running.end(self.runs.pop(data.draw(st.integers(0, len(self.runs) - 1))))

    @invariant()
    def nothing_is_kept_of_what_is_over(self) -> None:
        assert len(self.running) == len({(run.tick.user_id, run.tick.monitor_id) for run in self.runs})


TestRunning = RunningMachine.TestCase
TestRunning.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
