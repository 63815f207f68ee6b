"""``EVERWATCH_OUTPUT_FORMAT=json``."""

import orjson
import pytest
from conftest import NewPipeline
from support.pipeline import FEW, every
from support.target import Target

pytestmark = pytest.mark.integration


def test_results_and_transitions_are_json_where_that_is_set(new_pipeline: NewPipeline, target: Target) -> None:
    pipeline = new_pipeline(output_format="json", partitions=FEW)
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    pipeline.sign_up("j", every("site", "http", url=target.url("/broken/j")), every("nothing", "noop"))
    pipeline.wait_for_states("j", site="down", nothing="up")
    stored = pipeline.wait_for_results("j", "site")[0]

    results = [orjson.loads(message.value()) for message in pipeline.read(pipeline.topics.results)]
    first = next(result for result in results if result["monitor_id"] == "site")
    assert (first["user_id"], first["status"], first["reason"]) == ("j", "failure", stored.reason)
    assert first["scheduled_at"] == stored.scheduled_at
    told = [orjson.loads(message.value()) for message in pipeline.read(pipeline.topics.transitions)]
    assert {(t["monitor_id"], t["from_state"], t["to_state"]) for t in told} == {
        ("site", "new", "down"),
        ("nothing", "new", "up"),
    }
