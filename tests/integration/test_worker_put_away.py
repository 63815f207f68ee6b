"""Timetables between two workers: taken up after a stop, built anew after a crash; no tick is missed either way."""

import re
from collections import Counter
from pathlib import Path

import pytest
from conftest import NewPipeline
from support.account import TickAccount, settle_ticks
from support.pipeline import PARTITIONS, Pipeline, every
from support.waiting import now_ms, wait_until

pytestmark = pytest.mark.integration
USERS = [f"user-{number}" for number in range(4 * PARTITIONS)]
LATE = "user-late"
SETTLED_S = 3.0

# on the path of a worker: says of each partition whether its timetable was taken up, and writes no table while the
# file DISK_FULL is there
WITNESS = """
import os, sys
import streams.state.owned_partitions as partitions, streams.state.entry_store as store

take_up, write = partitions.OwnedPartitions.restore_timetable, store.EntryStore.write

def told(self, partition):
    taken = take_up(self, partition)
    print("partition", partition.number, "taken up" if taken else "built anew", file=sys.stderr, flush=True)
    return taken

def full(self, *arguments):
    if os.path.exists("DISK_FULL"):
        raise OSError("no space left on device")
    return write(self, *arguments)

partitions.OwnedPartitions.restore_timetable, store.EntryStore.write = told, full
"""
TOLD = re.compile(r"partition (\d+) (taken up|built anew)")


@pytest.fixture(scope="module")
def disk_full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that makes tables unwritable while it is there."""
    return tmp_path_factory.mktemp("disk") / "full"


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline, disk_full: Path) -> Pipeline:
    """A worker with a few monitors."""
    pipeline = new_pipeline()
    (disk_full.parent / "sitecustomize.py").write_text(WITNESS.replace("DISK_FULL", str(disk_full)))
    pipeline.environment["PYTHONPATH"] = str(disk_full.parent)
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    for number, user in enumerate(USERS):
        pipeline.sign_up(user, every("site", "http", url="http://127.0.0.1:1/"), partition=number % PARTITIONS)
    wait_until("everybody is watched", lambda: set(USERS) <= {each.user_id for each in pipeline.emitted()})
    return pipeline


def start_again(pipeline: Pipeline) -> set[str]:
    """Start another worker; gives what became of its timetables."""
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    told = dict(TOLD.findall(pipeline.processes["worker"].logged()))
    assert set(told) == {str(number) for number in range(PARTITIONS)}
    return set(told.values())


def ticks_on(pipeline: Pipeline) -> None:
    """Wait until everybody has begun and was due since, so that timetables can be put away."""
    pipeline.wait_for_time(now_ms() + int(SETTLED_S * 1000))


def assert_nothing_missed_since(pipeline: Pipeline, began: int, users: list[str]) -> None:
    upto = now_ms() + 1_000
    pipeline.wait_for_time(upto)
    due = {(user, "site"): 1_000 for user in users}

    def settled() -> TickAccount:
        theirs = {tick: count for tick, count in pipeline.emitted().items() if tick.user_id in users}
        return settle_ticks(Counter(theirs), due, began, upto)

    wait_until("nothing is missed", lambda: not settled().missed, 20, 0.5)
    found = settled()
    assert found.complete, found
    assert found.due >= len(users) * ((upto - began) // 1_000 - 1)


def test_after_a_stop_the_next_worker_takes_the_timetables_up(pipeline: Pipeline) -> None:
    began = now_ms()
    ticks_on(pipeline)
    assert pipeline.processes["worker"].stop() == 0
    assert start_again(pipeline) == {"taken up"}
    assert_nothing_missed_since(pipeline, began, USERS)


def test_after_a_kill_the_next_worker_builds_them_anew(pipeline: Pipeline) -> None:
    began = now_ms()
    ticks_on(pipeline)
    pipeline.processes["worker"].kill()
    assert start_again(pipeline) == {"built anew"}
    assert_nothing_missed_since(pipeline, began, USERS)


def test_a_worker_whose_table_cannot_be_written_ends_and_the_next_one_knows_what_was_durable(
    pipeline: Pipeline, disk_full: Path
) -> None:
    began = now_ms()
    ticks_on(pipeline)
    disk_full.touch()
    pipeline.sign_up(LATE, every("site", "http", url="http://127.0.0.1:1/"), partition=0)
    assert pipeline.processes["worker"].wait() != 0
    assert "no space left on device" in pipeline.processes["worker"].logged()
    disk_full.unlink()
    assert start_again(pipeline) == {"built anew"}
    wait_until("who came last is watched", lambda: LATE in {each.user_id for each in pipeline.emitted()})
    assert_nothing_missed_since(pipeline, began, USERS)
    assert_nothing_missed_since(pipeline, now_ms(), [*USERS, LATE])
