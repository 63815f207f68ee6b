"""Processes that a command starts, watches over and stops."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_until

from everwatch.cli.support.child_processes import Children
from everwatch.core.clock import SettableClock

WAITS = [sys.executable, "-c", "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"]


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def children(clock: SettableClock) -> Iterator[Children]:
    running = Children(clock, print)
    yield running
    running.stop()


def pids(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def test_one_that_dies_is_started_again_after_a_pause_and_all_are_stopped(
    children: Children, clock: SettableClock, tmp_path: Path
) -> None:
    log = tmp_path / "waits.log"
    children.start("waits", WAITS, {}, log)
    [first] = wait_until("it runs", lambda: pids(log))
    assert children.look_after() == []
    os.kill(first, signal.SIGKILL)
    [died] = wait_until("its end is noticed", children.look_after)
    assert died == f"waits was killed by signal 9; see {log}"
    assert children.look_after() == []  # not at once
    clock.advance(2_000)
    [again] = children.look_after()
    assert again.startswith("waits started again (pid ")
    _, second = wait_until("it runs again", lambda: len(found := pids(log)) == 2 and found)
    children.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_what_died_is_not_started_while_that_would_be_in_vain(children: Children, clock: SettableClock) -> None:
    children.start("sleeper", [sys.executable, "-c", "pass"], {})
    wait_until("its end is noticed", lambda: children.look_after(may_start=False))
    for _ in range(50):
        clock.advance(10_000)
        assert children.look_after(may_start=False) == []
    [again] = children.look_after()
    assert again.startswith("sleeper started again")
