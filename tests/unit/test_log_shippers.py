"""The examples in deploy/logs: they can be read, and name only fields that log lines have."""

import json
import logging
import re
from pathlib import Path

import pytest
import yaml

from everwatch.core.config import load_settings
from everwatch.observability.logs import labelled, set_up_logs

LOGS = Path(__file__).parents[2] / "deploy" / "logs"


@pytest.mark.parametrize("name", ["filebeat.yml", "fluent-bit.yaml", "vector.yaml"])
def test_an_example_is_yaml_and_finds_everwatch(name: str) -> None:
    text = (LOGS / name).read_text()
    assert isinstance(yaml.safe_load(text), dict)
    assert "everwatch" in text


def test_what_the_examples_take_out_of_a_line_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        set_up_logs(load_settings(log_format="json"), "worker")
        logging.getLogger("everwatch").warning("x", extra=labelled(partition=1))
    finally:
        root.handlers, root.level = handlers, level
    line = json.loads(capsys.readouterr().err)
    assert line["service"]["name"] == "everwatch-worker"
    fluent = yaml.safe_load((LOGS / "fluent-bit.yaml").read_text())
    loki = next(each for each in fluent["pipeline"]["outputs"] if each["name"] == "loki")
    assert loki["label_keys"] == "$service['name'],$['log.level']"
    labels = yaml.safe_load((LOGS / "vector.yaml").read_text())["sinks"]["loki"]["labels"]
    assert labels == {"job": "everwatch", "service": "{{ service.name }}", "level": '{{ "log.level" }}'}
    assert {"log.level", "@timestamp"} <= set(line)
    assert fluent["parsers"][0]["time_key"] == "@timestamp"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["@timestamp"])
