"""The timer's own rules, without a broker."""

from streams.ticking import ClockSteps


def test_a_clock_that_jumps_ahead_is_noticed_and_believed_once_it_stays() -> None:
    steps = ClockSteps()
    assert not steps.stepped(1_000_000, 10.0)
    assert not steps.stepped(1_000_100, 10.1)
    assert steps.stepped(4_600_100, 10.2)
    assert not steps.stepped(4_604_100, 14.2)


def test_a_long_pause_of_the_process_is_no_jump() -> None:
    steps = ClockSteps()
    steps.stepped(1_000_000, 10.0)
    assert not steps.stepped(1_060_000, 70.0)


def test_a_clock_that_steps_back_is_no_jump_ahead() -> None:
    steps = ClockSteps()
    steps.stepped(1_000_000, 10.0)
    assert not steps.stepped(900_000, 10.1)
