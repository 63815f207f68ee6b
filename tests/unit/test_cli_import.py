"""``everwatch import`` and ``everwatch export`` without a broker: what is told and sent, with which exit status.

All in one file: two commands that read each other's output.
"""

import gzip
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from msgspec.structs import replace
from support.command_line import Said, run_command
from support.importing import Workers
from support.new_databases import open_new_store

from everwatch.cli.commands import export, import_
from everwatch.cli.support.run_parts import commands_given
from everwatch.core.config import Settings
from everwatch.model import Monitor, Origin, State, User
from everwatch.rules import lifecycle
from everwatch.rules.admission import admit_command, admit_signup
from everwatch.rules.registration_rules import newcomer
from everwatch.store import CatalogueEntry, Partition, Received, SinkBatch
from everwatch.transfer.ledger import Ledger

APP = typer.Typer()
APP.command("import")(import_.import_)
APP.command("export")(export.export)
NOW = 1_795_262_400_000
CHANGELOG = Partition("everwatch-monitors-changelog", 3)


def say(*arguments: str, text: bytes = b"") -> Said:
    """Run a command; an error on purpose ends as ``everwatch`` ends it."""
    return run_command(APP, *arguments, text=text)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's settings, nobody's log handlers replaced; files are named from the working folder."""
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def porter() -> Iterator[Workers]:
    made = Workers()
    with commands_given(row_ways=made):
        yield made


# --- import -----------------------------------------------------------------------------------------------------------


def test_a_file_is_imported_once_and_then_only_what_changed(porter: Workers, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("id,site\nu-1,a\nu-2,b\n")
    said = say("import", "users.csv", "--map", "id=user_id", "--plan", "pro")
    assert said.status == 0
    assert said.out.startswith("users.csv: 2 read, 2 new, 0 changed, 0 unchanged, 0 refused, sent 2 (")
    assert porter.sent[1] == {"user_id": "u-2", "plan": "pro", "attributes": {"site": "b"}}
    file.write_text("id,site\nu-1,a\nu-2,c\nu-3,d\n")
    told = say("import", "users.csv", "--map", "id=user_id", "--plan", "pro", "--json").json
    assert told.pop("seconds") >= 0
    unasked = {"again": 0, "accepted": 0, "refused_before": 0}
    assert told == {"read": 3, "new": 1, "changed": 1, "unchanged": 1, "refused": 0, "sent": 2} | unasked
    assert [path.name.partition("-")[0] for path in (tmp_path / "data" / "imports").iterdir()] == ["users"]


def test_wrong_rows_are_told_by_file_and_line_and_all_of_them_in_a_file(porter: Workers, tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_text('{"user_id": "u-1"}\n' + '{"user_id": "u-2", "plan": ""}\n' * 12)
    said = say("import", "users.jsonl", "--rejects", "rejects.txt")
    assert (said.status, len(porter.sent)) == (1, 1)
    told = said.err.splitlines()
    assert told[0] == "users.jsonl:2: this must not be empty (at $.plan)"
    assert len(told) == 11
    assert told[10] == "… more of them are in the file of --rejects"
    rejects = (tmp_path / "rejects.txt").read_text().splitlines()
    assert (len(rejects), rejects[-1]) == (12, "users.jsonl:13: this must not be empty (at $.plan)")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Give either FILE, or --sql with --from"),
        (("--sql", "select 1"), "Give either FILE, or --sql with --from"),
        (("users.txt",), "say --format csv or --format jsonl"),
        (("none.csv",), "The file none.csv cannot be read: No such file or directory."),
        (("head.csv",), "has no column user_id but id, plan"),
        (("head.csv", "--map", "id"), "--map wants COLUMN=FIELD, not 'id'."),
        (("head.csv", "--delimiter", ""), "--delimiter wants one character"),
        (("head.csv", "--encoding", "nosuch"), "unknown encoding"),
        (("head.csv", "--monitors", "[{"), "--monitors is not valid JSON"),
        (("head.csv", "--every", "soon"), "--every: 'soon' is not a duration"),
        (("-", "--format", "csv", "--every", "1m"), "stdin can be read only once"),
        (("--sql", "select 1", "--from", "postgresql://u:hunter2@"), ""),
        (("--sql", "select 1", "--from", "hunter2"), "What --from says is not a database URL"),
        (("--sql", "select 1", "--from", "@none"), "The file none of --from cannot be read."),
    ],
)
def test_what_cannot_be_imported_is_told_in_one_sentence(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    (tmp_path / "head.csv").write_text("id,plan\n")
    said = say("import", *arguments)
    assert said.status == 2
    assert told in said.err
    assert "hunter2" not in said.err
    assert "Traceback" not in said.err


def test_a_pass_whose_header_or_rejects_fail_is_told_and_the_next_one_tries_again(
    porter: Workers, tmp_path: Path
) -> None:
    file = tmp_path / "u.csv"
    # more than any cell may have
    file.write_text(f"user_id,{'x' * 600_000}\nu-1,\n")
    night = Night(lambda: file.write_text("user_id,plan\n,\nu-1,\n"))
    with commands_given(new_stop=lambda: night):
        # a disk that is full
        said = say("import", "u.csv", "--every", "5m", "--rejects", "/dev/full", "--json")
    assert said.status == 0
    assert [orjson.loads(line)["failed"] for line in said.out.splitlines()] == [
        "The first line of u.csv cannot be read as CSV: field larger than field limit (524288).",
        "The file /dev/full cannot be written: No space left on device.",
    ]
    assert [each["user_id"] for each in porter.sent] == ["u-1"]


def test_a_dry_run_says_what_would_be_sent_and_looks_for_no_broker(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("user_id\nu-1\n")
    said = say("import", "u.csv", "--dry-run")
    assert (said.status, "1 new" in said.out, "would send 1" in said.out) == (0, True, True)
    assert not (tmp_path / "data" / "imports").exists()


def test_stdin_is_imported(porter: Workers) -> None:
    assert say("import", "-", "--format", "jsonl", text=b'{"user_id": "u-1"}\n').status == 0
    assert porter.sent == [{"user_id": "u-1"}]


@pytest.mark.parametrize("source", ["u.jsonl", "-"])
def test_what_one_kafka_or_prefix_was_sent_another_is_sent_too(
    porter: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    row = b'{"user_id": "u-1"}\n'
    (tmp_path / "u.jsonl").write_bytes(row)

    def new(*more: str) -> int:
        return int(say("import", source, "--format", "jsonl", "--json", *more, text=row).json["new"])

    def twice(*more: str) -> tuple[int, int]:
        return new(*more), new(*more)

    assert twice() == (1, 0)
    assert twice("--bootstrap-servers", "a:9092,b:9092") == (1, 0)
    assert new("--bootstrap-servers", "b:9092, a:9092") == 0
    assert twice("--bootstrap-servers", "c:9092") == (1, 0)
    monkeypatch.setenv("EVERWATCH_TOPIC_PREFIX", "other.")
    assert twice() == (1, 0)
    assert len(porter.sent) == 4


def test_a_second_import_on_one_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("user_id\nu-1\n")
    with Ledger(tmp_path / "state"):
        said = say("import", "u.csv", "--state", "state")
    assert said.status == 7
    assert "Another import is at work with the state file" in said.err


def test_an_import_that_is_interrupted_keeps_what_it_sent_and_says_so(porter: Workers, tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("user_id\n" + "".join(f"u-{n}\n" for n in range(5_000)))
    porter.at_send = lambda: os.kill(os.getpid(), signal.SIGINT)
    said = say("import", "u.csv")
    assert said.status == 130
    assert ": 2000 read, 2000 new" in said.out
    assert said.out.rstrip().endswith("stopped")
    porter.at_send = lambda: None
    assert say("import", "u.csv", "--json").json["new"] == 3_000


def test_a_ctrl_c_while_nothing_arrives_ends_as_one(porter: Workers, tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("user_id\nu-1\n")

    def hang() -> None:
        porter.away = True
        os.kill(os.getpid(), signal.SIGINT)

    porter.at_send = hang
    said = say("import", "u.csv")
    assert said.status == 130
    assert "everwatch: No Kafka broker answered." in said.err


class Night:
    """Waits that last as long as it takes to do something else; then SIGTERM."""

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        self._meanwhile = list(meanwhile)
        self.waited: list[float] = []

    def set(self) -> None:
        pass

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        if self._meanwhile:
            self._meanwhile.pop(0)()
        else:
            os.kill(os.getpid(), signal.SIGTERM)


def test_pass_after_pass_picks_up_what_is_new_and_outlives_what_fails(porter: Workers, tmp_path: Path) -> None:
    file = tmp_path / "u.csv"
    file.write_text("user_id\nu-1\n")

    def lose_the_broker() -> None:
        file.write_text("user_id\nu-1\nu-2\nu-3\n")
        porter.away = True

    def find_the_broker() -> None:
        porter.away = False

    night = Night(
        lambda: file.write_text("user_id\nu-1\nu-2\n"),
        file.unlink,
        lose_the_broker,
        find_the_broker,
    )
    with commands_given(new_stop=lambda: night):
        said = say("import", "u.csv", "--every", "5m", "--json")
    assert said.status == 0
    told = [orjson.loads(line) for line in said.out.splitlines()]
    assert [(each.get("read"), each.get("new")) for each in told] == [
        (1, 1),
        (2, 1),
        (None, None),
        (None, None),
        (3, 1),
    ]
    assert told[2]["failed"] == "The file u.csv cannot be read: No such file or directory."
    assert told[3]["failed"] == "No Kafka broker answered."
    assert [each["user_id"] for each in porter.sent] == ["u-1", "u-2", "u-3"]
    assert all(299 < seconds <= 300 for seconds in night.waited)


# --- export -----------------------------------------------------------------------------------------------------------

ANNA = {
    "user_id": "anna",
    "plan": "pro",
    "attributes": {"site": 'a "b", c'},
    "monitors": [
        {"monitor_id": "z", "kind": "http", "config": {"url": "https://a.example/"}, "schedule": {"every": "30s"}},
        {"monitor_id": "a", "kind": "noop", "config": {}, "schedule": {"at": "2026-11-21T12:00:00Z"}},
    ],
    "maintenance": [{"cron": "0 2 * * 6", "timezone": "Europe/Berlin", "duration": "2h"}],
}
BEA = {"user_id": "bea", "plan": "default"}
PUT = {"monitor_id": "put", "kind": "noop", "config": {}, "schedule": {"cron": "0 9 * * *", "timezone": "UTC"}}
TASK = {"monitor_id": "task", "kind": "noop", "config": {}, "schedule": {"at": "2027-01-01T00:00:00Z"}, "payload": [1]}
OVER = {"monitor_id": "over", "kind": "noop", "config": {}, "schedule": {"at": "2026-11-21T11:00:00Z"}}


def put(user_id: str, monitor: dict[str, Any], **fields: Any) -> Monitor:
    spec = admit_command(orjson.dumps({"command": "put", "user_id": user_id, "monitor": monitor})).monitor
    assert spec is not None
    return replace(lifecycle.first_put(user_id, spec, Origin.COMMAND, NOW - 3_700_000, NOW - 3_700_000), **fields)


@pytest.fixture
def database(tmp_path: Path) -> None:
    """Anna, of whose signup one monitor is over, and Bea, who has monitors by command: one paused, one over."""
    held: list[User | Monitor] = []
    for signup in (BEA, ANNA):
        user, monitors = newcomer(admit_signup(orjson.dumps(signup), NOW), NOW - 3_700_000, NOW - 3_700_000)
        held += [user, *monitors]
    held[-1] = replace(held[-1], state=State.DONE)  # type: ignore[type-var]
    held += [put("bea", PUT, state=State.PAUSED), put("bea", TASK), put("bea", OVER, state=State.DONE)]
    entries = [CatalogueEntry(v.user_id, v.monitor_id if isinstance(v, Monitor) else "", v) for v in held]
    received = [Received(CHANGELOG, offset, NOW, entry) for offset, entry in enumerate(entries)]
    store = open_new_store(Settings(data_dir=tmp_path / "data"))
    store.apply(SinkBatch(NOW, {CHANGELOG: len(received)}, entries=received))
    store.close()


HERS = [{"user_id": "bea", "monitor": PUT}, {"user_id": "bea", "monitor": TASK}]


@pytest.mark.usefixtures("database")
def test_an_export_is_the_signups_and_puts_that_made_what_there_is() -> None:
    said = say("export")
    assert [orjson.loads(line) for line in said.out.splitlines()] == [ANNA, BEA, *HERS]
    assert said.err == "1 monitors are paused, which an export does not contain\n"
    assert [orjson.loads(line) for line in say("export", "--users-only").out.splitlines()] == [ANNA, BEA]
    assert [orjson.loads(line) for line in say("export", "--user", "anna").out.splitlines()] == [ANNA]
    everything = [orjson.loads(line) for line in say("export", "--all", "--user", "bea").out.splitlines()]
    assert everything == [BEA, {"user_id": "bea", "monitor": OVER}, *HERS]
    said = say("export", "--user", "nobody")
    assert (said.status, said.out) == (1, "")
    assert "holds no user 'nobody'" in said.err


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("name", ["all.csv", "all.jsonl", "all.csv.gz", "all.jsonl.gz"])
def test_what_was_exported_is_imported_as_the_same_events(porter: Workers, tmp_path: Path, name: str) -> None:
    said = say("export", "--output", name, "--json")
    assert orjson.loads(said.err) == {"users": 2, "monitors": 2, "paused": 1, "redacted": 0}
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.glob("*.partial")] == []
    assert say("import", name).status == 0
    assert porter.sent == [ANNA, BEA, *({"command": "put", **each} for each in HERS)]
    if name.endswith(".gz"):
        assert gzip.decompress((tmp_path / name).read_bytes())


@pytest.mark.usefixtures("database")
def test_an_export_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    assert say("export", "--output", "bea.jsonl", "--user", "nobody").status == 1
    assert not (tmp_path / "bea.jsonl").exists()
    assert not (tmp_path / "bea.jsonl.partial").exists()
    said = say("export", "--output", "none/all.jsonl")
    assert (said.status, "cannot be written: No such file or directory." in said.err) == (1, True)


# --- exports of other products ----------------------------------------------------------------------------------------


def test_an_export_of_another_product_becomes_a_signup_with_a_report(porter: Workers, tmp_path: Path) -> None:
    checks = {"checks": [{"slug": "backup", "timeout": 3600, "grace": 60}, {"slug": "off", "status": "paused"}]}
    (tmp_path / "checks.json").write_bytes(orjson.dumps(checks))
    arguments = ("import", "checks.json", "--format", "healthchecks", "--user", "acme", "--plan", "pro")
    dry = say(*arguments, "--dry-run")
    assert (dry.status, porter.sent) == (0, [])
    assert "checks.json: off: not imported: it is paused there" in dry.err
    assert dry.out.endswith("checks.json: 1 monitors for user acme, 1 left out\n")
    told = say(*arguments, "--json").json
    assert (told["sent"], [each["monitor"] for each in told["no_counterpart"]]) == (1, ["backup", "off"])
    config = {"period": "3600s", "grace": "60s", "max_duration": "60s"}
    monitor = {"monitor_id": "backup", "kind": "heartbeat", "config": config}
    assert porter.sent == [{"user_id": "acme", "monitors": [monitor], "plan": "pro"}]
    assert say(*arguments, "--json").json["unchanged"] == 1


@pytest.mark.usefixtures("porter")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("x.json", "--format", "uptime-kuma"), "--user USER says whose monitors"),
        (("x.csv", "--user", "acme"), "--user USER says whose monitors"),
        (("x.json", "--format", "healthchecks", "--user", "a", "--map", "a=b"), "--map, --ignore and --monitors are"),
        (("x.json", "--format", "healthchecks", "--user", "a"), "The file x.json cannot be read: No such file"),
    ],
)
def test_what_does_not_go_together_is_told(arguments: tuple[str, ...], told: str) -> None:
    said = say("import", *arguments)
    assert (said.status, told in said.err) == (2, True), said


def test_a_loop_of_symbolic_links_is_a_sentence(porter: Workers, tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "b.csv")
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")
    said = say("import", "a.csv")
    assert (said.status, "Too many levels of symbolic links" in said.err, porter.sent) == (2, True, [])
