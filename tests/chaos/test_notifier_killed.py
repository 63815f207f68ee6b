"""The notifier as a process, killed by SIGKILL at the steps that docs/notifications.md numbers.

A hundred kills, at each instant of each step: tests/live/test_notifier_killed_often.py.
"""

from collections.abc import Callable, Iterator

import pytest
from support.killing import KillTrial, Receivers
from support.pipeline import Pipeline

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
# one of each numbered step; 6 has two instants
SHORT = ("read", "-stored", "judged", "-composed", "begun", "handed-over", "-settled", "published")


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with Receivers() as server:
        yield server


def test_a_notifier_that_is_killed_at_any_step_tells_each_change_once_by_its_id(
    new_pipeline: Callable[[], Pipeline], receivers: Receivers
) -> None:
    trial = KillTrial(new_pipeline(), receivers)
    for number, step in enumerate(SHORT):
        receivers.pager_is_away = number < 5
        trial.go_down(2)
        trial.die_at(step)
    trial.tell_all()
    trial.check()
