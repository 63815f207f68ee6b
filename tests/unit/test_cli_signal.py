"""``everwatch signal`` without a broker: what is sent, and what is refused before one is looked for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from typer.testing import CliRunner

from everwatch.cli.commands import signal, signup
from everwatch.cli.support.run_parts import commands_given
from everwatch.core.errors import EverwatchError
from everwatch.kafka.memory import MemoryClients, MemoryKafka

NOON_MS = 1_795_262_400_000


Sent = Callable[[], list[tuple[str, str, Any]]]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MemoryKafka]:
    """The Kafka that commands talk to."""
    kafka = MemoryKafka(4)
    for topic in ("signals", "signups"):
        kafka.create(topic)
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    with commands_given(new_clients=lambda _: MemoryClients(kafka)):
        yield kafka


@pytest.fixture
def sent(kafka: MemoryKafka) -> Sent:
    """Topic, key and JSON of what has reached the broker."""
    return lambda: [
        (topic, (entry.key or b"").decode(), orjson.loads(entry.value or b""))
        for topic in kafka.topic_names()
        for entry in kafka.records(topic)
    ]


def say(*arguments: str, command: Callable[..., None] = signal.signal) -> tuple[int, str]:
    """Exit status and what is printed, as ``everwatch`` ends."""
    app = typer.Typer()
    app.command()(command)
    found = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})
    if isinstance(found.exception, EverwatchError):
        return found.exception.exit_code, str(found.exception)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found.exit_code, found.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], {}),
        (["--start"], {"type": "start"}),
        (["--fail"], {"type": "fail"}),
        (["--exit-code", "0"], {"exit_code": 0}),
        (["--exit-code", "-9", "--duration", "1m30s"], {"exit_code": -9, "duration_ms": 90_000}),
        (["--fail", "--exit-code", "3"], {"type": "fail", "exit_code": 3}),
        (["--value", "-4.5"], {"value": -4.5}),
        (["--start", "--run", "job-7"], {"type": "start", "run": "job-7"}),
        (["--run", "job-7"], {"run": "job-7"}),
        (["--at", "2026-11-21T12:00:00Z"], {"at": NOON_MS}),
    ],
)
def test_a_signal_goes_out_as_one_record_under_its_users_key(
    sent: Sent, arguments: list[str], said: dict[str, Any]
) -> None:
    assert say("u-1", "backup", *arguments) == (0, "sent: signal u-1/backup\n")
    assert sent() == [("signals", "u-1", {"user_id": "u-1", "monitor_id": "backup"} | said)]


def test_with_json_it_prints_that_it_was_sent_and_is_not_answered(sent: Sent) -> None:
    status, out = say("u-1", "queue", "--value", "42", "--json", "--id", "n-1")
    assert status == 0
    assert sent()[0][2] == {"user_id": "u-1", "monitor_id": "queue", "value": 42.0, "signal_id": "n-1"}
    told = orjson.loads(out)
    assert (told["signal_id"], told["monitor_id"], told["command"], told["answer"]) == ("n-1", "queue", "signal", None)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["u-1", "m", "--start", "--fail"], 2, "Give one of --start, --value, and how a run ended"),
        (["u-1", "m", "--start", "--duration", "1s"], 2, "Give one of --start, --value, and how a run ended"),
        (["u-1", "m", "--value", "1", "--exit-code", "0"], 2, "Give one of --start, --value, and how a run ended"),
        (["u-1", "m", "--value", "nan"], 2, "--value wants a finite number, not nan."),
        (["u-1", "m", "--value", "inf"], 2, "--value wants a finite number, not inf."),
        (["u-1", "m", "--duration", "soon"], 2, "--duration: 'soon' is not a duration"),
        (["u-1", "m", "--at", "noon"], 2, "--at: 'noon' is neither an instant"),
        (["u-1", ""], 1, "this must not be empty (at $.monitor_id)"),
        (["u-1", "m", "--exit-code", "4294967296"], 1, "this must be at most 2147483647 (at $.exit_code)"),
        (["u-1"], 2, "Missing argument 'MONITOR'"),
    ],
)
def test_a_wrong_signal_is_refused_before_a_broker_is_looked_for(
    sent: Sent, arguments: list[str], status: int, told: str
) -> None:
    found = say(*arguments)
    assert found[0] == status
    assert told in found[1]
    assert not sent()


def test_its_help_has_examples() -> None:
    status, out = say("--help")
    assert status == 0
    assert "everwatch signal u-1 queue-length --value 42" in out


@pytest.mark.parametrize(
    ("command", "topic", "arguments"),
    [(signal.signal, "signals", ["u-1", "m"]), (signup.signup, "signups", ["u-1", "--heartbeat", "1h"])],
)
def test_it_asks_for_no_more_than_the_topic_it_sends_to_and_makes_none(
    kafka: MemoryKafka,
    sent: Sent,
    command: Callable[..., None],
    topic: str,
    arguments: list[str],
) -> None:
    kafka.delete("signals")
    kafka.delete("signups")
    # another count of partitions than is configured here, and no other topic to be seen
    kafka.create(topic, 96)
    assert say(*arguments, command=command)[0] == 0
    assert [each[:2] for each in sent()] == [(topic, "u-1")]
    assert kafka.topic_names() == [topic]
    kafka.delete(topic)
    kafka.create("orders")
    assert say(*arguments, command=command) == (3, f"Topic {topic} does not exist: run 'everwatch topics create'.")
    assert sent() == []
    assert kafka.topic_names() == ["orders"]
