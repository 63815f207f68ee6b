"""Commands, signups and signals on the command line, without a broker: what is refused, sent and told.

All in one file: one table of commands, and what each sends or refuses.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from support.command_line import Said, run_command
from support.new_databases import open_new_store

from everwatch.cli.commands import monitor, signal, signup, task, user
from everwatch.cli.support.run_parts import commands_given
from everwatch.cli.support.sending import SendingOptions, account_here
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.kafka.command_client import Asked, Unanswered
from everwatch.model import At, CommandOutcome, MonitorSpec, Origin, Reply
from everwatch.rules import lifecycle
from everwatch.store import CatalogueEntry, Partition, Received, SinkBatch

APPS = {"monitor": monitor.app, "task": task.app, "user": user.app}
SINGLE = {"signup": typer.Typer(), "signal": typer.Typer()}
SINGLE["signup"].command()(signup.signup)
SINGLE["signal"].command()(signal.signal)
NOON = "2026-11-21T12:00:00Z"
NOON_MS = 1_795_262_400_000


def say(name: str, *arguments: str) -> Said:
    """Run a command of a group; an error on purpose ends as ``everwatch`` ends it."""
    return run_command((APPS | SINGLE)[name], *arguments)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's settings out, and leave the log handlers of other tests alone."""
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))


@pytest.fixture
def no_broker() -> Iterator[None]:
    def looked_for(*_: object) -> None:
        raise AssertionError("a broker was looked for")

    with commands_given(new_clients=looked_for):
        yield


class World:
    """A broker and a worker behind it: what was sent, and the answer that it gives to each id."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.waited_s: list[float] = []
        self.answer = CommandOutcome.DONE
        self.reason = self.path = self.code = ""
        self.refused_ids: set[str] = set()
        self.silent = False

    @contextmanager
    def connected(self, delivery: SendingOptions, first: Asked) -> Iterator["World"]:
        self._delivery = delivery
        yield self

    @property
    def delivered(self) -> int:
        return len(self.sent)

    def send(self, commands: Iterable[Asked]) -> None:
        assert not self._delivery.wait
        self.sent += [orjson.loads(each.value) for each in commands]

    def ask(self, commands: Iterable[Asked]) -> Iterator[tuple[Asked, Reply]]:
        assert self._delivery.wait
        self.waited_s.append(self._delivery.timeout_s)
        for each in commands:
            command = orjson.loads(each.value)
            self.sent.append(command)
            if self.silent:
                raise Unanswered("nobody there")
            asker = each.asker
            refused = bool(self.refused_ids & {*asker.key})
            answer = CommandOutcome.REFUSED if refused else self.answer
            yield (
                each,
                Reply(
                    asker.command_id, asker.user_id, asker.monitor_id, asker.command, answer, self.reason, self.path,
                    0 if refused else 3, NOON_MS, self.code, asker.signup_id, asker.signal_id, 1, 41,
                ),
            )  # fmt: skip


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    with commands_given(connect=made.connected):
        yield made


# --- refused at once --------------------------------------------------------------------------------------------------

SITE = ("put", "u-1", "site", "--kind", "http")
NOOP = ("--kind", "noop")


@pytest.mark.usefixtures("no_broker")
@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("monitor", *SITE), 1, "the kind 'http' needs the field 'url' (at $.monitor.config)"),
        (("monitor", *SITE, "--config", "{"), 2, "--config is not valid JSON: "),
        (("monitor", *SITE, "--config", "[]"), 1, "expected an object, got a list (at $.monitor.config)"),
        (("monitor", *SITE, "--config", "@/not/there"), 2, "The file /not/there of --config cannot be read: "),
        (("monitor", *SITE, "--every", "1m", "--in", "1m"), 2, "Give one of --every, --cron, --at and --in, not"),
        (("monitor", "put", "u-1", "m", "--kind", "telepathy"), 1, "there is no kind 'telepathy'"),
        (("monitor", "put", "u-1", "m", "--kind", "noop", "--every", "banana"), 1, "'banana' is not a duration"),
        (("monitor", "put", "u-1", "m", "--kind", "noop", "--cron", "* *"), 1, "'* *' "),
        (
            ("monitor", "put", "u-1", "m", "--kind", "noop", "--policy", '{"retries": {"max": 99}}'),
            1,
            "this must be at most 20 (at $.monitor.policy.retries.max)",
        ),
        (("monitor", "put", "u-1", "m", "--kind", "noop", "--timeout", "soon"), 2, "--timeout: 'soon' is not a"),
        (("monitor", "put", "", "m", "--kind", "noop"), 1, "this must not be empty (at $.user_id)"),
        (("monitor", "put", "u-1", "m", "--kind", "noop", "--id", "x" * 129), 1, "this must be at most 128 characters"),
        (("monitor", "delete", "u-1", ""), 1, "a delete needs the monitor_id (at $.monitor_id)"),
        (("monitor", "resume", "u\n1", "m"), 1, "control, direction and invisible characters are not"),
        (("monitor", "run-now", "u-1", ""), 1, "a run_now needs the monitor_id (at $.monitor_id)"),
        (("monitor", "pause", "u-1", "m", "--until", NOON, "--for", "1h"), 2, "Give one of --until and --for, not"),
        (("monitor", "pause", "u-1", "m", "--for", "ever"), 2, "--for: 'ever' is not a duration"),
        (("monitor", "pause", "u-1", "m", "--until", "noon"), 2, "--until: 'noon' is neither an instant"),
        (("task", "create"), 2, "Give a USER and a TASK, or --file FILE"),
        (("task", "create", "u-1"), 2, "Give a USER and a TASK, or --file FILE"),
        (("task", "create", "u-1", "t-1"), 2, "A task needs --at or --in."),
        (("task", "create", "u-1", "", "--in", "1h", "--kind", "noop"), 2, "The task's id must not be empty."),
        (("task", "create", "u-1", "t-1", "--in", "1h", "--payload", "1"), 2, "Say what the task does with --kind"),
        (("task", "create", "u-1", "t", *NOOP, "--in", "1h", "--at", NOON), 2, "Give one of --every, --cron, --at "),
        (("task", "create", "u-1", "t-1", *NOOP, "--in", "P1M"), 1, "'P1M' has years or months, whose length varies"),
        (("task", "create", "u-1", "t-1", *NOOP, "--at", "2026-11-21T12:00:00"), 2, "--at: '2026-11-21T12:00:00' does"),
        (("task", "create", "u-1", "--file", "x"), 2, "With --file omit USER, TASK and the options of a task"),
        (("task", "create", "--file", "/not/there"), 2, "The file /not/there cannot be read: "),
        (("task", "cancel", "u-1"), 2, "Give either a TASK or --all."),
        (("task", "cancel", "u-1", "t-1", "--all"), 2, "Give either a TASK or --all."),
        (("task", "cancel", "u-1", ""), 2, "Give either a TASK or --all."),
        (("task", "cancel", "u-1", "", "--all"), 2, "Give either a TASK or --all."),
        (("task", "list", "--from", "yesterday"), 2, "--from: 'yesterday' is neither an instant"),
        (("task", "count", "--until", "yesterday"), 2, "--until: 'yesterday' is neither an instant"),
        (("task", "list", "--from", "1h", "--until", "2h"), 2, "There is nothing between --from and --until"),
        (("user", "deregister", ""), 1, "this must not be empty (at $.user_id)"),
        (("monitor", "maintain", "u-1", "m"), 2, "Give one of --until, --for and --none;"),
        (("monitor", "maintain", "u-1", "m", "--none", "--reason", "x"), 2, "Give one of --until, --for and --none;"),
        (("user", "maintain", "u-1"), 2, "Give one of --for (with or without --from), --cron with --duration, and"),
        (("user", "maintain", "u-1", "--for", "1h", "--none"), 2, "Give one of --for (with or without --from), "),
        (("user", "maintain", "u-1", "--for", "1h", "--cron", "* * * * *"), 2, "Give one of --for (with or without"),
        (("user", "maintain", "u-1", "--from", NOON), 2, "--from needs --for, which says how long."),
        (("user", "maintain", "u-1", "--from", "noon", "--for", "1h"), 2, "--from: 'noon' is neither an instant"),
        (("user", "maintain", "u-1", "--for", "1 fortnight"), 2, "--for: '1 fortnight' is not a duration"),
        (("user", "maintain", "u-1", "--for", "0s"), 1, "the end does not lie after the start"),
        (("user", "maintain", "u-1", "--cron", "* * * * *"), 2, "--cron and --duration go together."),
        (("user", "maintain", "u-1", "--duration", "1h"), 2, "--cron and --duration go together."),
        (("user", "maintain", "u-1", "--cron", "x", "--duration", "1h"), 1, "'x' "),
        (
            ("user", "maintain", "u-1", "--cron", "0 2 * * 6", "--duration", "1h", "--timezone", "Mars/Base"),
            1,
            "there is no time zone 'Mars/Base'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_a_broker_is_looked_for(
    arguments: tuple[str, ...], status: int, told: str
) -> None:
    said = say(*arguments)
    assert said.err.startswith(told), said
    assert (said.status, said.out) == (status, "")


@pytest.mark.parametrize("arguments", [("put", "u-1", "m"), (*SITE, "--align", "noon"), (*SITE, "--max-runs", "0")])
def test_wrong_options_are_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert say("monitor", *arguments).status == 2


# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (
            ("monitor", *SITE, "--config", '{"url": "https://example.com"}', "--every", "6h", "--align", "midnight",
             "--timezone", "Europe/Berlin", "--start-at", NOON, "--max-runs", "9", "--payload", '"hi"',
             "--policy", '{"retries": {"max": 3}}', "--if-version", "0"),
            {
                "command": "put", "monitor_id": "site", "if_version": 0,
                "monitor": {
                    "kind": "http", "config": {"url": "https://example.com"}, "payload": "hi",
                    "policy": {"retries": {"max": 3}},
                    "schedule": {"every": "6h", "align": "midnight", "timezone": "Europe/Berlin", "start_at": NOON_MS,
                                 "max_runs": 9},
                },
            },
        ),
        (("monitor", "delete", "u-1", "m"), {"command": "delete", "monitor_id": "m"}),
        (
            ("monitor", "pause", "u-1", "m"),
            {"command": "pause", "monitor_id": "m", "reason": f"by {account_here()}"},
        ),
        (
            ("monitor", "pause", "u-1", "m", "--until", NOON, "--reason", "new disks"),
            {"command": "pause", "monitor_id": "m", "until": NOON_MS, "reason": f"new disks, by {account_here()}"},
        ),
        (
            ("monitor", "maintain", "u-1", "m", "--until", NOON, "--reason", "new disks"),
            {"command": "maintain", "monitor_id": "m", "until": NOON_MS, "reason": "new disks"},
        ),
        (("monitor", "maintain", "u-1", "m", "--none"), {"command": "maintain", "monitor_id": "m"}),
        (("monitor", "resume", "u-1", "m"), {"command": "resume", "monitor_id": "m"}),
        (("monitor", "run-now", "u-1", "m"), {"command": "run_now", "monitor_id": "m"}),
        (
            ("task", "create", "u-1", "t-1", "--in", "90m", "--kind", "noop"),
            {"command": "put", "monitor_id": "t-1", "monitor": {"kind": "noop", "schedule": {"in": "90m"}}},
        ),
        (("task", "cancel", "u-1", "t-1"), {"command": "cancel", "monitor_id": "t-1"}),
        (("task", "cancel", "u-1", "--all"), {"command": "cancel"}),
        (("user", "deregister", "u-1"), {"command": "deregister"}),
        (
            ("user", "maintain", "u-1", "--from", NOON, "--for", "2h"),
            {"command": "maintain", "maintenance": [{"start": NOON_MS, "end": NOON_MS + 7_200_000}]},
        ),
        (
            ("user", "maintain", "u-1", "--cron", "0 2 * * 6", "--timezone", "Europe/Berlin", "--duration", "2h"),
            {"command": "maintain",
             "maintenance": [{"cron": "0 2 * * 6", "timezone": "Europe/Berlin", "duration": "2h"}]},
        ),
        (("user", "maintain", "u-1", "--none"), {"command": "maintain", "maintenance": []}),
    ],
)  # fmt: skip
def test_options_become_the_command_that_is_sent(
    world: World, arguments: tuple[str, ...], sent: dict[str, Any]
) -> None:
    assert say(*arguments, "--id", "c-1").status == 0
    assert world.sent == [sent | {"user_id": "u-1", "command_id": "c-1"}]


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("monitor", "pause", "u-1", "m", "--until", "2h"), ("until",)),
        (("user", "pause", "u-1", "--until", "+2h"), ("until",)),
        (("task", "create", "u-1", "t-1", *NOOP, "--at", "2h"), ("monitor", "schedule", "at")),
        (("monitor", "put", "u-1", "m", *NOOP, "--end-at", "2h"), ("monitor", "schedule", "end_at")),
        (("user", "maintain", "u-1", "--from", "2h", "--for", "1h"), ("maintenance", 0, "start")),
    ],
)
def test_where_something_is_to_come_a_duration_is_from_now(
    world: World, arguments: tuple[str, ...], where: tuple[str | int, ...]
) -> None:
    before = SystemClock().now_ms()
    assert say(*arguments).status == 0
    said: Any = world.sent[0]
    for key in where:
        said = said[key]
    assert before <= said - 7_200_000 <= SystemClock().now_ms()


def test_a_pause_for_a_while_ends_that_long_after_now(world: World) -> None:
    before = SystemClock().now_ms()
    say("monitor", "pause", "u-1", "m", "--for", "2h")
    assert before <= world.sent[0]["until"] - 7_200_000 <= SystemClock().now_ms()


def test_maintenance_without_a_beginning_begins_now(world: World) -> None:
    before = SystemClock().now_ms()
    say("user", "maintain", "u-1", "--for", "2h")
    [window] = world.sent[0]["maintenance"]
    assert before <= window["start"] <= SystemClock().now_ms()
    assert window["end"] - window["start"] == 7_200_000


def test_config_payload_and_policy_may_stand_in_files(world: World, tmp_path: Path) -> None:
    (tmp_path / "site.json").write_text('{"url": "https://example.com"}')
    assert say("monitor", *SITE, "--config", f"@{tmp_path / 'site.json'}").status == 0
    assert world.sent[0]["monitor"]["config"] == {"url": "https://example.com"}


# --- what is told -----------------------------------------------------------------------------------------------------


def test_what_is_only_sent_is_told_with_the_id_to_look_for(world: World) -> None:
    said = say("monitor", "pause", "u-1", "m")
    assert said.out == f"sent: pause u-1/m (id {world.sent[0]['command_id']})\n"
    assert say("user", "deregister", "u-1", "--id", "c-1").out == "sent: deregister u-1 (id c-1)\n"
    assert say("task", "cancel", "u-1", "--all", "--id", "c-2", "--json").json == {
        "command_id": "c-2", "signup_id": "", "signal_id": "", "user_id": "u-1", "monitor_id": "",
        "command": "cancel", "answer": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "reason", "path", "status", "told"),
    [
        (CommandOutcome.DONE, "", "", 0, "done: pause u-1/m, version 3\n"),
        (CommandOutcome.UNCHANGED, "", "", 0, "unchanged: pause u-1/m: no change was needed\n"),
        (CommandOutcome.REPEATED, "", "", 0, "repeated: pause u-1/m: a command with this id was carried out before\n"),
        (
            CommandOutcome.REFUSED,
            "no such thing",
            "$.monitor_id",
            1,
            "refused: pause u-1/m: no such thing (at $.monitor_id)\n",
        ),
        (CommandOutcome.REFUSED, "no such thing", "", 1, "refused: pause u-1/m: no such thing\n"),
    ],
)
def test_the_answer_is_told_and_a_refusal_is_a_failure(
    world: World, answer: CommandOutcome, reason: str, path: str, status: int, told: str
) -> None:
    world.answer, world.reason, world.path = answer, reason, path
    said = say("monitor", "pause", "u-1", "m", "--wait", "--timeout", "5s")
    assert (said.status, said.out) == (status, told)
    assert world.waited_s == [5.0]
    as_json = say("monitor", "pause", "u-1", "m", "--wait", "--json", "--id", "c-1")
    assert as_json.status == status
    assert as_json.json == {
        "command_id": "c-1", "user_id": "u-1", "monitor_id": "m", "command": "pause", "answer": answer.value,
        "reason": reason, "path": path, "version": 3, "at": NOON_MS, "code": "", "signup_id": "", "signal_id": "",
        "partition": 1, "offset": 41,
    }  # fmt: skip


def test_a_task_that_the_worker_does_not_know_any_more_is_told_as_the_database_holds_it(
    world: World, tmp_path: Path
) -> None:
    world.refused_ids, world.code, world.reason = {"c-1"}, "not_found", "there is no task 't-1' of user 'u-1': …"
    cancel = ("task", "cancel", "u-1", "t-1", "--id", "c-1", "--wait")
    assert say(*cancel).err == ""  # no database yet

    source = Partition("changelog", 0)
    task = MonitorSpec("t-1", "noop", "{}", At(NOON_MS + 60_000))
    put = CatalogueEntry(
        "u-1", "t-1", lifecycle.first_put("u-1", task, Origin.COMMAND, NOON_MS - 60_000, NOON_MS - 60_000)
    )
    gone = CatalogueEntry("u-1", "t-1", None)
    records = [Received(source, i, at, e) for i, (at, e) in enumerate([(NOON_MS - 60_000, put), (NOON_MS, gone)])]
    store = open_new_store(Settings(data_dir=tmp_path))
    store.apply(SinkBatch(NOON_MS, {source: 2}, entries=records))
    store.close()

    said = say(*cancel)
    assert said.status == 1
    assert said.out.startswith("refused: cancel u-1/t-1: there is no task 't-1'")
    assert said.err == "The database holds this task as cancelled since 2026-11-21 12:00:00Z\n"
    assert say(*cancel, "--json").err == ""


def test_when_nobody_answers_a_script_can_tell_it_from_a_refusal(world: World) -> None:
    world.silent = True
    assert say("monitor", "pause", "u-1", "m", "--wait").status == 3


# --- a file of tasks --------------------------------------------------------------------------------------------------


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A file of three tasks, on lines 1, 9 and 10, and of eight lines that are none."""
    lines: list[dict[str, Any] | str] = [
        {"user_id": "u-1", "task_id": "t-1", "kind": "noop", "in": "2h", "payload": {"n": 1}},
        "no json",
        "",
        {"user_id": "u-1", "task_id": "t-2", "kind": "noop"},
        {"user_id": "u-1", "task_id": "t-3", "kind": "noop", "in": "1h", "at": NOON},
        {"user_id": "u-1", "task_id": "t-4", "kind": "noop", "in": "soon"},
        {"user_id": "u-1", "task_id": "t-5", "in": "1h", "kind": "http", "config": {"url": "ftp://x"}},
        {"user_id": "u-1", "task_id": "", "kind": "noop", "in": "1h"},
        {"user_id": "u-2", "task_id": "t-6", "at": NOON, "kind": "http", "config": {"url": "https://example.com"}},
        {"user_id": "u-2", "task_id": "t-7", "kind": "noop", "in": 60, "policy": {"retries": {"max": 2}},
         "command_id": "c-7"},
        {"user_id": "u-2", "task_id": "t-8", "kind": "noop", "in": 60, "when": "now"},
        {"user_id": "u-2", "task_id": "t-9", "in": 60, "payload": {"text": "call back"}},
    ]  # fmt: skip
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else orjson.dumps(line).decode() for line in lines))
    return file


def test_a_file_of_tasks_is_sent_and_its_refused_lines_are_told_by_number(world: World, tasks: Path) -> None:
    said = say("task", "create", "--file", str(tasks), "--json")
    assert said.status == 1
    told = said.json
    assert (told["sent"], told["refused"], told["answers"]) == (3, 8, {})
    reasons = {each["line"]: each["reason"] for each in told["reasons"]}
    assert reasons.keys() == {2, 4, 5, 6, 7, 8, 11, 12}
    assert reasons[4] == "a task needs at or in"
    assert reasons[5] == "a task is due at or in, not both"
    assert reasons[6].endswith("(at $.in)")
    assert reasons[7].endswith("(at $.config.url)")
    assert reasons[8] == "this must not be empty (at $.task_id)"
    assert reasons[11] == "there is no field 'when' (at $.when)"
    assert reasons[12] == "this field is missing (at $.kind)"

    first, second, third = world.sent
    assert len(first.pop("command_id")) == 32
    assert first == {
        "command": "put", "user_id": "u-1", "monitor_id": "t-1",
        "monitor": {"kind": "noop", "config": {}, "schedule": {"in": "2h"}, "policy": {}, "payload": {"n": 1}},
    }  # fmt: skip
    assert (second["monitor_id"], second["monitor"]["schedule"]) == ("t-6", {"at": NOON})
    assert (third["command_id"], third["monitor"]["policy"]) == ("c-7", {"retries": {"max": 2}})


def test_a_file_of_tasks_is_told_to_people_with_its_rate(world: World, tasks: Path) -> None:
    said = say("task", "create", "--file", str(tasks))
    assert said.out.startswith("3 sent, 8 refused (")
    assert said.out.endswith(" a second)\n")
    assert "line 4: a task needs at or in\n" in said.err


def test_lines_that_a_worker_refuses_are_told_like_the_others(world: World, tasks: Path) -> None:
    world.refused_ids, world.reason, world.path = {"c-7"}, "it would never be due", "$.monitor.schedule"
    world.code = "invalid"
    said = say("task", "create", "--file", str(tasks), "--wait", "--json")
    told = said.json
    assert (said.status, told["sent"], told["refused"]) == (1, 3, 9)
    assert told["answers"] == {"done": 2, "refused": 1}
    reason = {"line": 10, "reason": "it would never be due (at $)", "path": "$", "code": "invalid"}
    assert reason in told["reasons"]


@pytest.mark.usefixtures("no_broker")
def test_a_file_in_which_nothing_is_right_needs_no_broker(tmp_path: Path) -> None:
    (tmp_path / "wrong.jsonl").write_text("{}\n" * 12)
    said = say("task", "create", "--file", str(tmp_path / "wrong.jsonl"))
    assert said.status == 1
    assert said.err.count("this field is missing (at $.user_id)") == 10
    assert "… and 2 more" in said.err
    assert said.out.startswith("0 sent, 12 refused (")


def test_an_import_that_is_cut_short_says_how_far_it_came(world: World, tasks: Path) -> None:
    world.silent = True
    said = say("task", "create", "--file", str(tasks), "--wait", "--json")
    assert said.status == 3
    assert (said.json["sent"], said.json["refused"]) == (1, 0)


def test_every_command_to_a_worker_ends_with_the_same_options() -> None:
    wanted = ["asked_id", "wait", "timeout", "data_dir", "bootstrap_servers", "as_json"]
    sent = {
        "monitor": ("put", "delete", "pause", "resume", "run-now"),
        "task": ("create", "cancel"),
        "user": ("deregister", "maintain"),
    }
    for name, commands in sent.items():
        group = typer.main.get_command(APPS[name])
        assert isinstance(group, typer.core.TyperGroup)
        for command in commands:
            assert [each.name for each in group.commands[command].params][-6:] == wanted, command
    for app in SINGLE.values():
        names = [each.name for each in typer.main.get_command(app).params]
        assert [name for name in names if not str(name).endswith("_completion")][-6:] == wanted


def test_every_command_explains_itself_with_an_example() -> None:
    for name, app in APPS.items():
        group = typer.main.get_command(app)
        assert isinstance(group, typer.core.TyperGroup)
        for command in group.commands.values():
            assert f"everwatch {name} {command.name} " in (command.help or ""), command.name


# --- signups and signals ----------------------------------------------------------------------------------------------

PLANS = """
[plans.free]
max_monitors = 1
[plans.pro]
"""
HTTP = ("--http", "https://example.com")


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of plans that the command line knows too."""
    (tmp_path / "plans.toml").write_text(PLANS)
    monkeypatch.setenv("EVERWATCH_PLANS_FILE", str(tmp_path / "plans.toml"))


def test_a_signup_that_is_only_sent_is_not_said_to_have_happened(world: World) -> None:
    said = say("signup", "u-1", "--plan", "gold")
    assert (said.status, said.out) == (0, "sent: signup u-1\n")
    assert world.sent == [{"user_id": "u-1", "plan": "gold", "attributes": {}, "monitors": []}]
    said = say("signal", "u-1", "backup", "--id", "n-1")
    assert (said.status, said.out) == (0, "sent: signal u-1/backup (id n-1)\n")
    assert world.sent[1] == {"user_id": "u-1", "monitor_id": "backup", "signal_id": "n-1"}


@pytest.mark.usefixtures("no_broker")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("u-1", "--every", "30s"), "A schedule needs a monitor"),
        (("u-1", "--plan", "pro", "--max-runs", "3"), "A schedule needs a monitor"),
        (("u-1", "--heartbeat", ""), "--heartbeat wants a period"),
        (("--file", "-", "--http", "https://example.com"), "With --file omit the options of one user"),
        (("--file", "-", "--every", "30s"), "With --file omit the options of one user"),
        (("--file", "-", "--attribute", "city=Bern"), "With --file omit the options of one user"),
        (("--file", "-", "--contact", "email=ada@example.com"), "With --file omit the options of one user"),
    ],
)
def test_an_option_of_a_signup_that_would_change_nothing_is_refused(arguments: tuple[str, ...], told: str) -> None:
    said = say("signup", *arguments)
    assert (said.status, told in said.err) == (2, True)


def test_a_refused_signup_names_the_reason_and_fails(world: World) -> None:
    world.answer, world.reason, world.path, world.code = (
        CommandOutcome.REFUSED,
        "there is no plan",
        "$.plan",
        "unknown_plan",
    )
    said = say("signup", "u-1", "--plan", "gold", "--wait")
    assert (said.status, said.out) == (1, "refused: signup u-1: there is no plan (at $.plan)\n")
    as_json = say("signup", "u-1", "--plan", "gold", "--wait", "--json")
    assert (as_json.status, as_json.json["code"]) == (1, "unknown_plan")
    assert as_json.json["signup_id"] == world.sent[1]["signup_id"]


def test_a_registration_is_said_to_be_one(world: World) -> None:
    world.answer = CommandOutcome.REGISTERED
    assert say("signup", "u-1", *HTTP, "--wait").out == "registered: signup u-1\n"


@pytest.mark.usefixtures("no_broker", "plans")
def test_a_plan_that_the_command_line_knows_is_checked_before_anything_is_sent() -> None:
    said = say("signup", "u-1", "--plan", "gold")
    assert (said.status, said.err) == (1, "there is no plan 'gold'; there are default, free, pro (at $.plan)")
    as_json = say("signup", "u-1", "--plan", "gold", "--json").json
    assert (as_json["answer"], as_json["code"], as_json["path"]) == ("refused", "unknown_plan", "$.plan")
    said = say("signup", "u-1", "--plan", "free", *HTTP, "--heartbeat", "1h")
    assert (said.status, said.err[:30]) == (1, "the plan 'free' allows 1 monit")


@pytest.mark.usefixtures("no_broker")
def test_plans_that_are_wrong_are_told_by_who_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_PLANS_FILE", str(tmp_path / "not-there.toml"))
    said = say("signup", "u-1")
    assert said.status == 2
    assert "not-there.toml cannot be read" in said.err


@pytest.mark.usefixtures("plans")
def test_a_file_of_signups_is_checked_sent_and_answered_line_by_line(world: World, tmp_path: Path) -> None:
    world.answer = CommandOutcome.REGISTERED
    lines = [
        b"\xef\xbb\xbf" + orjson.dumps({"user_id": "u-1", "plan": "pro"}),
        orjson.dumps({"user_id": "u-2", "plan": "gold"}),
        b'{"user_id": "\xff"}',
        orjson.dumps({"user_id": "u-4", "monitor": {"kind": "noop"}}),
        orjson.dumps({"user_id": "u-5"}),
    ]
    (tmp_path / "users").write_bytes(b"\r\n".join(lines))
    said = say("signup", "--file", str(tmp_path / "users"), "--wait", "--json")
    assert said.status == 1
    assert (said.json["sent"], said.json["refused"], said.json["answers"]) == (2, 3, {"registered": 2})
    assert [(each["line"], each["code"]) for each in said.json["reasons"]] == [
        (2, "unknown_plan"), (3, "invalid"), (4, "invalid"),
    ]  # fmt: skip
    assert [each["user_id"] for each in world.sent] == ["u-1", "u-5"]


def test_a_table_of_signups_may_name_what_is_checked(world: World, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(
        "user_id,plan,http,tcp,every,city\nu-1,pro,https://a.example,,30s,Bern\nu-2,,,a.example:x,,\nu-3,,,,,\n"
    )
    said = say("signup", "--file", str(tmp_path / "users.csv"))
    assert said.status == 1
    assert "line 3: an address to connect to is HOST:PORT, not 'a.example:x' (at $.tcp)" in said.err
    assert said.out.startswith("2 sent, 1 refused (")
    site = {"monitor_id": "http", "kind": "http", "config": {"url": "https://a.example"}, "schedule": {"every": "30s"}}
    assert world.sent == [
        {"user_id": "u-1", "plan": "pro", "attributes": {"city": "Bern"}, "monitors": [site]},
        {"user_id": "u-3", "monitors": []},
    ]


def test_a_pipe_is_read_once_and_loses_nothing(world: World, tmp_path: Path) -> None:
    pipe = tmp_path / "users.fifo"
    os.mkfifo(pipe)
    lines = b"".join(orjson.dumps({"user_id": f"u-{n}"}) + b"\n" for n in range(3_000))
    writer = threading.Thread(target=pipe.write_bytes, args=(lines,))
    writer.start()
    said = say("signup", "--file", str(pipe))
    writer.join()
    assert said.out.startswith("3000 sent, 0 refused (")
    assert [each["user_id"] for each in world.sent] == [f"u-{n}" for n in range(3_000)]


@pytest.mark.usefixtures("no_broker")
@pytest.mark.parametrize("command", [("signup",), ("task", "create")])
def test_a_loop_of_symbolic_links_is_a_sentence(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "b.jsonl")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "a.jsonl")
    said = say(*command, "--file", str(tmp_path / "a.jsonl"))
    assert (said.status, "Too many levels of symbolic links" in said.err) == (2, True)
