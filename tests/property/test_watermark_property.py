"""The watermark against a naive model that keeps everything."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from everwatch.executor.watermark import Watermark


class WatermarkMachine(RuleBasedStateMachine):
    """Begins with gaps, finishes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.watermark = Watermark()
        self.begun: list[int] = []
        self.finished: set[int] = set()
        self.next = 0

    @rule(gap=st.integers(0, 3))
    def begin(self, gap: int) -> None:
        offset = self.next + gap
        assert self.watermark.begin(offset)
        self.begun.append(offset)
        self.next = offset + 1

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def begin_again(self, data: st.DataObject) -> None:
        assert not self.watermark.begin(data.draw(st.sampled_from(self.begun)))

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.begun))
        assert self.watermark.finish(offset) == (offset not in self.finished)
        self.finished.add(offset)

    @invariant()
    def low_is_just_above_the_longest_finished_prefix(self) -> None:
        low = None
        for offset in self.begun:
            if offset not in self.finished:
                break
            low = offset + 1
        assert self.watermark.low == low

    @invariant()
    def outstanding_is_what_is_begun_and_not_finished(self) -> None:
        assert self.watermark.outstanding == len(set(self.begun) - self.finished)

    @invariant()
    def the_span_is_what_another_owner_would_begin_again(self) -> None:
        low = self.watermark.low or 0
        assert self.watermark.span == len([offset for offset in self.begun if offset >= low])


WatermarkMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestWatermark = WatermarkMachine.TestCase
