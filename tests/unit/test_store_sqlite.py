"""SQLite as a sink's database: one sink, and one sentence for what keeps it from being one."""

import errno
import fcntl
import os
import tracemalloc
from pathlib import Path

import pytest
from support.new_databases import open_new_store

from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.model import Result, Status
from everwatch.store import Partition, Received, SinkBatch, open_reader
from everwatch.store.database import as_writer
from everwatch.store.rollup_counts import RollupStep
from everwatch.store.rollup_journal import FOLD_EVERY_MS


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


def test_roll_ups_of_a_user_with_many_results_are_rebuilt_without_holding_them(tmp_path: Path) -> None:
    source, at = Partition("results", 0), 20_000 * 86_400_000
    store = open_new_store(Settings(data_dir=tmp_path))
    for begin in range(0, 40_000, 5_000):
        results = [
            Received(source, n, at, Result("anna", "shop", at + n, "http", 1, Status.SUCCESS, "", at, 1.0))
            for n in range(begin, begin + 5_000)
        ]
        store.apply(SinkBatch(at, {source: begin + 5_000}, results))
    # what is in the journal is folded
    store.trim(at + FOLD_EVERY_MS, 1)
    tracemalloc.start()
    assert store.rebuild_rollups(0) is None
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    store.close()
    # all rows take more than 10 MB
    assert most < 4_000_000
    reader = open_reader(Settings(data_dir=tmp_path))
    [hour] = reader.rollups("anna", "shop", RollupStep.HOUR)
    assert hour.successes == 40_000
    reader.close()
