"""Executors of three regions run the same ticks; one that is killed makes nothing down, and verdicts go on.

What a region has not run is in a backup, and goes along to another partition count.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import NewPipeline
from support.command import run
from support.pipeline import FEW, Pipeline, Process, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.backup.folder import read_manifest
from everwatch.model import Result, Status
from everwatch.store.selections import TransitionSelection

pytestmark = [pytest.mark.integration, pytest.mark.heavy]
REGIONS = ("ap", "eu", "us")
USER = "anna"


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    pipeline = new_pipeline(regions=",".join(REGIONS), partitions=FEW)
    pipeline.ensure("worker", "sink")
    pipeline.wait_until_ready()
    return pipeline


@pytest.fixture(scope="module")
def executors(pipeline: Pipeline) -> dict[str, Process]:
    """One of each region; that of ap reaches no address of this machine."""
    for region in REGIONS:
        environment = pipeline.environment | {"EVERWATCH_REGION": region}
        if region == "ap":
            environment["EVERWATCH_ALLOW_NETWORKS"] = ""
        log = pipeline.settings.data_dir / f"executor-{region}.log"
        pipeline.processes[f"executor-{region}"] = Process("executor", environment, log)
    return {region: pipeline.processes[f"executor-{region}"] for region in REGIONS}


def run_executors(pipeline: Pipeline, *regions: str) -> None:
    for region in regions:
        log = pipeline.settings.data_dir / f"executor-{region}.log"
        pipeline.processes[f"executor-{region}"] = Process(
            "executor", pipeline.environment | {"EVERWATCH_REGION": region}, log
        )


def site(name: str, port: int, *, regions: tuple[str, ...] = REGIONS, **policy: object) -> dict[str, Any]:
    rules = {"regions": list(regions), "timeout": "1s", "misfire_grace": "10s", **policy}
    return every(name, "http", url=f"http://127.0.0.1:{port}/") | {"policy": rules}


def answered(results: list[Result], after: int = 0) -> dict[str, set[Status]]:
    """Return what each region found."""
    found: dict[str, set[Status]] = {}
    for result in results:
        if result.scheduled_at > after and result.status is not Status.SKIPPED:
            found.setdefault(result.region, set()).add(result.status)
    return found


def test_verdicts_are_a_quorums_and_go_on_without_a_region_that_was_killed(
    pipeline: Pipeline, executors: dict[str, Process], target: Target
) -> None:
    pipeline.sign_up(USER, *(site(each, target.port, quorum=each) for each in ("any", "majority", "all")))
    pipeline.wait_for_states(USER, 60, any="down", majority="up", all="up")
    wait_until("all regions answer", lambda: len(answered(pipeline.results(USER, "majority"))) == 3, 60)
    assert answered(pipeline.results(USER, "majority")) == {
        "ap": {Status.FAILURE}, "eu": {Status.SUCCESS}, "us": {Status.SUCCESS},
    }  # fmt: skip
    identities = Counter(
        (each.monitor_id, each.scheduled_at, each.attempt, each.region) for each in pipeline.results(USER)
    )
    assert max(identities.values()) == 1

    executors["us"].kill()
    killed_at = now_ms()
    before = len(pipeline.reader.transitions(TransitionSelection(USER)))
    wait_until(
        "both others have gone on", lambda: sum(
            each.region == "eu" and each.scheduled_at > killed_at + 8_000 for each in pipeline.results(USER, "majority")
        ) > 3, 60,
    )  # fmt: skip
    pipeline.wait_for_states(USER, any="down", majority="up", all="up")
    assert len(pipeline.reader.transitions(TransitionSelection(USER))) == before

    # with a region gone, those that are left decide
    pipeline.command("put", USER, "gone", monitor=site("gone", 9, quorum="all"))
    pipeline.wait_for_states(USER, 60, any="down", majority="up", all="up", gone="down")
    [reached] = pipeline.reader.transitions(TransitionSelection(USER, "gone"))
    assert "no answer from us" in reached.reason


def test_a_monitor_without_regions_is_run_by_executors_without_one(pipeline: Pipeline, target: Target) -> None:
    pipeline.ensure("executor")
    pipeline.sign_up("bert", every("plain", "http", url=f"http://127.0.0.1:{target.port}/"))
    pipeline.wait_for_states("bert", 60, plain="up")
    assert set(answered(pipeline.results("bert"))) == {""}


def test_a_region_that_the_setting_does_not_name_is_refused(pipeline: Pipeline, target: Target) -> None:
    pipeline.sign_up("carl", site("far", target.port, regions=("mars",)))
    letters = wait_until(
        "the signup is refused", lambda: [m for m in pipeline.read(pipeline.topics.dead_letters) if m.key() == b"carl"]
    )
    headers = dict(letters[0].headers() or [])
    assert b"'mars' is not known; known: ap, eu, us" in b" ".join(value for value in headers.values() if value)


def told(pipeline: Pipeline, *arguments: str) -> dict[str, Any]:
    said = run(*arguments, "--json", environment=pipeline.environment)
    assert said.returncode in (0, 1), said.stderr
    found: dict[str, Any] = orjson.loads(said.stdout)
    return found


def wait_until_nothing_is_missed(pipeline: Pipeline, began: int) -> None:
    """Wait until each region has a result of each tick since ``began``, and none counts twice."""
    until = now_ms()
    period = ("audit", "--since", str(began), "--until", str(until), "--settle", "0s", "--user", "dora")
    found = wait_until(
        "no region misses a tick", lambda: None if (held := told(pipeline, *period))["missed"] else held, 60, 1.0
    )
    assert (found["missed"], found["duplicate"], found["skipped"]) == (0, 0, 0), found
    assert found["ticks"] > 3


def wait_for_region(pipeline: Pipeline, region: str, since: int, until: int) -> None:
    """Wait until the region has run a tick of that time."""
    wait_until(
        f"{region} has run what waited", lambda: any(
            each.region == region and since < each.scheduled_at <= until for each in pipeline.results("dora")
        ), 60,
    )  # fmt: skip


# some minutes: a backup, a restore and a repartitioning, with their processes
@pytest.mark.live
def test_ticks_that_a_region_has_not_run_go_through_a_backup_and_a_repartitioning(
    pipeline: Pipeline, executors: dict[str, Process], new_pipeline: NewPipeline, target: Target, tmp_path: Path
) -> None:
    regions = {"regions": ",".join(REGIONS)}
    # executors of us are away, and those of ap in the way
    executors["ap"].kill()
    executors["us"].kill()
    of_both = site("site", target.port, regions=("eu", "us"), misfire_grace="2h", overlap="allow")
    began = now_ms()
    pipeline.sign_up("dora", of_both)
    pipeline.wait_for_results("dora", "site", 2)
    folder = tmp_path / "backup"
    without = {name: value for name, value in pipeline.environment.items() if name != "EVERWATCH_REGIONS"}
    refused = run("backup", str(folder), environment=without)
    assert (refused.returncode, "set EVERWATCH_REGIONS=ap,eu,us" in refused.stderr) == (4, True), refused.stderr
    assert told(pipeline, "backup", str(folder))["records"]["ticks@us"] > 0
    cut = min(each.emitted_to for each in read_manifest(folder).cuts)
    for process in pipeline.processes.values():
        process.kill()

    restored = new_pipeline(**regions, partitions=FEW)
    without = {name: value for name, value in restored.environment.items() if name != "EVERWATCH_REGIONS"}
    refused = run("restore", str(folder), environment=without)
    assert (refused.returncode, "set EVERWATCH_REGIONS=ap,eu,us" in refused.stderr) == (4, True), refused.stderr
    assert told(restored, "restore", str(folder))["monitors_hash"] == read_manifest(folder).monitors_hash
    restored.ensure("worker", "sink")
    run_executors(restored, "eu", "us")
    restored.wait_until_ready()
    wait_for_region(restored, "us", began, cut)
    wait_until_nothing_is_missed(restored, began)

    # and again
    assert restored.processes.pop("executor-us").stop() == 0
    stopped = now_ms()
    restored.wait_for_results("dora", "site", 2, after=stopped)
    for process in restored.processes.values():
        assert process.stop() == 0
    stopped_at = now_ms()
    report = told(restored, "repartition", "--partitions", "6")
    assert report["records"]["ticks@us"] > 0
    settings = restored.settings
    with Pipeline(
        settings.data_dir, settings.bootstrap_servers, report["prefix"], partitions=report["partitions"], **regions
    ) as successor:
        successor.ensure("worker", "sink")
        run_executors(successor, "eu", "us")
        successor.wait_until_ready()
        wait_for_region(successor, "us", stopped, stopped_at)
        wait_until_nothing_is_missed(successor, began)
