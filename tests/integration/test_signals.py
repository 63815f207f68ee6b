"""Tests of what jobs and metrics say on the topic of signals, as a user of results and states sees it."""

import pytest
from conftest import NewPipeline
from support.pipeline import FEW, Pipeline, every
from support.waiting import now_ms, wait_until

from everwatch.model import Result, Status

pytestmark = pytest.mark.integration
USER = "signals"


def test_a_job_and_a_metric_go_through_failure_and_recovery_across_a_restart(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline(partitions=FEW)
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    pipeline.sign_up(
        USER,
        every("job", "heartbeat", period="1h", max_duration="2s"),
        every("queue", "threshold", above=100, clear=90, **{"for": "2s"}),
    )
    wait_until("the monitors are known", lambda: pipeline.monitor(USER, "queue"), 30)

    said(pipeline, "job", type="start")
    said(pipeline, "queue", value=42)
    pipeline.wait_for_states(USER, job="down", queue="up")
    assert "running since" in newest(pipeline, "job", Status.FAILURE).reason

    said(pipeline, "job", exit_code=3)
    said(pipeline, "queue", value=120)
    pipeline.wait_for_states(USER, job="down", queue="down")
    assert "the job failed with exit code 3 after" in newest(pipeline, "job", Status.FAILURE).reason
    assert newest(pipeline, "job", Status.FAILURE).timings["duration"] >= 2_000
    assert newest(pipeline, "queue", Status.FAILURE).reason.startswith("120 is above 100 since")

    assert pipeline.processes["worker"].stop() == 0
    restarted = now_ms()
    pipeline.ensure("worker")
    said(pipeline, "queue", value=95)
    pipeline.wait_for_results(USER, "job", 2, after=restarted)
    wait_until(
        "what lies between limit and clear is a failure after the restart too",
        lambda: "not back at 90" in pipeline.results(USER, "queue")[-1].reason,
        60,
    )
    assert newest(pipeline, "job").status is Status.FAILURE

    said(pipeline, "job", duration_ms=1_250)
    said(pipeline, "queue", value=90)
    said(pipeline, "job", value=1)
    said(pipeline, "queue")
    pipeline.wait_for_states(USER, job="up", queue="up")
    assert newest(pipeline, "job").timings == {"duration": 1_250}
    refused = [
        dict(letter.headers())["path"].decode()
        for letter in pipeline.read(pipeline.topics.dead_letters)
        if letter.key() == USER.encode()
    ]
    assert refused == ["$.value", "$.value"]


def test_runs_that_overlap_and_jobs_that_run_by_cron_are_judged_across_a_restart(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline(partitions=FEW)
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    two_hours_ago = now_ms() - 7_200_000
    pipeline.sign_up(
        USER,
        every("runs", "heartbeat", period="1h", min_duration="1s", max_duration="3s"),
        every("nightly", "heartbeat", cron="* * * * *", timezone="Europe/Berlin", grace="1h"),
    )
    wait_until("the monitors are known", lambda: pipeline.monitor(USER, "nightly"), 30)

    # its only success is two hours old by its timestamp
    said(pipeline, "nightly", at=two_hours_ago)
    said(pipeline, "runs", type="start", run="a")
    said(pipeline, "runs", type="start", run="b")
    said(pipeline, "runs", run="b", duration_ms=2_000)
    pipeline.wait_for_states(USER, runs="down", nightly="late")
    assert "one was expected at" in newest(pipeline, "nightly", Status.LATE).reason
    assert newest(pipeline, "runs", Status.FAILURE).reason.startswith("run 'a' has been running since")

    assert pipeline.processes["worker"].stop() == 0
    restarted = now_ms()
    pipeline.ensure("worker")
    said(pipeline, "nightly")
    wait_until(
        "the run is known after the restart",
        lambda: any(
            result.status is Status.FAILURE and result.scheduled_at > restarted
            for result in pipeline.results(USER, "runs")
        ),
        60,
    )
    said(pipeline, "runs", run="c", duration_ms=5)
    wait_until("a run was too short", lambda: "took 0.005 s" in newest(pipeline, "runs").reason, 60)
    said(pipeline, "runs", run="d", duration_ms=2_500)
    pipeline.wait_for_states(USER, runs="up", nightly="up")


def said(pipeline: Pipeline, monitor_id: str, **more: object) -> None:
    pipeline.send(pipeline.topics.signals, USER, {"user_id": USER, "monitor_id": monitor_id, **more})


def newest(pipeline: Pipeline, monitor_id: str, status: Status | None = None) -> Result:
    results = pipeline.results(USER, monitor_id)
    return [result for result in results if status is None or result.status is status][-1]
