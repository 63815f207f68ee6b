"""Several processes of one machine on one metrics port."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families
from support.ports import free_ports

from everwatch.cli.support.metrics_port import MetricsPort
from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import SettingsError
from everwatch.processes.combined import CombinedProcesses, SharedPortMember
from everwatch.processes.health import Health
from everwatch.processes.serving import serve, serve_health


class Some:
    """Some processes, each served on a socket of its own, and the one port for all of them."""

    def __init__(self, folder: Path, opened: ExitStack, all_of_them: CombinedProcesses) -> None:
        self._folder = folder
        self._opened = opened
        self.all = all_of_them
        port = opened.enter_context(serve(load_settings(metrics_port=free_ports(1)[0]), self.all.application()))
        self.url = f"http://127.0.0.1:{port}"

    def add(self, process: str, replica: int = 0) -> tuple[Health, CollectorRegistry]:
        clock = SettableClock(1_000)
        health, registry = Health(process, f"here-{process}", "1.0", clock), CollectorRegistry()
        path = self.add_member(process, replica)
        self._opened.enter_context(serve_health(load_settings(metrics_socket=path), health, registry))
        return health, registry

    def add_member(self, process: str, replica: int = 0) -> Path:
        path = self._folder / f"{process}-{replica}"
        self.all.members.append(SharedPortMember(process, replica, path))
        return path

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def samples(self) -> dict[tuple[str, ...], float]:
        _, text = self.get("/metrics")
        families = list(text_string_to_metric_families(text))
        assert len({family.name for family in families}) == len(families), "no metric is declared twice"
        return {
            (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture
def some() -> Iterator[Some]:
    with TemporaryDirectory(prefix="everwatch-") as folder, ExitStack() as opened:
        yield Some(Path(folder), opened, CombinedProcesses())


@pytest.fixture
def impatient() -> Iterator[Some]:
    with TemporaryDirectory(prefix="everwatch-") as folder, ExitStack() as opened:
        yield Some(Path(folder), opened, CombinedProcesses(answer_within_s=0.1))


@contextmanager
def unanswering(path: Path) -> Iterator[None]:
    """A process that stands still: connections to its socket wait."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        yield


def test_samples_say_which_process_they_are_of(some: Some) -> None:
    for replica in (1, 2):
        _, registry = some.add("executor", replica)
        Counter("checks", "Checks.", ["kind"], registry=registry).labels('a"b\\c').inc(replica)
        Histogram("seconds", "Seconds.", buckets=(1, 2), registry=registry).observe(1.5)
    some.add("sink")
    samples = some.samples()
    assert samples["checks_total", 'kind=a"b\\c', "process=executor", "replica=1"] == 1
    assert samples["checks_total", 'kind=a"b\\c', "process=executor", "replica=2"] == 2
    assert samples["seconds_bucket", "le=2.0", "process=executor", "replica=2"] == 1
    assert samples["everwatch_process_answers", "process=sink", "replica="] == 1


def test_one_that_does_not_answer_keeps_no_other_one_from_its_answer(impatient: Some) -> None:
    some = impatient
    _, registry = some.add("worker")
    Counter("ticks", "Ticks.", registry=registry).inc(7)
    with unanswering(some.add_member("executor")):
        samples = some.samples()
        status, body = some.get("/healthz")
    assert samples["ticks_total", "process=worker"] == 7
    assert samples["everwatch_process_answers", "process=executor", "replica="] == 0
    assert status == 503
    assert json.loads(body)["reasons"] == [
        {"process": "executor", "part": "process", "reason": "it has not answered within 0.1 s"}
    ]


def test_ready_is_the_worst_of_all(some: Some) -> None:
    some.add("worker")
    status, body = some.get("/readyz")
    assert status == 503
    assert json.loads(body)["reasons"] == [{"process": "worker", "part": "process", "reason": "starting"}]
    assert [each["instance"] for each in json.loads(body)["processes"]] == ["here-worker"]


def test_one_that_is_being_started_again_is_not_ready_and_no_reason_to_restart_all(some: Some) -> None:
    some.add("worker")
    some.add_member("sink")
    status, body = some.get("/readyz")
    assert status == 503
    assert {"process": "sink", "part": "process", "reason": "it is not running"} in json.loads(body)["reasons"]
    assert some.get("/healthz")[0] == 200


def test_a_socket_that_a_killed_process_has_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "sink"
    with unanswering(path):
        pass
    assert path.exists()
    shared = CombinedProcesses()
    shared.members.append(SharedPortMember("sink", 0, path))
    with serve_health(load_settings(metrics_socket=path), Health("sink", "here", "1", SettableClock())):
        assert [each["process"] for each in shared.alive().body["processes"]] == ["sink"]
    with (
        pytest.raises(SettingsError, match="EVERWATCH_METRICS_SOCKET"),
        serve_health(load_settings(metrics_socket=tmp_path / "no" / "sink"), Health("a", "b", "1", SettableClock())),
    ):
        pass


def test_without_a_port_processes_get_no_socket() -> None:
    port = MetricsPort(load_settings())
    port.open()
    assert port.environment_of("worker") == {"EVERWATCH_METRICS_PORT": "0", "EVERWATCH_METRICS_SOCKET": ""}
    port.close()
