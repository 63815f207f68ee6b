"""The embedded Kafka of ``everwatch up`` comes back by itself: when it dies, and when a full disk has room again."""

from pathlib import Path

import pytest

from everwatch.cli.support.supervised_kafka import FULL_BELOW_BYTES, ROOM_FROM_BYTES, KeptKafka
from everwatch.core.clock import Clock, SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import EmbeddedKafkaError

PLENTY = 2**40


class Broker:
    """A broker that dies when the test says so."""

    def __init__(self, port: int) -> None:
        self.bootstrap_servers = f"127.0.0.1:{port or 29_092}"
        self.log_path = Path("server.log")
        self.runs = True

    def alive(self) -> bool:
        return self.runs

    def stop(self) -> None:
        self.runs = False


class World:
    """Brokers that were started, and the disk. ``problem``: why none can be started."""

    def __init__(self, folder: Path) -> None:
        self.clock = SettableClock(1_000)
        self.free = PLENTY
        self.problem = ""
        self.started: list[tuple[int, Broker]] = []
        self.kept = KeptKafka(Settings(data_dir=folder), self.clock, start=self._start, free=lambda _: self.free)
        self.kept.start()

    def _start(self, settings: Settings, _: Clock) -> Broker:
        if self.problem:
            raise EmbeddedKafkaError(self.problem)
        broker = Broker(settings.kafka_port)
        self.started.append((settings.kafka_port, broker))
        return broker

    def after(self, seconds: float) -> list[str]:
        """Return what is said so many seconds later, looked at each second."""
        said = []
        for _ in range(int(seconds)):
            self.clock.advance(1_000)
            said += self.kept.look_after()
        return said


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_kafka_that_died_is_started_again_at_the_same_address(world: World) -> None:
    assert world.after(3) == []
    world.started[0][1].runs = False
    said = world.after(5)
    assert ["ended by itself" in said[0], "runs again at 127.0.0.1:29092" in said[1]] == [True, True]
    assert [port for port, _ in world.started] == [0, 29_092]
    assert world.after(30) == []


def test_kafka_that_does_not_start_is_tried_again_after_pauses_that_grow(world: World) -> None:
    world.problem = "port 29092 is taken"
    world.started[0][1].runs = False
    said = world.after(120)
    tries = [sentence for sentence in said if "port 29092 is taken" in sentence]
    assert 4 <= len(tries) <= 8
    world.problem = ""
    assert "runs again" in world.after(31)[0]


def test_on_a_full_disk_kafka_waits_and_goes_on_when_there_is_room(world: World) -> None:
    world.free = FULL_BELOW_BYTES - 1
    [full] = world.after(2)
    assert "is full (31 MiB free)" in full
    assert world.kept.is_disk_full
    world.started[0][1].runs = False
    said = world.after(100)
    assert len(said) == 1, "said once, and not tried"
    assert len(world.started) == 1
    world.free = ROOM_FROM_BYTES - 1
    assert world.after(10) == [], "a little room is not enough to begin with"
    world.free = ROOM_FROM_BYTES
    said = world.after(3)
    assert ["has room again" in said[0], "runs again" in said[1]] == [True, True]
    assert not world.kept.is_disk_full


def test_a_disk_that_is_full_while_all_runs_is_told_once_and_stops_nothing(world: World) -> None:
    world.free = 0
    assert len(world.after(10)) == 1
    assert world.started[0][1].runs
