"""``everwatch plans``, as a shell sees it, and what a worker says of a wrong file."""

from pathlib import Path

import pytest
from support.command_line import Said, run_command

from everwatch.cli.main import app

FILE = """
[plans.free]
max_monitors = 3
shortest_interval = 90
regions = ["us", "eu"]

[plans.free.keep]
results = 90
replies = 0

[[plans.free.monitors]]
monitor_id = "site"
config = { url = "{{user.attributes.site}}" }
schedule = { every = "5m" }

[[plans.free.monitors]]
monitor_id = "{{user.attributes.name or 'hello'}}"
kind = "noop"
schedule = { every = "2m" }
payload = "{{user.id}}, {{user.attributes.n or 1}}"

[plans.empty]
"""


def everwatch(*arguments: object) -> Said:
    """A command; an error on purpose ends as ``everwatch`` ends it."""
    return run_command(app, *arguments)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "plans.toml"
    file.write_text(FILE)
    return file


def test_a_right_file_is_listed_plan_by_plan(file: Path) -> None:
    said = everwatch("plans", "check", file)
    assert said.status == 0
    free = next(line for line in said.out.splitlines() if "free" in line)
    assert [cell.strip() for cell in free.split("│")[1:-1]] == [
        "free",
        "site (http), (by user) (noop)",
        "site",
        "3",
        "1m30s",
        "eu, us (majority)",
        "results 90 d, replies for good",
    ]


def test_a_right_file_as_json(file: Path) -> None:
    said = everwatch("plans", "check", file, "--json")
    assert said.status == 0
    free = {
        "plan": "free",
        "monitors": [{"monitor_id": "site", "kind": "http"}, {"monitor_id": "", "kind": "noop"}],
        "attributes": ["site"],
        "max_monitors": 3,
        "shortest_interval": "1m30s",
        "regions": ["eu", "us"],
        "quorum": "majority",
        "keep": {"results": 90, "replies": 0},
    }
    empty = {"plan": "empty", "monitors": [], "attributes": [], "max_monitors": None, "shortest_interval": None}
    empty |= {"regions": [], "quorum": "majority", "keep": {}}
    assert said.json == {"file": str(file), "ok": True, "wrong": None, "plans": [free, empty]}


def test_a_wrong_file_is_told_in_one_sentence_with_exit_status_1(file: Path) -> None:
    file.write_text(FILE.replace("max_monitors = 3", "max_monitors = 1"))
    said = everwatch("plans", "check", file)
    assert (said.status, said.out) == (1, "")
    assert said.err == f"{file}, plan 'free', max_monitors: the plan itself has 2 monitors"
    told = everwatch("plans", "check", file, "--json")
    assert told.status == 1
    assert (told.json["ok"], told.json["wrong"]) == (
        False,
        {"plan": "free", "field": "max_monitors", "reason": "the plan itself has 2 monitors"},
    )


def test_a_file_that_is_not_there_is_wrong_usage(file: Path) -> None:
    said = everwatch("plans", "check", "nowhere.toml")
    assert (said.status, said.err) == (2, "The plans file nowhere.toml cannot be read: No such file or directory.")


def test_a_users_monitors_are_shown_as_a_signup_would_name_them(file: Path) -> None:
    said = everwatch("plans", "show", file, "free", "--user-id", "ann", "--attributes", '{"site": "http://a.example/"}')
    assert said.status == 0
    assert said.json == [
        {
            "monitor_id": "site",
            "schedule": {"every": "5m"},
            "config": {"url": "http://a.example/"},
            "policy": {"regions": ["eu", "us"], "quorum": "majority"},
        },
        {"monitor_id": "hello", "kind": "noop", "schedule": {"every": "2m"}, "payload": "ann, 1"},
    ]
    assert everwatch("plans", "show", file, "default").json == []


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (
            ["free"],
            1,
            "plan 'free' of plans.toml: monitors[0].config.url needs this attribute, and the signup has none",
        ),
        (["fre"], 1, "there is no plan 'fre'; there are default, empty, free (at $.plan)"),
        (["free", "--attributes", "[]"], 2, "--attributes wants a JSON object, such as"),
        (["free", "--attributes", "{"], 2, "--attributes wants a JSON object: "),
        (["free", "--attributes", '{"site": []}'], 1, "expected true or false or a whole number or"),
    ],
)
def test_what_a_signup_would_be_refused_for_is_told(file: Path, arguments: list[str], status: int, told: str) -> None:
    said = everwatch("plans", "show", file, *arguments)
    assert said.status == status
    assert said.err.startswith(told)


@pytest.mark.parametrize("command", ["worker", "up"])
def test_a_worker_says_what_is_wrong_before_it_looks_for_a_broker(
    file: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    file.write_text("[plans.free]\nmax_monitor = 3\n")
    monkeypatch.setenv("EVERWATCH_PLANS_FILE", str(file))
    monkeypatch.setenv("EVERWATCH_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    said = everwatch(command)
    assert (said.status, said.err) == (
        2,
        f"The setting EVERWATCH_PLANS_FILE names wrong plans: {file}, plan 'free', max_monitor: there is no field"
        " 'max_monitor'.",
    )
