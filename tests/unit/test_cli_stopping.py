"""Ctrl-C and SIGTERM end a command in order."""

import signal
from collections.abc import Iterator

import pytest

from everwatch.cli.support.stop_signals import stop_when_signalled


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of the tests' own process come back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sets_the_event_and_interrupts_nothing(number: signal.Signals) -> None:
    stop = stop_when_signalled()
    assert not stop.is_set()
    signal.raise_signal(number)
    signal.raise_signal(number)
    assert stop.is_set()
