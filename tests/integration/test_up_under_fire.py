"""Mutants, poison and an aborted transaction on a running ``everwatch up``, judged by its own commands."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import test_mutants as mutants
import test_poison as poison
from confluent_kafka import Producer
from conftest import NewPipeline
from support.command import run
from support.mutants import Mutant, Mutator
from support.pipeline import PARTITIONS, Pipeline, Place, beside, every
from support.process_memory import assert_bounded, resident_bytes
from support.standing_monitors import REGIONS
from support.target import Target
from support.waiting import now_ms, wait_until
from test_transactions import Transaction

pytestmark = [pytest.mark.integration, pytest.mark.heavy]
CHECKS = ("tick", "site")


def children_of(up: subprocess.Popen[bytes]) -> dict[str, tuple[int, int]]:
    """Each process that ``up`` has started: what it is, its pid, and its memory now, bytes."""
    found = {}
    for child in psutil.Process(up.pid).children(recursive=True):
        words = child.cmdline()
        name = words[words.index("everwatch") + 1] if "everwatch" in words[:-1] else f"{child.name()} {child.pid}"
        found[name] = child.pid, resident_bytes(child.pid)
    return found


def audited(pipeline: Pipeline, user_id: str, since: str) -> dict[str, Any]:
    found = run(
        "audit", "--user", user_id, "--since", since, "--settle", "3s", "--json", environment=pipeline.environment
    )
    told: dict[str, Any] = json.loads(found.stdout)
    return told


def test_up_restarts_nothing_and_a_user_beside_all_that_misses_nothing(
    new_pipeline: NewPipeline, target: Target, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # test_mutants sends all of them to processes without the others of ``up``
    count, seed = request.config.getoption("--mutants") // 4, request.config.getoption("--fuzz-seed")
    pipeline = new_pipeline(output_format="json", regions=",".join(REGIONS))
    log = tmp_path / "up.log"
    with log.open("wb") as stream:
        up = subprocess.Popen(
            [sys.executable, "-m", "everwatch", "up"], env=pipeline.environment, stdout=stream, stderr=stream
        )
    try:
        wait_until("up is up", lambda: "Everwatch is up" in log.read_text() or up.poll() is not None, 120)
        assert up.poll() is None, log.read_text()
        mutants.sign_up_standing(pipeline)
        for number in range(PARTITIONS):
            site = beside(every("site", "http", url=target.url(f"/ok-{number}")))
            pipeline.sign_up(f"control-{number}", every("tick", "noop"), site, partition=number)
        wait_until("the sink has made the database", pipeline.has_database, 60)
        for number in range(PARTITIONS):
            for check in CHECKS:
                pipeline.wait_for_results(f"control-{number}", check)
        mutants.wait_for_standing(pipeline)
        before = children_of(up)
        begun = now_ms()
        bootstrap, inputs = pipeline.settings.bootstrap_servers, mutants.inputs_of(pipeline)
        sent: dict[Place, Mutant] = {}
        # before all else: the marker of an abort at a partition's end is nothing that a group could acknowledge
        aborted = Transaction(pipeline)
        aborted.producer.abort_transaction(30)
        for number, each in enumerate(inputs):
            made = Mutator(f"{seed}-{number}", begun, PARTITIONS).mutants(each.topic, each.role, count)
            sent |= mutants.send(bootstrap, made)
            sent |= mutants.send_bombs(bootstrap, each, begun)
        poisons = send_poisons(pipeline, 2)
        sent |= {place: poisoned(place, each) for place, each in poisons.items()}
        ends = mutants.ends_of(bootstrap, inputs)
        wait_until("everything is read", lambda: not mutants.behind(bootstrap, ends), mutants.WITHIN_S, 0.5)
        upto = now_ms()
        for number in range(PARTITIONS):
            for check in CHECKS:
                pipeline.wait_for_results(f"control-{number}", check, after=upto)

        since = f"{(now_ms() - begun) // 1000 + 1}s"
        for number in range(PARTITIONS):
            told = audited(pipeline, f"control-{number}", since)
            assert told["missed"] == 0, told
        lag = run("lag", "--json", environment=pipeline.environment)
        rows = [json.loads(line) for line in lag.stdout.splitlines()]
        rows = [row for row in rows if not row["topic"].startswith(regional_topics(pipeline))]
        assert rows
        assert not [row for row in rows if row["lag_s"] is None or row["lag_s"] > 10]
        refused = mutants.judge_letters(pipeline, sent, seed)
        wanted = {(place, process) for place, each in poisons.items() for process in each.by}
        # a worker may pass over a result of a monitor that there is not
        wanted -= {(place, "worker") for place in poisons if place.topic == pipeline.topics.results}
        assert wanted <= refused
        mutants.judge_standing(pipeline, seed)
        assert not pipeline.reader.monitors("bob")
        assert up.poll() is None
        assert "started again" not in log.read_text()
        assert {pid for pid, _ in children_of(up).values()} == {pid for pid, _ in before.values()}
        print(  # noqa: T201
            f"{len(sent)} sent, {len(refused)} refusals, each once, {since} watched, 0 missed, 0 restarts; peak memory"
            f" above that at the start: {assert_bounded(before)}"
        )
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(240)


def send_poisons(pipeline: Pipeline, partition: int) -> dict[Place, poison.Poison]:
    """Send each poison once; gives where they are."""
    settings = {"bootstrap.servers": pipeline.settings.bootstrap_servers, "compression.type": "zstd"}
    producer = Producer(settings | {"message.max.bytes": 10_000_000})
    read = [each for each in poison.poisons(pipeline) if not each.topic.startswith(regional_topics(pipeline))]
    return {poison.produce(producer, each, partition): each for each in read}


def regional_topics(pipeline: Pipeline) -> tuple[str, ...]:
    """How the topics begin that nobody reads here: no executor of a region runs."""
    return tuple(f"{pipeline.settings.topic_prefix}ticks.{region}" for region in REGIONS)


def poisoned(place: Place, each: poison.Poison) -> Mutant:
    """A poison as the account of what was sent has it: somebody must refuse it."""
    return Mutant(
        place.topic, place.partition, each.key, each.value, [], 0, "zstd", "", hopeless=bool(each.by), untouched=False
    )
