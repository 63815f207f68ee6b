"""The watermark: what may be committed when records are finished out of order."""

from everwatch.executor.watermark import Watermark


def begun(*offsets: int) -> Watermark:
    watermark = Watermark()
    for offset in offsets:
        assert watermark.begin(offset)
    return watermark


def test_nothing_is_committed_before_something_is_finished() -> None:
    assert Watermark().low is None
    assert begun(5, 6).low is None


def test_a_slow_record_holds_back_those_after_it() -> None:
    watermark = begun(5, 6, 7)
    watermark.finish(6)
    watermark.finish(7)
    assert watermark.low is None
    assert watermark.outstanding == 1
    watermark.finish(5)
    assert watermark.low == 8
    assert watermark.outstanding == 0


def test_gaps_between_offsets_do_not_hold_it_back() -> None:
    watermark = begun(5, 9, 40)
    watermark.finish(5)
    watermark.finish(9)
    assert watermark.low == 10


def test_a_record_finished_twice_counts_once() -> None:
    watermark = begun(1, 2)
    assert watermark.finish(1)
    assert not watermark.finish(1)
    assert watermark.low == 2
    assert watermark.outstanding == 1


def test_a_record_that_comes_again_is_not_taken_again() -> None:
    watermark = begun(1, 2)
    watermark.finish(1)
    assert not watermark.begin(1)
    assert not watermark.begin(2)
    assert watermark.low == 2


def test_a_record_never_begun_cannot_be_finished() -> None:
    watermark = begun(1)
    assert not watermark.finish(7)
    assert watermark.low is None
