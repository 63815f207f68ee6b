"""A warm standby by MirrorMaker 2, as docs/disaster-recovery.md has it: its properties, its steps, two real Kafkas."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from conftest import NewPipeline
from support.command import run
from support.mirror_maker import MirrorMaker, Unavailable, provide
from support.pipeline import Pipeline, every
from support.waiting import now_ms, wait_until

from everwatch.core.clock import SystemClock
from everwatch.kafka.embedded import EmbeddedKafka, EmbeddedKafkaSettings

pytestmark = [pytest.mark.integration, pytest.mark.live]
PAGE = Path(__file__).parents[2] / "docs" / "disaster-recovery.md"
USERS = [f"user-{number}" for number in range(5)]
# one broker each; and topics that are made while it runs are found soon
OF_A_TRIAL = """
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
config.storage.replication.factor = 1
checkpoints.topic.replication.factor = 1
heartbeats.topic.replication.factor = 1
offset-syncs.topic.replication.factor = 1
refresh.topics.interval.seconds = 2
sync.topic.configs.interval.seconds = 2
"""


def properties_of_the_page(first: str, standby: str, prefix: str) -> str:
    """The properties that the page shows, for these clusters."""
    [shown] = re.findall(r"```properties\n(.*?)```", PAGE.read_text(), re.DOTALL)
    named = prefix.replace(".", "\\\\.")
    for there, here in (
        ("kafka-a:9092", first),
        ("kafka-b:9092", standby),
        ("prod\\\\..*", f"{named}.*"),
        ("replication.factor = 3", "replication.factor = 1"),
    ):
        assert there in shown, f"the page does not say {there!r} any more"
        shown = shown.replace(there, here)
    return f"{shown}{OF_A_TRIAL}"


@pytest.fixture
def kafkas(tmp_path: Path) -> Iterator[list[EmbeddedKafka]]:
    """Two clusters of one broker each."""
    with ExitStack() as stack:
        made = []
        for name in ("a", "b"):
            kafka = EmbeddedKafka(EmbeddedKafkaSettings(tmp_path / name, heap_mb=256), SystemClock())
            kafka.start()
            stack.callback(kafka.stop)
            made.append(kafka)
        yield made


def ends(pipeline: Pipeline, topic: str) -> dict[tuple[int, bytes | None], bytes | None]:
    """The newest value of each key, by partition."""
    return {(each.partition(), each.key()): each.value() for each in pipeline.read(topic)}


def has(pipeline: Pipeline, topic: str) -> bool:
    """Tell whether the topic is there."""
    return (
        topic in AdminClient({"bootstrap.servers": pipeline.settings.bootstrap_servers}).list_topics(timeout=60).topics
    )


def have_same(first: Pipeline, standby: Pipeline, topics: list[str]) -> bool:
    """Tell whether the standby has what the first has of these topics, key by key and partition by partition."""
    return all(has(standby, topic) and ends(first, topic) == ends(standby, topic) for topic in topics)


def test_a_standby_by_mirror_maker_goes_on_where_the_first_cluster_ended(
    kafkas: list[EmbeddedKafka], new_pipeline: NewPipeline, tmp_path: Path
) -> None:
    try:
        provide()
    except Unavailable as error:
        pytest.skip(str(error))
    a, b = kafkas
    first = new_pipeline(a.bootstrap_servers, topic_prefix="prod.")
    first.ensure("worker", "executor", "sink")
    first.wait_until_ready()
    for user in USERS:
        first.sign_up(user, *(every(f"m-{number}", "noop") for number in range(4)))
    for user in USERS:
        first.wait_for_states(user, within_s=60, **{f"m-{number}": "up" for number in range(4)})
    begin = now_ms()
    standby = new_pipeline(b.bootstrap_servers, topic_prefix="prod.")
    topics = [first.topics.monitors_changelog, first.topics.progress, first.topics.results, first.topics.signups]
    with MirrorMaker(tmp_path / "mm2", properties_of_the_page(a.bootstrap_servers, b.bootstrap_servers, "prod.")) as mm:

        def is_begun() -> bool:
            assert mm.runs, mm.logged()[-4_000:]
            return has(standby, first.topics.progress)

        def is_copied() -> bool:
            assert mm.runs, mm.logged()[-4_000:]
            return have_same(first, standby, topics)

        wait_until("MirrorMaker copies", is_begun, 300)
        # the first cluster's processes die; what they had written is copied
        for process in first.processes.values():
            process.kill()
        died = now_ms()
        wait_until("the standby has all of it", is_copied, 300, 1.0)
    a.stop()

    standby.ensure("worker")
    assert standby.processes["worker"].wait(120) == 11
    assert "--rebuild-changelog" in standby.processes["worker"].logged()
    standby.ensure("worker", arguments=["--rebuild-changelog"])
    standby.ensure("executor", "sink")
    standby.wait_until_ready()
    standby.wait_for_progress(died + 5_000)
    until = now_ms()
    standby.wait_for_progress(until)
    for user in USERS:
        standby.wait_for_results(user, "m-0", after=until - 2_000)

    said = ""

    def is_audited() -> bool:
        nonlocal said
        audited = run("audit", "--since", f"{(now_ms() - begin) // 1000 + 1}s", environment=standby.environment)
        said = audited.stdout
        return audited.returncode == 0 and "nothing missed, nothing twice" in said

    wait_until("the audit over the joint finds nothing", is_audited, 120, 5.0)
