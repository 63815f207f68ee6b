"""Kafka loses the table's changelog: no worker goes on with fewer monitors, and none of their ticks is missed."""

import re
import shutil
from contextlib import suppress

import pytest
import requests
from conftest import NewPipeline
from support.account import settle_ticks
from support.command import run
from support.pipeline import WATCHING, Pipeline, Process, every
from support.waiting import now_ms, wait_until

from everwatch.core.clock import SystemClock
from everwatch.core.errors import ChangelogLost
from everwatch.diagnosis import Finding, System
from everwatch.diagnosis.checks.changelog import check_changelog
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topic_administration import ensure_topics

pytestmark = pytest.mark.integration
USERS = [f"user-{number}" for number in range(40)]
INTERVAL_MS = 1_000


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    """A worker with 40 monitors."""
    pipeline = new_pipeline()
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    for user in USERS:
        pipeline.sign_up(user, every("site", "http", "1s", url="http://127.0.0.1:1/"))
    wait_until("everybody is known", lambda: len(entries(pipeline)) == 2 * len(USERS), 60)
    return pipeline


def entries(pipeline: Pipeline) -> set[bytes]:
    """The keys that the changelog has."""
    found = {message.key(): message.value() for message in pipeline.read(pipeline.topics.monitors_changelog)}
    return {key for key, value in found.items() if value is not None}


def make_anew(pipeline: Pipeline, *topics: str) -> None:
    """Delete topics and create them again."""
    settings = pipeline.settings
    admin = new_admin(settings, settings.bootstrap_servers)
    for deleted in admin.delete_topics(list(topics), operation_timeout=30).values():
        deleted.result(60)

    def is_gone() -> bool:
        return not set(topics) & set(admin.list_topics(timeout=60).topics)

    wait_until("they are gone", is_gone, 30)
    ensure_topics(admin, settings)


def watched(pipeline: Pipeline) -> int:
    """Return how many monitors the worker says it watches."""
    said = WATCHING.findall(pipeline.processes["worker"].logged())
    return int(said[-1][0]) if said else -1


def assert_nothing_missed_since(pipeline: Pipeline, began: int) -> None:
    """Every monitor's ticks are there, with no more copies than a takeover explains."""
    upto = now_ms() + 1_000
    pipeline.wait_for_time(upto)
    intervals = {(user, "site"): INTERVAL_MS for user in USERS}
    with suppress(AssertionError):
        wait_until(
            "nothing is missed",
            lambda: not settle_ticks(pipeline.emitted(began), intervals, began, upto).missed,
            60,
            1.0,
        )
    found = settle_ticks(pipeline.emitted(began), intervals, began, upto)
    assert not found.missed, (began, found)
    assert found.due >= len(USERS) * ((upto - began) // INTERVAL_MS - 1)
    assert found.copies <= 10 * len(USERS)


def diagnosed(pipeline: Pipeline) -> Finding:
    """Return what doctor says of the changelog."""
    settings = pipeline.settings
    [finding] = check_changelog(System(settings, settings.bootstrap_servers, SystemClock()))
    return finding


def test_a_worker_that_is_killed_after_the_changelog_was_made_anew_writes_it_back_and_misses_nothing(
    pipeline: Pipeline,
) -> None:
    began = now_ms()
    make_anew(pipeline, pipeline.topics.monitors_changelog)
    pipeline.processes["worker"].kill()
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    assert watched(pipeline) == len(USERS)
    assert "written back" in pipeline.processes["worker"].logged()
    assert len(entries(pipeline)) == 2 * len(USERS)
    assert_nothing_missed_since(pipeline, began)


def test_a_changelog_that_is_made_anew_under_a_running_worker_is_noticed_by_itself(pipeline: Pipeline) -> None:
    began = now_ms()
    make_anew(pipeline, pipeline.topics.monitors_changelog)
    assert pipeline.processes["worker"].wait() == ChangelogLost.exit_code
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    assert watched(pipeline) == len(USERS)
    assert_nothing_missed_since(pipeline, began)


def test_where_nothing_proves_which_copy_is_whole_the_worker_says_so_and_a_person_decides(pipeline: Pipeline) -> None:
    assert pipeline.processes["worker"].stop() == 0
    began = now_ms()
    make_anew(pipeline, pipeline.topics.monitors_changelog, pipeline.topics.progress)
    pipeline.ensure("worker")
    process = pipeline.processes["worker"]
    assert process.wait() == ChangelogLost.exit_code
    said = process.logged()
    assert "everwatch worker --rebuild-changelog" in said
    assert said.rstrip().splitlines()[-1].startswith("everwatch: The changelog")
    assert watched(pipeline) == -1
    assert entries(pipeline) == set()

    pipeline.ensure("worker", arguments=["--rebuild-changelog"])
    pipeline.wait_until_watched()
    assert watched(pipeline) == len(USERS)
    assert len(entries(pipeline)) == 2 * len(USERS)
    assert_nothing_missed_since(pipeline, began)


def test_a_worker_without_a_table_finds_all_of_it_afterwards(pipeline: Pipeline) -> None:
    began = now_ms()
    assert pipeline.processes["worker"].stop() == 0
    shutil.rmtree(pipeline.settings.data_dir / "workers")
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    assert watched(pipeline) == len(USERS)
    assert_nothing_missed_since(pipeline, began)
    assert diagnosed(pipeline).ok


def test_a_worker_without_a_table_does_not_go_on_with_an_empty_changelog(pipeline: Pipeline) -> None:
    pipeline.processes["worker"].kill()
    shutil.rmtree(pipeline.settings.data_dir / "workers")
    make_anew(pipeline, pipeline.topics.monitors_changelog)
    pipeline.ensure("worker")
    assert pipeline.processes["worker"].wait() == ChangelogLost.exit_code
    assert watched(pipeline) == -1
    finding = diagnosed(pipeline)
    assert not finding.ok
    assert "was made anew" in finding.says
    assert "--rebuild-changelog" in finding.remedy


def test_topics_that_are_made_anew_are_found_again_by_the_api_and_an_executor(pipeline: Pipeline) -> None:
    topics = pipeline.topics
    pipeline.ensure("executor")
    executor = pipeline.processes["executor"]
    environment = pipeline.environment | {"EVERWATCH_API_PORT": "0"}
    api = Process("api", environment, pipeline.settings.data_dir / "api.log")
    try:
        served = wait_until("the API serves", lambda: re.search(r"^API: (\S+)$", api.logged(), re.MULTILINE), 60)
        make_anew(pipeline, topics.access, topics.jobs, topics.cancellations)
        made = run("api-token", "create", "later", environment=pipeline.environment)
        assert made.returncode == 0, made.stderr
        assert served is not None
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        url = f"{served[1]}/v1/users"
        assert requests.get(url, headers={"Authorization": "Bearer of nobody"}, timeout=60).status_code == 401
        # there is no database, which it says to whoever it lets in

        def is_let_in() -> bool:
            answer = requests.get(url, headers=headers, timeout=60)
            return answer.status_code == 503 and answer.json()["code"] == "database_unavailable"

        wait_until("the API takes a token of the new topic", is_let_in, 120, 0.5)

        def reads_cancellations() -> bool:
            pipeline.send(topics.cancellations, "somebody", b"no cancellation", partition=0)
            return f"a record of topic {topics.cancellations} is ignored" in executor.logged()

        wait_until("the executor reads cancellations of the new topic", reads_cancellations, 120, 0.5)
        assert api.runs
        assert executor.runs
    finally:
        api.kill()
