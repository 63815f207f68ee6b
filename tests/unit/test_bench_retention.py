"""The load that ``bench retention`` simulates."""

import pytest

from bench import retention
from everwatch.schedule.duration import HOUR_MS
from everwatch.store import SinkBatch


@pytest.mark.parametrize("rate", [1, 7, 40])
def test_each_monitor_has_a_result_a_minute_and_every_result_is_in_one_batch(rate: int) -> None:
    batches: list[SinkBatch] = list(retention.batches(rate, hours=1))
    results = [received for batch in batches for received in batch.results]
    assert [received.offset for received in results] == list(range(rate * 3_600))
    assert len({(received.value.user_id, received.value.scheduled_at) for received in results}) == rate * 3_600
    users = {received.value.user_id for received in results}
    assert len(users) == 60 * rate
    begin, end = retention.BEGIN_MS, retention.BEGIN_MS + HOUR_MS
    assert all(begin <= received.value.scheduled_at < end for received in results)
    # no batch is stored before what it holds was due
    assert all(received.value.scheduled_at < batch.stored_at for batch in batches for received in batch.results)
    assert max(len(batch.results) for batch in batches) <= retention.MOST_RECORDS
    changes = [received for batch in batches for received in batch.transitions]
    assert [received.offset for received in changes] == list(range(len(changes)))
    assert len(changes) == 2 * sum(received.value.reason == "status 503" for received in results)
