"""Executors of three regions run the same ticks; one that is killed makes nothing down, and verdicts go on."""

from collections import Counter
from typing import Any

import pytest
from conftest import NewPipeline
from support.pipeline import Pipeline, Process, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.model import Result, Status
from everwatch.store.selections import TransitionSelection

pytestmark = [pytest.mark.integration, pytest.mark.heavy]
REGIONS = ("ap", "eu", "us")
USER = "anna"


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    pipeline = new_pipeline(regions=",".join(REGIONS))
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
