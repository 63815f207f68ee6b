"""The embedded Kafka with real brokers, real restarts and real kills. Fetches Kafka into the user's cache if needed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from everwatch.core.clock import SystemClock
from everwatch.core.errors import EmbeddedKafkaError, FolderInUse
from everwatch.kafka.embedded import EmbeddedKafka, EmbeddedKafkaSettings, remembered_address

pytestmark = pytest.mark.integration

OWNER = """
import sys, time
from pathlib import Path
from everwatch.core.clock import SystemClock
from everwatch.kafka.embedded import EmbeddedKafka, EmbeddedKafkaSettings
kafka = EmbeddedKafka(EmbeddedKafkaSettings(Path(sys.argv[1]), heap_mb=256), SystemClock())
kafka.start()
print(kafka.pid, flush=True)
time.sleep(120)
"""


def embedded(
    folder: Path, port: int | None = None, heap_mb: int = 256, overrides: dict[str, str] | None = None
) -> EmbeddedKafka:
    settings = EmbeddedKafkaSettings(folder, port=port, heap_mb=heap_mb, overrides=overrides or {})
    return EmbeddedKafka(settings, SystemClock())


@pytest.fixture
def brokers() -> Iterator[ExitStack]:
    """Stops whatever a test pushes here, however the test ends."""
    with ExitStack() as stack:
        yield stack


def create_topic(address: str, topic: str) -> None:
    # Named, because an unreferenced client is closed before it has an answer.
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(60)


def produce(address: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": address, "acks": "all"})
    failures: list[object] = []
    producer.produce(topic, value, partition=0, on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(120) == 0
    assert failures == [None]


def consume(address: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, timeout=60)]
    finally:
        consumer.close()


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        Event().wait(0.02)
    pytest.fail("waited in vain for 10 s")


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def kill_if_running(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def test_data_and_address_survive_a_clean_restart(tmp_path: Path, brokers: ExitStack) -> None:
    first = brokers.enter_context(embedded(tmp_path, overrides={"message.max.bytes": "54321"}))
    address = first.bootstrap_servers
    create_topic(address, "kept")
    produce(address, "kept", b"before")
    broker_config = ConfigResource(ConfigResource.Type.BROKER, "1")
    admin = AdminClient({"bootstrap.servers": address})
    described = admin.describe_configs([broker_config])[broker_config].result(60)
    assert described["message.max.bytes"].value == "54321"
    # Ctrl-C reaches a whole process group; the broker must not be in ours.
    assert os.getpgid(first.pid) != os.getpgid(0)
    listening = {c.laddr for c in psutil.Process(first.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert len(listening) == 2
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert first.start() == address
    pid = first.pid
    first.stop()
    first.stop()
    assert not first.alive()
    assert not psutil.pid_exists(pid)
    assert remembered_address(tmp_path) == address

    assert first.start() == address
    assert consume(address, "kept", 1) == [b"before"]


def test_broker_killed_without_warning_starts_again_with_its_data(tmp_path: Path, brokers: ExitStack) -> None:
    kafka = brokers.enter_context(embedded(tmp_path))
    create_topic(kafka.bootstrap_servers, "kept")
    produce(kafka.bootstrap_servers, "kept", b"before")

    os.kill(kafka.pid, signal.SIGKILL)
    wait_until(lambda: not kafka.alive())
    address = kafka.start()

    produce(address, "kept", b"after")
    assert consume(address, "kept", 2) == [b"before", b"after"]


def test_broker_whose_owner_was_killed_is_replaced(tmp_path: Path, brokers: ExitStack) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    owner = brokers.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    brokers.callback(owner.kill)
    assert owner.stdout is not None
    left_behind = psutil.Process(int(owner.stdout.readline()))
    brokers.callback(kill_if_running, left_behind)
    address = remembered_address(tmp_path)
    assert address is not None
    create_topic(address, "kept")
    produce(address, "kept", b"before")
    with pytest.raises(FolderInUse, match=f"{tmp_path} is in use by the Everwatch process {owner.pid}:"):
        embedded(tmp_path).start()

    owner.kill()
    owner.wait()
    assert not ended(left_behind)
    kafka = brokers.enter_context(embedded(tmp_path))

    assert ended(left_behind)
    assert kafka.bootstrap_servers == address
    assert consume(address, "kept", 1) == [b"before"]


def test_two_run_side_by_side(tmp_path: Path, brokers: ExitStack) -> None:
    one = brokers.enter_context(embedded(tmp_path / "one"))
    two = brokers.enter_context(embedded(tmp_path / "two"))
    create_topic(one.bootstrap_servers, "only-in-one")
    topics = AdminClient({"bootstrap.servers": two.bootstrap_servers}).list_topics(timeout=60).topics
    assert one.bootstrap_servers != two.bootstrap_servers
    assert "only-in-one" not in topics


def test_broker_that_cannot_start_says_why_and_where(tmp_path: Path) -> None:
    kafka = embedded(tmp_path, overrides={"num.io.threads": "none"})
    with pytest.raises(EmbeddedKafkaError) as caught:
        kafka.start()
    assert "Invalid value none for configuration num.io.threads" in str(caught.value)
    assert str(tmp_path / "logs") in str(caught.value)
    assert not kafka.alive()

    starved = embedded(tmp_path, heap_mb=8)
    with pytest.raises(EmbeddedKafkaError, match="OutOfMemoryError") as caught:
        starved.start()
    assert str(tmp_path / "logs") in str(caught.value)
