"""A hundred SIGKILLs of the notifier, at each instant of each step, while a receiver is away for minutes."""

import os
import random
import time
from collections.abc import Callable

import pytest
from support.dying_notifier import STEPS
from support.killing import KillTrial, Receivers
from support.pipeline import Pipeline
from support.waiting import now_ms

pytestmark = pytest.mark.live


def test_a_hundred_kills_while_a_receiver_is_away_for_minutes_lose_nothing_and_tell_nothing_twice(
    new_pipeline: Callable[[], Pipeline],
) -> None:
    seed = int(os.environ.get("SEED", "0")) or now_ms()
    chance = random.Random(seed)
    print(f"SEED={seed}")
    with Receivers() as receivers:
        trial = KillTrial(new_pipeline(), receivers)
        began = time.monotonic()
        for number in range(100):
            receivers.pager_is_away = number < 85
            trial.go_down(chance.randint(1, 5))
            # six times at each instant of each step, and 22 times at any other
            step = STEPS[number % len(STEPS)] if number < 6 * len(STEPS) else ""
            trial.die_at(step, chance.uniform(0.5, 5))
            if number % 10 == 9:
                print(f"{number + 1} kills in {time.monotonic() - began:.0f} s, {receivers.came} requests taken")
        trial.tell_all()
        trial.check()
        told = len(trial.monitors)
        print(f"{told} incidents came to both receivers, each under one id; {receivers.came} requests taken")
