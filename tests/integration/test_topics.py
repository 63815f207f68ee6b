"""Creating and checking topics."""

import socket
from collections.abc import Iterator

import msgspec
import orjson
import pytest
from conftest import NewPipeline
from support.command import everwatch, run
from support.forking import Started
from support.pipeline import PARTITIONS, Pipeline

from everwatch.core.config import Settings
from everwatch.core.errors import TopicMismatch
from everwatch.kafka.clients import new_admin
from everwatch.kafka.consumer_groups import bounds_of
from everwatch.kafka.skipping import delete_before
from everwatch.kafka.topic_administration import check_topics, ensure_topics
from everwatch.kafka.topics import Topics

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def unused(new_pipeline: NewPipeline) -> Pipeline:
    """A prefix of topics that do not exist yet."""
    return new_pipeline()


@pytest.fixture(scope="module", autouse=True)
def without_broker(unused: Pipeline) -> Iterator[dict[str, Started]]:
    """Two commands where no broker answers, started first because they wait for one for long."""
    with socket.socket() as closed:  # bound and not listening: connections are refused, and nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        environment = unused.environment | {"EVERWATCH_BOOTSTRAP_SERVERS": f"127.0.0.1:{closed.getsockname()[1]}"}
        started = {
            "check": everwatch("topics", "check", environment=environment),
            "worker": everwatch("worker", environment=environment),
        }
        yield started
        for process in started.values():
            process.kill()
            process.communicate()


def test_topics_are_created_once_however_often_it_is_asked_for(unused: Pipeline) -> None:
    admin = new_admin(unused.settings, unused.settings.bootstrap_servers)
    assert all("does not exist" in state.problem for state in check_topics(admin, unused.settings))
    # there is one broker
    with pytest.raises(TopicMismatch, match=r"fewer brokers than .* replicas, 3\. Set EVERWATCH_REPLICATION_FACTOR"):
        ensure_topics(admin, msgspec.structs.replace(unused.settings, replication_factor=3))

    first = ensure_topics(admin, unused.settings)
    assert {(state.created, state.partitions, state.problem) for state in first} == {(True, PARTITIONS, "")}
    again = ensure_topics(admin, unused.settings)
    assert {(state.created, state.partitions, state.problem) for state in again} == {(False, PARTITIONS, "")}
    assert [state.name for state in first] == [state.name for state in again]

    said = run("topics", "create", "--json", environment=unused.environment)
    assert said.returncode == 0
    assert {state["name"] for state in orjson.loads(said.stdout)} == {state.name for state in first}


def test_records_that_are_given_up_are_gone_and_what_can_be_read_is_not_given_up(unused: Pipeline) -> None:
    admin = new_admin(unused.settings, unused.settings.bootstrap_servers)
    ensure_topics(admin, unused.settings)
    topic = unused.topics.signals
    for number in range(5):
        unused.send(topic, "u", b"%d" % number, partition=1)
    said = run("topics", "skip", f"{topic}/1/2", "--yes", environment=unused.environment)
    assert said.returncode == 0, said.stderr
    assert "nothing is given up" in said.stdout
    assert bounds_of(admin, [(topic, 1)]) == {(topic, 1): range(5)}
    delete_before(admin, topic, 1, 3)
    assert bounds_of(admin, [(topic, 1)]) == {(topic, 1): range(3, 5)}


def test_topics_with_another_partition_count_are_refused_with_a_remedy(unused: Pipeline) -> None:
    admin = new_admin(unused.settings, unused.settings.bootstrap_servers)
    ensure_topics(admin, unused.settings)
    other = msgspec.structs.replace(unused.settings, partitions=PARTITIONS + 2)
    with pytest.raises(TopicMismatch) as caught:
        ensure_topics(admin, other)
    # one fault of all topics is one sentence
    assert str(caught.value) == (
        f"All {len(Topics.of(other).all)} topics have {PARTITIONS} partitions, but {PARTITIONS + 2} are configured: set"
        f" EVERWATCH_PARTITIONS={PARTITIONS} or another EVERWATCH_TOPIC_PREFIX, or see 'everwatch repartition --help'."
    )

    environment = unused.environment | {"EVERWATCH_PARTITIONS": str(PARTITIONS + 2)}
    checked = run("topics", "check", "--json", environment=environment)
    assert checked.returncode == 4
    assert all(f"EVERWATCH_PARTITIONS={PARTITIONS}" in state["problem"] for state in orjson.loads(checked.stdout))
    refused = run("sink", environment=environment)
    assert refused.returncode == 4
    assert f"set EVERWATCH_PARTITIONS={PARTITIONS}" in refused.stderr
    assert "Traceback" not in refused.stderr

    # without a count of one's own that of the topics is taken, and one line says so
    environment.pop("EVERWATCH_PARTITIONS")
    assert Settings().partitions != PARTITIONS
    checked = run("topics", "check", environment=environment)
    assert (checked.returncode, checked.stderr.count(f"going on with {PARTITIONS}")) == (0, 1), checked.stderr


def test_absent_broker_is_one_sentence_and_status_3(without_broker: dict[str, Started]) -> None:
    for name, process in without_broker.items():
        out, err = process.communicate(timeout=240)
        assert (name, process.returncode, out) == (name, 3, "")
        assert len(err.splitlines()) == 1, err
        assert err.startswith("everwatch: No Kafka broker answered within")
        assert "EVERWATCH_BOOTSTRAP_SERVERS" in err
