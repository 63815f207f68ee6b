"""The broker itself is killed and comes back."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.account import skipped_ticks
from support.api_process import ApiSession, started_api
from support.pipeline import Pipeline, beside, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.core.clock import SystemClock
from everwatch.kafka.embedded import EmbeddedKafka, EmbeddedKafkaSettings

pytestmark = pytest.mark.chaos
USERS = 20
AWAY_MS = 5_000


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A broker of the test's own, at a port that nobody takes while it is away."""
    port = 20_000 + os.getpid() % 10_000
    # it registers again soon: what is due meanwhile is to run late, not to be skipped
    soon = {"broker.session.timeout.ms": "4000", "broker.heartbeat.interval.ms": "1000"}
    settings = EmbeddedKafkaSettings(tmp_path / "kafka", port=port, heap_mb=256, overrides=soon)
    with EmbeddedKafka(settings, SystemClock()) as kafka:
        yield kafka


@pytest.fixture
def pipeline(mortal: EmbeddedKafka, tmp_path: Path) -> Iterator[Pipeline]:
    """A worker, an executor and a sink on that broker."""
    with Pipeline(tmp_path, mortal.bootstrap_servers, "") as running:
        running.ensure("worker", "executor", "sink")
        running.wait_until_ready()
        yield running


def test_killed_broker_that_comes_back_costs_no_tick_and_one_that_stays_away_keeps_nobody_from_stopping(
    mortal: EmbeddedKafka, pipeline: Pipeline, target: Target
) -> None:
    for number in range(USERS):
        user = f"user-{number}"
        pipeline.sign_up(
            user, every("nothing", "noop"), beside(every("site", "http", "2s", url=target.url(f"/ok/{user}")))
        )
    for number in range(USERS):
        pipeline.wait_for_states(f"user-{number}", nothing="up", site="up")

    api, address = started_api(pipeline)
    http = ApiSession(address)
    key = http.ask("GET", "/v1/users/user-0/ping-key").json()["key"]
    pings = f"/ping/{key}/nothing"
    assert http.ask("GET", pings).status_code == 200

    began = now_ms()
    os.kill(mortal.pid, signal.SIGKILL)
    wait_until("the broker is dead", lambda: not mortal.alive())
    # each of them ends: none is left waiting for the broker
    for refused in (http.ask("PUT", "/v1/users/late", {}), http.ask("GET", pings)):
        assert (refused.status_code, refused.json()["code"]) == (503, "kafka_unavailable")
        assert refused.headers["Content-Type"] == "application/problem+json"
    assert http.ask("GET", "/v1/users/user-0").status_code == 200, "reads go on"
    pipeline.wait_for_time(began + AWAY_MS)
    mortal.start()
    back = now_ms()
    wait_until(
        "results come in again",
        lambda: any(each.result.scheduled_at > back for each in pipeline.reader.results(limit=1)),
        60,
    )
    wait_until("pings are taken again", lambda: http.ask("GET", pings).status_code == 200, 60)
    wrote = http.ask("PUT", "/v1/users/late", {}, Prefer="wait=30")
    assert wrote.status_code in (200, 201)
    read = http.ask("GET", "/v1/users/late", Everwatch_After=wrote.headers["Everwatch-Position"])
    assert read.status_code == 200, "what is acknowledged is kept"
    upto = now_ms() + 1_000
    pipeline.wait_for_time(upto)
    account = pipeline.wait_for_balance(began, upto, 40)
    assert account.balanced, account
    assert account.due >= USERS * (upto - began) // 1_000
    assert not skipped_ticks(pipeline.reader, began, upto)
    assert {name for name, process in pipeline.processes.items() if process.runs} == {"worker", "executor", "sink"}

    os.kill(mortal.pid, signal.SIGKILL)
    wait_until("the broker is dead again", lambda: not mortal.alive())
    assert api.stop() == 0
    assert {name: process.stop() for name, process in pipeline.processes.items()} == {
        "worker": 0,
        "executor": 0,
        "sink": 0,
    }, "every process stops cleanly, and in time, although the broker is away"
