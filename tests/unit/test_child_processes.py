"""Processes that a command starts, watches over and stops."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_until

from everwatch.cli.support.child_processes import Children
from everwatch.cli.support.log_rotation import LARGEST_LOG_BYTES, rotate
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


def test_log_that_grows_too_large_is_begun_anew_and_the_process_writes_on(children: Children, tmp_path: Path) -> None:
    log, older = tmp_path / "writes.log", tmp_path / "writes.log.1"
    program = (
        "import os, time\n"
        f"print('x' * {LARGEST_LOG_BYTES}, flush=True)\n"
        f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n"
        "print('y', flush=True)\n"
        "time.sleep(60)\n"
    )
    children.start("writes", [sys.executable, "-c", program], {}, log)
    wait_until("it has written", lambda: log.exists() and log.stat().st_size > LARGEST_LOG_BYTES)
    assert children.look_after() == []
    assert (log.stat().st_size, older.stat().st_size) == (0, LARGEST_LOG_BYTES + 1)
    (tmp_path / "go").touch()
    # it appends: at the beginning of the emptied file
    wait_until("it writes on", lambda: log.read_text() == "y\n")


def test_only_the_newest_older_log_is_kept_and_none_where_there_is_no_room(tmp_path: Path) -> None:
    log, older = tmp_path / "a.log", tmp_path / "a.log.1"
    assert not rotate(log)
    for text in ("first", "second"):
        log.write_text(text)
        assert not rotate(log, 100)
        assert rotate(log, 4)
        assert (log.read_text(), older.read_text()) == ("", text)
    older.unlink()
    older.mkdir()  # nothing can be copied there
    log.write_text("third")
    assert rotate(log, 4)
    assert log.read_text() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1"]
