"""Mutants, poison and an aborted transaction on a running ``everwatch up``, judged by its own commands."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import test_mutants as mutants
import test_poison as poison
from confluent_kafka import Producer
from conftest import NewPipeline
from support.batches import bomb, send_batches
from support.command import run
from support.mutants import Mutator
from support.pipeline import PARTITIONS, Pipeline, Place, every
from support.waiting import now_ms, wait_until
from test_transactions import Transaction

pytestmark = [pytest.mark.integration, pytest.mark.heavy]
COUNT = 300


def audited(pipeline: Pipeline, user_id: str, since: str) -> dict[str, Any]:
    found = run(
        "audit", "--user", user_id, "--since", since, "--settle", "3s", "--json", environment=pipeline.environment
    )
    told: dict[str, Any] = json.loads(found.stdout)
    return told


def test_up_restarts_nothing_and_a_user_beside_all_that_misses_nothing(
    new_pipeline: NewPipeline, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pipeline, seed = new_pipeline(output_format="json"), request.config.getoption("--fuzz-seed")
    log = tmp_path / "up.log"
    with log.open("wb") as stream:
        up = subprocess.Popen(
            [sys.executable, "-m", "everwatch", "up"], env=pipeline.environment, stdout=stream, stderr=stream
        )
    try:
        wait_until("up is up", lambda: "Everwatch is up" in log.read_text(), 120)
        for number in range(PARTITIONS):
            pipeline.sign_up(f"control-{number}", every("tick", "noop"), partition=number)
        wait_until("the sink has made the database", pipeline.has_database, 60)
        for number in range(PARTITIONS):
            pipeline.wait_for_results(f"control-{number}", "tick")
        begun = now_ms()
        bootstrap, inputs = pipeline.settings.bootstrap_servers, mutants.inputs_of(pipeline)
        sent: set[Place] = set()
        # before all else: the marker of an abort at a partition's end is nothing that a group could acknowledge
        aborted = Transaction(pipeline)
        aborted.producer.abort_transaction(30)
        for number, each in enumerate(inputs):
            made = Mutator(f"{seed}-{number}", begun, PARTITIONS).mutants(each.topic, each.role, COUNT)
            sent |= mutants.send(bootstrap, made).keys()
            (at,) = send_batches(bootstrap, [(each.topic, 1, bomb("zstd", 90 * mutants.MB, begun, honest=2))])
            sent.add(Place(each.topic, 1, at or 0))
        large = {"bootstrap.servers": bootstrap, "compression.type": "zstd", "message.max.bytes": 10_000_000}
        producer = Producer(large)
        sent |= {poison.produce(producer, each, 2) for each in poison.poisons(pipeline)}
        ends = mutants.ends_of(bootstrap, inputs)
        wait_until("everything is read", lambda: not mutants.behind(bootstrap, ends), 300, 0.5)
        upto = now_ms()
        for number in range(PARTITIONS):
            pipeline.wait_for_results(f"control-{number}", "tick", after=upto)

        since = f"{(now_ms() - begun) // 1000 + 1}s"
        for number in range(PARTITIONS):
            told = audited(pipeline, f"control-{number}", since)
            assert told["missed"] == 0, told
        lag = run("lag", "--json", environment=pipeline.environment)
        rows = [json.loads(line) for line in lag.stdout.splitlines()]
        assert rows
        assert not [row for row in rows if row["lag_s"] is None or row["lag_s"] > 10]
        letters = [poison.source_of(letter) for letter in pipeline.read(pipeline.topics.dead_letters)]
        assert len(letters) == len(set(letters))
        assert {place for place, _ in letters} <= sent
        assert not pipeline.reader.monitors("bob")
        assert up.poll() is None
        assert "started again" not in log.read_text()
        print(f"{len(sent)} sent, {len(letters)} refusals, each once, {since} watched, 0 missed, 0 restarts")  # noqa: T201
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(240)
