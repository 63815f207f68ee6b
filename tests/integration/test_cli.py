"""The command line, as people and scripts use it."""

import os
import re
from pathlib import Path

import orjson
import pytest
import typer
from support.command import run
from support.pipeline import Pipeline, every
from typer.testing import CliRunner

from everwatch.cli.main import app

pytestmark = pytest.mark.integration


def commands() -> list[list[str]]:
    """Every command and subcommand."""

    def below(group: typer.main.TyperGroup, path: list[str]) -> list[list[str]]:
        found = [path]
        for name, command in group.commands.items():
            found += below(command, [*path, name]) if hasattr(command, "commands") else [[*path, name]]
        return found

    return below(typer.main.get_command(app), [])


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_explains_itself(path: list[str]) -> None:
    said = CliRunner().invoke(app, [*path, "--help"])
    assert said.exit_code == 0
    assert "Usage:" in said.output


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_unknown_option_is_wrong_usage(path: list[str]) -> None:
    said = CliRunner().invoke(app, [*path, "--frobnicate"])
    assert said.exit_code == 2
    assert "--frobnicate" in said.output


def test_json_lines_are_signed_up_and_refused_ones_are_told(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "users.jsonl"
    lines = [
        {"user_id": "cli-1", "monitors": [every("nothing", "noop")]},
        {"user_id": "cli-2", "monitors": [{"kind": "telepathy"}]},
        {"user_id": "cli-3", "plan": "gold", "attributes": {"age": 7}, "monitors": [every("nothing", "noop")]},
    ]
    file.write_bytes(b"\n".join([*map(orjson.dumps, lines), b"no json", b""]))

    said = run("signup", "--file", str(file), "--json", environment=pipeline.environment)
    assert said.returncode == 1, said.stderr
    told = orjson.loads(said.stdout)
    assert (told["sent"], told["refused"]) == (2, 2)
    assert [reason["line"] for reason in told["reasons"]] == [2, 4]
    assert "telepathy" in told["reasons"][0]["reason"]
    assert "$.monitors[0].kind" in told["reasons"][0]["reason"]
    for user in ("cli-1", "cli-3"):
        pipeline.wait_for_states(user, nothing="up")
    assert pipeline.reader.monitors("cli-2") == []


def test_csv_lines_are_signed_up_and_refused_ones_are_told(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text(
        "user_id,plan,http,tcp,every,city\n"
        "csv-1,gold,http://127.0.0.1:1/x,,1h,Bern\n"
        "csv-2,,,127.0.0.1:1,1h,\n"
        "csv-3,,,no-port,1h,\n"
        "csv-4,,ftp://x,,1h,\n"
        "csv-5,too,few\n"
    )
    said = run("signup", "--file", str(file), environment=pipeline.environment)
    assert said.returncode == 1, said.stderr
    assert said.stdout.startswith("2 sent, 3 refused (")
    assert re.findall(r"^line (\d+): ", said.stderr, re.MULTILINE) == ["4", "5", "6"]
    assert "an address to connect to is HOST:PORT" in said.stderr
    assert "$.monitors[0].config.url" in said.stderr
    pipeline.wait_for_states("csv-1", http="new")
    pipeline.wait_for_states("csv-2", tcp="new")
    assert pipeline.monitor("csv-1", "http").spec.schedule.interval_ms == 3_600_000


def test_one_user_is_signed_up_by_options(pipeline: Pipeline) -> None:
    said = run(
        "signup", "one", "--tcp", "127.0.0.1:1", "--heartbeat", "1h", "--every", "1s",
        environment=pipeline.environment,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (0, "sent: signup one\n"), said.stderr
    pipeline.wait_for_states("one", tcp="down", heartbeat="up")


def test_results_are_printed_from_database_and_topic(pipeline: Pipeline) -> None:
    pipeline.sign_up("shown", every("nothing", "noop"), every("other", "noop"))
    stored = [result.scheduled_at for result in pipeline.wait_for_results("shown", "nothing", 3)]
    for source in ("database", "topic"):
        said = run(
            "results", "--user", "shown", "--monitor", "nothing", "--limit", "1000", "--from", source, "--json",
            environment=pipeline.environment,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
        printed = [orjson.loads(line) for line in said.stdout.splitlines()]
        assert {(line["user_id"], line["monitor_id"], line["status"]) for line in printed} == {
            ("shown", "nothing", "success")
        }
        assert [line["scheduled_at"] for line in printed][: len(stored)] == stored

    for_people = run("results", "--user", "shown", "--limit", "2", environment=pipeline.environment)
    assert for_people.returncode == 0
    assert len(for_people.stdout.splitlines()) == 2
    assert "success" in for_people.stdout and "shown/" in for_people.stdout


def test_doctor_finds_a_running_pipeline_well_and_a_missing_database_not(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.sign_up("patient", every("nothing", "noop"))
    pipeline.wait_for_results("patient", "nothing")
    well = run("doctor", "--json", environment=pipeline.environment)
    findings = {finding["name"]: finding for finding in orjson.loads(well.stdout)}
    assert (well.returncode, [name for name, finding in findings.items() if not finding["ok"]]) == (0, []), findings
    assert findings.keys() >= {"settings", "schemas", "broker", "topics", "workers", "database"}

    environment = pipeline.environment | {"EVERWATCH_DATA_DIR": str(tmp_path)}
    ill = run("doctor", environment=environment)
    assert ill.returncode == 1
    assert re.search(r"^BAD database", ill.stdout, re.MULTILINE)
    assert "Traceback" not in ill.stderr


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SWEEP_MS", "hunter2", "setting EVERWATCH_SWEEP_MS"),
        ("SECURITY_PROTOCOL", "SASL_SSL", "needs sasl_username"),
        ("DATABASE", "nonsense://user:hunter2@host/db", "database"),
    ],
)
def test_wrong_setting_is_one_line_and_no_secret(pipeline: Pipeline, name: str, value: str, told: str) -> None:
    environment = pipeline.environment | {f"EVERWATCH_{name}": value, "EVERWATCH_SASL_PASSWORD": "hunter2"}
    said = run("results", environment=environment)
    assert said.returncode in (2, 6)
    assert said.stdout == ""
    assert len(said.stderr.splitlines()) == 1, said.stderr
    assert told.lower() in said.stderr.lower()
    assert "hunter2" not in said.stderr


def test_a_demo_with_a_wrong_interval_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    ended = run("demo", "--every", "banana", "--data-dir", str(tmp_path), environment=os.environ)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "--every banana" in ended.stderr
    assert not (tmp_path / "kafka").exists()
