"""Tests of how much of what callables write is kept."""

from everwatch.executor.output_budget import OutputBudgets


def test_a_run_may_write_so_much_as_long_as_its_callable_keeps_to_the_rate() -> None:
    budgets = OutputBudgets(per_run=100, per_minute=240)
    assert [budgets.grant("noisy", 5) for _ in range(4)] == [100, 100, 40, 0]
    # others have budgets of their own
    assert budgets.grant("quiet", 5) == 100
    # four a second
    assert budgets.grant("noisy", 15) == 40


def test_what_a_run_does_not_write_is_there_for_the_next_one_and_no_more_than_a_minute_is_saved_up() -> None:
    budgets = OutputBudgets(per_run=100, per_minute=240)
    for _ in range(100):
        assert budgets.grant("modest", 5) == 100
        budgets.settle("modest", 100, 5)
    assert [budgets.grant("modest", 5_000) for _ in range(4)] == [100, 100, 40, 0]
