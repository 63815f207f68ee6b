"""Folding of the roll-up journal beside the batches: one call after the other, whatever becomes of it."""

import logging
import threading
from collections.abc import Collection

import pytest
from support.waiting import wait_until

from everwatch.store.folding_beside import FoldingBeside
from everwatch.store.rollup_journal import BUCKETS


class Slow:
    """Folds nothing before it may."""

    def __init__(self) -> None:
        self.begun: list[list[int]] = []
        self.may_end = threading.Event()

    def __call__(self, buckets: Collection[int]) -> None:
        self.begun.append(list(buckets))
        assert self.may_end.wait(60)


def test_batches_do_not_wait_for_a_fold_and_buckets_whose_turn_comes_meanwhile_are_next() -> None:
    slow = Slow()
    folding = FoldingBeside(slow)
    folding.begin([3])
    for bucket in (5, 4, 5):
        folding.begin([bucket])
    wait_until("the first fold has begun", lambda: slow.begun == [[3]])
    slow.may_end.set()

    def is_next() -> bool:
        folding.begin([])
        return slow.begun == [[3], [4, 5]]

    wait_until("the others are next", is_next)
    folding.close()


def test_a_batch_waits_when_every_bucket_waits() -> None:
    slow = Slow()
    folding = FoldingBeside(slow)
    folding.begin([0])
    waiting = threading.Thread(target=folding.begin, args=[range(BUCKETS)])
    waiting.start()
    wait_until("the fold has begun", lambda: slow.begun == [[0]])
    assert waiting.is_alive()
    slow.may_end.set()
    waiting.join(60)
    assert not waiting.is_alive()
    folding.close()
    assert slow.begun == [[0], list(range(BUCKETS))]


def test_a_fold_that_fails_stops_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Collection[int]) -> None:
        raise OSError("the server is away")

    folding = FoldingBeside(fail)
    with caplog.at_level(logging.WARNING):
        folding.begin([1])
        folding.close()
    assert caplog.messages == ["Roll-ups stay in their journal for ten minutes more: the server is away"]
