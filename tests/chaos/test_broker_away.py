"""The broker itself is killed and comes back."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.account import skipped_ticks
from support.pipeline import Pipeline, Process, beside, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.core.clock import SystemClock
from everwatch.kafka.embedded import EmbeddedKafka, EmbeddedKafkaSettings

pytestmark = pytest.mark.chaos
USERS = 20
AWAY_MS = 5_000
TOKEN = "a token of the tests, long enough to be one"


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


def api_of(pipeline: Pipeline) -> tuple[Process, str]:
    """An API process beside them, and its address."""
    environment = pipeline.environment | {"EVERWATCH_API_ADMIN_TOKEN": TOKEN, "EVERWATCH_API_PORT": "0"}
    process = Process("api", environment, pipeline.settings.data_dir / "api.log")
    found = wait_until("the API serves", lambda: re.search(r"^API: (\S+)$", process.logged(), re.MULTILINE), 60)
    return process, found[1]


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

    api, address = api_of(pipeline)
    http = requests.Session()
    http.headers["Authorization"] = f"Bearer {TOKEN}"
    pings = f"{address}/ping/{http.get(f'{address}/v1/users/user-0/ping-key').json()['key']}/nothing"
    assert http.get(pings).status_code == 200

    began = now_ms()
    os.kill(mortal.pid, signal.SIGKILL)
    wait_until("the broker is dead", lambda: not mortal.alive())
    for refused in (http.put(f"{address}/v1/users/late", json={}), http.get(pings)):
        assert (refused.status_code, refused.json()["code"]) == (503, "kafka_unavailable")
        assert refused.headers["Content-Type"] == "application/problem+json"
    assert http.get(f"{address}/v1/users/user-0").status_code == 200, "reads go on"
    pipeline.wait_for_time(began + AWAY_MS)
    mortal.start()
    back = now_ms()
    wait_until(
        "results come in again",
        lambda: any(each.result.scheduled_at > back for each in pipeline.reader.results(limit=1)),
        60,
    )
    wait_until("pings are taken again", lambda: http.get(pings).status_code == 200, 60)
    wrote = http.put(f"{address}/v1/users/late", json={}, headers={"Prefer": "wait=30"})
    assert wrote.status_code in (200, 201)
    read = http.get(f"{address}/v1/users/late", headers={"Everwatch-After": wrote.headers["Everwatch-Position"]})
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
