"""``everwatch lag`` without a broker: what it is asked for wrongly is refused, rather than answered by nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from everwatch.cli.main import app
from everwatch.cli.support.run_parts import commands_given
from everwatch.kafka.lag import Lag
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.process_figures import PartitionLag

ROW = PartitionLag("ticks", "everwatch-executors", "executor", 0, 5, 7, 2, 1.5, "everwatch-x-1", "10.0.0.1", 1)


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EVERWATCH_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    kafka = MemoryKafka()
    with commands_given(measure_lag=lambda _: Lag(1, (ROW,), {}), new_clients=lambda _: MemoryClients(kafka)):
        yield


def said(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["lag", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_a_topic_that_nothing_reads_is_refused_and_those_that_are_read_are_named() -> None:
    found = said("--topic", "tick")
    assert found.exit_code != 0
    assert "Nothing is known to read 'tick'; what is read: ticks." in str(found.exception)


def test_a_process_that_does_not_exist_is_refused() -> None:
    found = said("--process", "executer")
    assert found.exit_code == 2
    assert "'executer' is not one of" in found.output


def test_a_process_that_reads_nothing_of_a_topic_has_no_rows() -> None:
    assert said("--process", "sink", "--topic", "ticks").stdout.splitlines() == [
        "process  topic  partition  records  seconds  owner  ticks emitted"
    ]
    assert "executor  ticks  0          2        1.5" in said("--process", "executor").stdout
