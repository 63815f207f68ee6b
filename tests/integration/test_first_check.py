"""A new monitor is checked soon after its signup, however long its interval."""

import pytest
from conftest import NewPipeline
from support.pipeline import FEW, every
from support.target import Target
from support.waiting import wait_until

pytestmark = pytest.mark.integration


def test_a_new_a_changed_and_a_resumed_monitor_are_checked_at_once(new_pipeline: NewPipeline, target: Target) -> None:
    pipeline = new_pipeline(first_check_within_s=1, partitions=FEW)
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    user = "first-check"
    yearly = every("yearly", "http", url=target.url("/ok")) | {"schedule": {"cron": "0 0 29 2 *"}}
    pipeline.sign_up(user, every("shop", "http", "1d", url=target.url("/ok")), every("job", "noop", "1d"), yearly)
    pipeline.wait_for_states(user, shop="up", job="new", yearly="up")
    for monitor_id in ("shop", "yearly"):
        [first] = pipeline.results(user, monitor_id)
        assert first.manual
        monitor = pipeline.monitor(user, monitor_id)
        assert monitor is not None
        assert 0 < first.scheduled_at - monitor.since <= 1_100
    # the second version is looked at, too
    pipeline.sign_up(user, every("shop", "http", "1d", url=target.url("/missing")), every("job", "noop", "1d"), yearly)
    wait_until("the change is seen", lambda: len(pipeline.results(user, "shop")) == 2)
    assert pipeline.results(user, "shop")[-1].version == 2
    pipeline.command("pause", user, "shop")
    pipeline.wait_for_states(user, shop="paused", job="new", yearly="up")
    pipeline.command("resume", user, "shop")
    wait_until("it is checked when it is resumed", lambda: len(pipeline.results(user, "shop")) == 3)
    assert pipeline.results(user, "job") == []
    assert len(pipeline.results(user, "yearly")) == 1
