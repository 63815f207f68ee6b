"""The sink and a log that does not hold what the database has stored."""

import pytest
from conftest import NewPipeline
from support.pipeline import every
from support.waiting import wait_until

from everwatch.store import Partition, SinkBatch, open_store
from everwatch.store.selections import ResultSelection

pytestmark = pytest.mark.integration


def test_a_partition_whose_stored_offset_is_lost_is_read_from_its_beginning_and_the_others_go_on(
    new_pipeline: NewPipeline,
) -> None:
    pipeline = new_pipeline()
    store = open_store(pipeline.settings)
    lost = Partition(pipeline.topics.results, 0)
    store.apply(SinkBatch(1, {lost: 1_000_000}))
    store.close()
    pipeline.ensure("worker", "sink")
    pipeline.wait_until_ready()
    for number in range(2):
        pipeline.sign_up(f"user-{number}", every("nothing", "noop"), partition=number)
    for number in range(2):
        pipeline.wait_for_results(f"user-{number}", "nothing", 3)
    assert "partition 0, does not hold the offset that the database has stored" in pipeline.processes["sink"].logged()
    # at work on all of them afterwards too
    newest = pipeline.results("user-1")[-1].scheduled_at
    for number in range(2):
        pipeline.wait_for_results(f"user-{number}", "nothing", 2, after=newest)
    stored = [
        each for number in range(2) for each in pipeline.reader.results(ResultSelection(f"user-{number}"), limit=1_000)
    ]
    assert {each.deliveries for each in stored} == {1}

    def offsets() -> dict[Partition, int]:
        with_lock = open_store(pipeline.settings)
        try:
            return with_lock.offsets()
        finally:
            with_lock.close()

    wait_until("the lost partition's offset is the log's", lambda: 0 < offsets().get(lost, 0) < 1_000)
