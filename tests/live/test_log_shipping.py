"""deploy/logs/rsyslog.conf ships the log lines of a process to Kafka, across a rotation and a stop of its own."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import NewPipeline
from support.pipeline import Pipeline
from support.waiting import wait_until

from everwatch.cli.support.log_rotation import rotate
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topic_administration import create_topic

ROOT = Path(__file__).parents[2]
PLUGIN = "omkafka.so"
TOPIC = "everwatch-logs"
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        shutil.which("rsyslogd") is None or not [*Path("/usr/lib").glob(f"**/rsyslog/{PLUGIN}")],
        reason="there is no rsyslog with omkafka: apt-get install rsyslog rsyslog-kafka",
    ),
]


class Shipper:
    """An rsyslogd with the example's configuration."""

    def __init__(self, pipeline: Pipeline, state: Path) -> None:
        state.mkdir(exist_ok=True)
        self._environment = dict(os.environ) | {
            "EVERWATCH_LOGS": str(pipeline.settings.data_dir),
            "LOG_BROKERS": pipeline.settings.bootstrap_servers,
            "LOG_STATE": str(state),
        }
        self._state = state
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = ROOT / "deploy" / "logs" / "rsyslog.conf"
        command = ["rsyslogd", "-n", "-f", str(config), "-i", str(self._state / "pid")]
        self._process = subprocess.Popen(command, env=self._environment)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            assert self._process.wait(60) == 0
            self._process = None


def shipped(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The lines on the topic."""
    return [json.loads(message.value()) for message in pipeline.read(TOPIC)]


def lines_of(log: Path) -> list[dict[str, Any]]:
    """The JSON lines of a log file."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_every_line_arrives_on_the_topic_as_it_was_written(new_pipeline: NewPipeline, tmp_path: Path) -> None:
    pipeline = new_pipeline(log_format="json", log_level="INFO")
    create_topic(new_admin(pipeline.settings, pipeline.settings.bootstrap_servers), pipeline.settings, TOPIC)
    shipper = Shipper(pipeline, tmp_path / "state")
    log = pipeline.settings.data_dir / "sink.log"
    shipper.start()
    try:
        pipeline.ensure("sink")
        wait_until("it has logged", lambda: log.exists() and "storing" in log.read_text())
        written = lines_of(log)
        wait_until("its lines are on the topic", arrived(pipeline, written))
        found = shipped(pipeline)[0]
        assert found["service"]["name"] == "everwatch-sink"
        assert {"@timestamp", "ecs.version", "log.level", "message"} <= set(found)

        # what `everwatch up` does with a log that is too large
        assert rotate(log, largest_bytes=1)
        assert pipeline.processes["sink"].stop(60) == 0
        wait_until("it has logged its end", lambda: "stopped" in log.read_text())
        wait_until("the lines of after the rotation are on the topic", arrived(pipeline, lines_of(log)))

        # what is written while nobody ships is shipped afterwards
        shipper.stop()
        pipeline.ensure("sink")
        wait_until("it has logged again", lambda: "storing" in log.read_text())
        shipper.start()
        wait_until("the lines of the meantime are on the topic", arrived(pipeline, lines_of(log)))
    finally:
        shipper.stop()


def arrived(pipeline: Pipeline, written: list[dict[str, Any]]) -> Callable[[], bool]:
    """Tell whether these lines are on the topic."""
    return lambda: all(line in shipped(pipeline) for line in written)
