"""What a worker tells Prometheus."""

import socket
import urllib.request

import pytest

from everwatch.core.config import load_settings
from everwatch.core.errors import SettingsError
from everwatch.observability.metrics import TICKS, serve_metrics


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_metrics_are_served_on_the_port_of_the_settings() -> None:
    port = _free_port()
    TICKS.labels("normal").inc(3)
    serve_metrics(load_settings(metrics_port=port))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b'everwatch_ticks_total{way="normal"} ' in answer.read()


def test_a_port_that_is_taken_is_told_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="EVERWATCH_METRICS_PORT"):
            serve_metrics(load_settings(metrics_port=taken.getsockname()[1]))


def test_without_a_port_nothing_is_served() -> None:
    serve_metrics(load_settings())
