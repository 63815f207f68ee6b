"""The load that ``bench retention`` simulates."""

from collections.abc import Sequence

import pytest

from bench import retention
from everwatch.model import Result, Transition
from everwatch.schedule.duration import HOUR_MS
from everwatch.store import Received, SinkBatch


@pytest.mark.parametrize(("rate", "sinks"), [(1, 1), (7, 2), (40, 1)])
def test_each_monitor_has_a_result_a_minute_and_every_result_is_in_one_batch(rate: int, sinks: int) -> None:
    batches: list[SinkBatch] = []
    for number in range(sinks):
        own: list[SinkBatch] = list(retention.batches(rate, hours=1, number=number, sinks=sinks))
        _check_offsets([received for batch in own for received in batch.results])
        _check_offsets([received for batch in own for received in batch.transitions])
        assert {received.source.number for batch in own for received in batch.results} == {number}
        batches += own
    results = [received for batch in batches for received in batch.results]
    assert len({(received.value.user_id, received.value.scheduled_at) for received in results}) == rate * 3_600
    assert len(results) == rate * 3_600
    assert len({received.value.user_id for received in results}) == 60 * rate
    begin, end = retention.BEGIN_MS, retention.BEGIN_MS + HOUR_MS
    assert all(begin <= received.value.scheduled_at < end for received in results)
    # no batch is stored before what it holds was due
    assert all(received.value.scheduled_at < batch.stored_at for batch in batches for received in batch.results)
    assert max(len(batch.results) for batch in batches) <= retention.MOST_RESULTS
    changes = sum(len(batch.transitions) for batch in batches)
    assert changes == 2 * sum(received.value.reason == "status 503" for received in results)


def _check_offsets(received: Sequence[Received[Result] | Received[Transition]]) -> None:
    assert [each.offset for each in received] == list(range(len(received)))
