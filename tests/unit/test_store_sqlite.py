"""SQLite as a sink's database: one sink, and one sentence for what keeps it from being one."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from everwatch.core.errors import StoreError
from everwatch.store.database import as_writer


def test_a_second_sink_is_told_which_process_is_the_first(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'e.db'}"
    with (
        as_writer(url),
        pytest.raises(StoreError, match=f"The sink of process {os.getpid()} stores into"),
        as_writer(url),
    ):
        pass
    with as_writer(url):
        pass


def test_a_file_system_that_locks_nothing_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(StoreError, match=r"e\.db-sink cannot be locked: No locks available\."),
        as_writer(f"sqlite:///{tmp_path / 'e.db'}"),
    ):
        pass


def test_a_full_disk_keeps_nobody_from_being_the_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with as_writer(f"sqlite:///{tmp_path / 'e.db'}"):
        pass
