"""Log lines: JSON in the Elastic Common Schema for collectors, readable text for people."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from everwatch import __version__
from everwatch.core.config import load_settings
from everwatch.observability.logs import labelled, labelled_key, set_up_logs

logger = logging.getLogger("everwatch.tests")


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def json_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one line that was logged."""
    (line,) = capsys.readouterr().err.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def set_up(log_format: str = "json", **more: object) -> None:
    set_up_logs(load_settings(log_format=log_format, **more), "worker")


def test_json_line_says_which_process_wrote_it_in_ecs_words(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(worker_id="worker-0")
    logger.warning("ticks of partition %d are late", 3, extra=labelled(partition=3))
    line = json_line(capsys)
    assert line["message"] == "ticks of partition 3 are late"
    assert line["log.level"] == "warning"
    assert line["@timestamp"].endswith("Z")
    assert line["ecs.version"].count(".") == 2
    assert line["service"] == {"name": "everwatch-worker", "version": __version__, "node": {"name": "worker-0"}}
    assert line["log"]["logger"] == "everwatch.tests"
    assert line["labels"] == {"partition": "3"}
    assert "original" not in line["log"]


def test_instance_is_host_and_process_where_no_name_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    set_up()
    logger.warning("x")
    line = json_line(capsys)
    assert line["service"]["node"]["name"].endswith(f"-{line['process']['pid']}")


def test_user_monitor_tick_and_trace_are_fields(capsys: pytest.CaptureFixture[str]) -> None:
    set_up()
    about = labelled(user="u-1", monitor="site", tick=1_800_000_000_000, trace_id="a" * 32, span_id="b" * 16)
    logger.error("it failed", extra=about)
    line = json_line(capsys)
    assert line["labels"] == {"user": "u-1", "monitor": "site", "tick": "1800000000000"}
    assert (line["trace"], line["span"]) == ({"id": "a" * 32}, {"id": "b" * 16})


@pytest.mark.parametrize(
    ("key", "labels"),
    [
        (b"u-1\0site", {"partition": "2", "user": "u-1", "monitor": "site"}),
        (b"u-1", {"partition": "2", "user": "u-1"}),
    ],
)
def test_a_key_of_the_table_is_told_as_user_and_monitor(key: bytes, labels: dict[str, str]) -> None:
    assert labelled_key(2, key) == {"labels": labels}


def test_error_has_type_message_and_a_stack_without_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    set_up()
    password = "hunter" + "2"
    try:
        raise ValueError(f"wrong: {len(password)}")
    except ValueError:
        logger.exception("no luck")
    line = json_line(capsys)
    assert (line["error"]["type"], line["error"]["message"]) == ("ValueError", "wrong: 7")
    assert "test_logs.py" in line["error"]["stack_trace"]
    assert "hunter2" not in json.dumps(line)


def test_fields_of_other_libraries_do_not_get_into_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up()
    logger.warning("x", extra={"data": {"password": "p"}, "labels.x": object(), "host": "y"})
    assert set(json_line(capsys)) == {"@timestamp", "ecs.version", "log", "log.level", "message", "process", "service"}


def test_text_stays_readable_and_has_no_labels(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("text")
    logger.warning("ticks of partition %d are late", 3, extra=labelled(partition=3, user="u-9"))
    said = capsys.readouterr().err
    assert "ticks of partition 3 are late" in said
    assert "warning" in said
    assert "u-9" not in said
    assert not said.startswith("{")


def test_line_breaks_and_any_letters_stay_within_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up()
    logger.warning("a\nb \u2028 ü %s", "\x1b[31m")
    assert json_line(capsys)["message"] == "a\nb \u2028 ü \x1b[31m"
    assert sys.stderr is not None
