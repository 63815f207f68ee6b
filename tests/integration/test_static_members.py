"""Workers are static members: a killed one comes back without a rebalance, and one that stops leaves at once."""

import socket
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from conftest import NewPipeline
from support.pipeline import PARTITIONS, WATCHING, Pipeline, every
from support.shared_broker import SharedBroker
from support.waiting import PATIENCE, wait_until

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.clients import new_admin
from everwatch.kafka.consumer_groups import members_of, worker_client_id

pytestmark = pytest.mark.integration
# no session ends within these tests
SESSION_S = 300
LEFT_WITHIN_S = 30
OFFSETS_TOPIC = "__consumer_offsets"
_GROUP_METADATA = 2
_CONTROL = 0x20


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    return new_pipeline(session_timeout_ms=SESSION_S * 1_000)


@pytest.fixture
def workers(pipeline: Pipeline) -> Pipeline:
    """The same, with two workers that share the partitions."""
    pipeline.ensure("worker", "worker-2")
    both = [pipeline.processes["worker"], pipeline.processes["worker-2"]]

    def are_shared() -> bool:
        shares = [each.partitions() for each in both]
        return all(shares) and sorted(number for share in shares for number in share) == list(range(PARTITIONS))

    wait_until("they share the partitions", are_shared, 60)
    return pipeline


def generation_of(pipeline: Pipeline) -> int:
    """The generation of the workers' group: of the last record that the broker has written about the group."""
    group = pipeline.settings.application
    settings = {"bootstrap.servers": pipeline.settings.bootstrap_servers, "group.id": "t", "enable.partition.eof": True}
    found = -1
    with closing(Consumer(settings | {"enable.auto.commit": False, "auto.offset.reset": "earliest"})) as consumer:
        partitions = consumer.list_topics(OFFSETS_TOPIC, timeout=30).topics[OFFSETS_TOPIC].partitions
        consumer.assign([TopicPartition(OFFSETS_TOPIC, number, 0) for number in partitions])
        left = set(partitions)

        def is_read() -> bool:
            nonlocal found
            for message in consumer.consume(1_000, 1.0):
                error = message.error()
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error.str()
                    left.discard(message.partition())
                elif _is_about(message.key(), group) and message.value():
                    found = _generation(message.value())
            return not left

        wait_until(f"{OFFSETS_TOPIC} is read", is_read, 60)
    assert found >= 0
    return found


def _is_about(key: bytes | None, group: str) -> bool:
    """Tell whether a key (version, length of the name, name) is that of a group's metadata."""
    return key is not None and key[:2] == _GROUP_METADATA.to_bytes(2, "big") and key[4:] == group.encode()


def _generation(value: bytes) -> int:
    """Read what follows the version and the type of protocol (length, text)."""
    begin = 4 + int.from_bytes(value[2:4], "big")
    return int.from_bytes(value[begin : begin + 4], "big")


def test_a_worker_that_is_killed_and_started_again_over_its_folder_causes_no_rebalance(workers: Pipeline) -> None:
    other, killed = workers.processes["worker"], workers.processes["worker-2"]
    own = killed.partitions()
    before = generation_of(workers)
    opened = WATCHING.findall(other.logged())
    killed.kill()
    workers.ensure("worker-2")
    # one after the other, as each is opened
    wait_until("it has its partitions again", lambda: workers.processes["worker-2"].partitions() == own, 60)
    assert generation_of(workers) == before
    group = workers.settings.application
    found = members_of(new_admin(workers.settings, workers.settings.bootstrap_servers), [group], timeout_s=60)[group]
    host = socket.gethostname()
    assert {member.client_id for member in found} == {worker_client_id(host, "1"), worker_client_id(host, "2")}
    assert WATCHING.findall(other.logged()) == opened
    assert other.runs


def test_a_standby_that_cannot_read_the_changelog_stays_behind_and_its_worker_goes_on(
    workers: Pipeline, broker: SharedBroker
) -> None:
    owner, standby = workers.processes["worker"], workers.processes["worker-2"]
    own, number = standby.partitions(), min(owner.partitions())
    standby.kill()
    workers.sign_up("ann", every("tick", "noop", "1h"), partition=number)
    changelog = workers.topics.monitors_changelog
    wait_until(
        "the changelog has the user", lambda: any((m.key() or b"")[:3] == b"ann" for m in workers.read(changelog))
    )
    damage_last_batch(broker.folder, changelog, number)
    workers.ensure("worker-2")
    standby = workers.processes["worker-2"]
    said = f"{changelog}, partition {number}, cannot be read"
    wait_until("the standby says what it cannot read", lambda: said in standby.logged(), 60)
    wait_until("it has its own partitions", lambda: standby.partitions() == own, 60)
    assert standby.runs
    assert owner.runs


def damage_last_batch(folder: Path, topic: str, partition: int) -> None:
    """Change the last byte of the last batch with records of a partition, on the broker's disk."""
    [segment] = folder.rglob(f"{topic}-{partition}/*.log")
    data, begin, place = segment.read_bytes(), 0, 0
    # of a batch: the base offset, 8 bytes; the length of what follows, 4; behind 9 more the attributes, 2
    while length := int.from_bytes(data[begin + 8 : begin + 12]):
        end = begin + 12 + length
        is_mark = int.from_bytes(data[begin + 21 : begin + 23]) & _CONTROL
        place = place if is_mark else end - 1
        begin = end
    assert place, "no batch with records"
    with segment.open("r+b") as stream:
        stream.seek(place)
        stream.write(bytes([data[place] ^ 1]))


def test_a_worker_that_stops_leaves_the_group_long_before_its_session_ends(workers: Pipeline) -> None:
    other, stopped = workers.processes["worker"], workers.processes["worker-2"]
    admin = new_admin(workers.settings, workers.settings.bootstrap_servers)
    group = workers.settings.application

    def count() -> int:
        try:
            return len(members_of(admin, [group])[group])
        except BrokerUnavailable:
            return 0  # it is asked again: the machine may be busy with other things

    wait_until("both are members", lambda: count() == 2, 60)
    assert LEFT_WITHIN_S * PATIENCE < SESSION_S
    assert stopped.stop() == 0
    wait_until("the other one is the only member", lambda: count() == 1, LEFT_WITHIN_S)
    wait_until("it has all partitions", lambda: other.partitions() == set(range(PARTITIONS)), LEFT_WITHIN_S)
