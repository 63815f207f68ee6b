"""Tests of what a process tells Prometheus and an orchestrator, over HTTP."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.waiting import wait_until

from everwatch import __version__
from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.config import load_settings
from everwatch.core.errors import SettingsError
from everwatch.processes.health import Health
from everwatch.processes.serving import MOST_REQUESTS, serve_health
from streams.metrics import TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _health() -> Health:
    return Health("executor", "here-1", __version__, SystemClock())


@contextmanager
def _served(health: Health) -> Iterator[str]:
    with serve_health(load_settings(metrics_port=_free_port()), health) as port:
        yield f"http://127.0.0.1:{port}"


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def test_metrics_are_served_on_the_port_of_the_settings() -> None:
    TICKS.labels("normal").inc(3)
    with _served(_health()) as url:
        status, body = _get(f"{url}/metrics")
    names = {family.name for family in text_string_to_metric_families(body)}
    assert status == 200
    assert {"everwatch_ticks", "everwatch_ready", "everwatch_heartbeat_seconds", "process_cpu_seconds"} <= names


def test_probes_are_answered_with_the_reasons() -> None:
    clock = SettableClock(1_000)
    health = Health("executor", "here-1", "1.2", clock)
    with _served(health) as url:
        status, body = _get(f"{url}/healthz")
        assert (status, json.loads(body)) == (
            200,
            {
                "status": "alive",
                "phase": "starting",
                "process": "executor",
                "instance": "here-1",
                "version": "1.2",
                "reasons": [],
            },
        )
        status, body = _get(f"{url}/readyz")
        assert (status, json.loads(body)["reasons"]) == (503, [{"part": "process", "reason": "starting"}])


def test_another_path_or_method_is_refused() -> None:
    with _served(_health()) as url:
        assert _get(f"{url}/")[0] == 404
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(urllib.request.Request(f"{url}/metrics", method="POST"), timeout=30)


def test_clients_that_say_nothing_do_not_keep_others_from_an_answer_for_good() -> None:
    with _served(_health()) as url:
        port = int(url.rpartition(":")[2])
        silent = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(MOST_REQUESTS)]
        with socket.create_connection(("127.0.0.1", port), 30) as further:
            further.settimeout(30)
            assert further.recv(1) == b""  # closed at once, and no thread more
        for connection in silent:
            connection.close()

        def answers() -> bool:
            with suppress(OSError):
                return _get(f"{url}/healthz")[0] == 200
            return False

        wait_until("there is room again", answers)


def test_a_port_that_is_taken_is_told_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = load_settings(metrics_port=taken.getsockname()[1])
        with pytest.raises(SettingsError, match="EVERWATCH_METRICS_PORT"), serve_health(settings, _health()):
            pass


def test_without_a_port_nothing_is_served() -> None:
    with serve_health(load_settings(), _health()) as port:
        assert port == 0
