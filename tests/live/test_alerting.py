"""Alerts on a real Prometheus and a real Alertmanager: a healthy run is quiet, and a worker that hangs pages.

``pytest -m live -n 0 tests/live/test_alerting.py`` takes some 15 minutes.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from support.command import run
from support.ports import free_ports
from support.prometheus import ROOT, Prometheus, tool
from support.target import Target
from support.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.heavy]

FIRES_WITHIN_S = 90.0
SCRAPED_EVERY = "5s"
# nothing failed, and nobody was told of anything
QUIET_PANELS = {
    "overview: Messages to people",
    "overview: Messages given up",
    "overview: Delay of messages, p99",
    "overview: Failed checks",
    "overview: Dead letters",
    "overview: Records that Kafka did not take",
    "overview: Bugs met by the API",
    "overview: Requests to the API",
    "overview: API request",
    "partitions: Undecodable entries",
    "executors: Failures",
    "sink: Age of the backup",
    "kafka: Errors",
    "kafka: Batches that cannot be read",
    "kafka: Poison records",
    "kafka: Time until expiry",
}


class Received:
    """A webhook that notes what Alertmanager sends: when, which alert, and whether it fires or is resolved."""

    def __init__(self) -> None:
        self.alerts: list[tuple[float, str, str]] = []
        received = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                now = time.monotonic()
                received.alerts += [(now, each["labels"]["alertname"], each["status"]) for each in body["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def first(self, name: str, status: str, since: float = 0.0) -> float | None:
        return next(
            (at for at, alert, is_now in self.alerts if (alert, is_now) == (name, status) and at >= since), None
        )

    def fired(self) -> set[str]:
        return {name for _, name, status in self.alerts if status == "firing"}


class Watched:
    """Everwatch under the eyes of Prometheus."""

    def __init__(self, folder: Path, opened: ExitStack, target: Target) -> None:
        pages = tool("prometheus-alertmanager")
        metrics, alertmanager, kafka = free_ports(3)
        outside = {name: value for name, value in os.environ.items() if not name.startswith("EVERWATCH_")}
        self.environment = outside | {
            "EVERWATCH_DATA_DIR": str(folder / "data"),
            "EVERWATCH_PARTITIONS": "2",
            "EVERWATCH_KAFKA_HEAP_MB": "256",
            "EVERWATCH_KAFKA_PORT": str(kafka),
            "EVERWATCH_API_PORT": "0",
            "EVERWATCH_METRICS_PORT": str(metrics),
            "EVERWATCH_ALLOW_NETWORKS": "127.0.0.0/8",
        }
        log = opened.enter_context((folder / "up.log").open("wb"))
        self.up = opened.enter_context(_process([sys.executable, "-m", "everwatch", "up"], log, self.environment))
        wait_until("all is up", lambda: b"Everwatch is up" in (folder / "up.log").read_bytes(), 120, 0.5)
        for number in range(4):
            url = target.url("/ok")
            put = ("monitor", "put", f"u-{number}", "web", "--kind", "http", "--config", json.dumps({"url": url}))
            assert run(*put, "--every", "1s", "--wait", environment=self.environment).returncode == 0
        self.received = Received()
        opened.callback(self.received.server.shutdown)
        config = _alertmanager(self.received.server.server_port)
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        arguments = [
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
        ]
        opened.enter_context(_process([pages, *arguments], log, outside))
        self.prometheus = opened.enter_context(Prometheus(folder / "prometheus", _prometheus(metrics, alertmanager)))
        wait_until("Prometheus has scraped", lambda: self.prometheus.ask("everwatch_partitions"), 60, 1.0)

    def worker(self) -> psutil.Process:
        return next(child for child in psutil.Process(self.up.pid).children() if "worker" in child.cmdline())


@pytest.fixture
def watched(tmp_path: Path, target: Target) -> Iterator[Watched]:
    with ExitStack() as opened:
        yield Watched(tmp_path, opened, target)


def test_a_healthy_run_is_quiet_every_panel_has_an_answer_and_a_worker_that_hangs_pages(
    watched: Watched, pytestconfig: pytest.Config
) -> None:
    received = watched.received
    wait_until("the Watchdog arrives", lambda: received.first("Watchdog", "firing"), 60, 1.0)
    healthy_until = time.monotonic() + 60 * pytestconfig.getoption("--healthy-minutes")
    while time.monotonic() < healthy_until:
        assert received.fired() == {"Watchdog"}
        time.sleep(1)
    print(f"quiet for {pytestconfig.getoption('--healthy-minutes'):g} min")

    empty = watched.prometheus.panels_without_an_answer("1m")
    print(f"panels without an answer: {sorted(empty)}")
    assert empty <= QUIET_PANELS

    worker, stopped_at = watched.worker(), time.monotonic()
    worker.send_signal(signal.SIGSTOP)
    try:
        behind = "EverwatchPartitionBehind"
        fired_at = wait_until("it fires", lambda: received.first(behind, "firing", stopped_at), FIRES_WITHIN_S, 0.5)
    finally:
        worker.send_signal(signal.SIGCONT)
    print(f"fired {fired_at - stopped_at:.1f} s after the worker was stopped; also: {sorted(received.fired())}")
    assert fired_at - stopped_at < FIRES_WITHIN_S
    continued_at = time.monotonic()
    resolved_at = wait_until("it is resolved", lambda: received.first(behind, "resolved", continued_at), 120, 0.5)
    print(f"resolved {resolved_at - continued_at:.1f} s after it went on")


@contextmanager
def _process(command: list[str], log: Any, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _alertmanager(webhook: int) -> dict[str, Any]:
    """The example, with all receivers here and no waits for more alerts of a group."""
    config = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "5s"}
    for receiver in config["receivers"]:
        for each in receiver["webhook_configs"]:
            each["url"] = f"http://127.0.0.1:{webhook}/"
    return config


def _prometheus(metrics: int, alertmanager: int) -> dict[str, Any]:
    """The example, more often and with other ports."""
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": SCRAPED_EVERY, "evaluation_interval": SCRAPED_EVERY}
    config["rule_files"] = [str(ROOT / "deploy/prometheus/rules/*.yml")]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    config["scrape_configs"] = [{"job_name": "everwatch", "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}]}]
    return config
