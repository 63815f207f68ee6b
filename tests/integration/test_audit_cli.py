"""``everwatch audit`` and ``everwatch explain`` over a database that a sink has filled."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from click.testing import Result as Said
from support.new_databases import open_new_store
from typer.testing import CliRunner

from everwatch.cli.commands.audit import audit
from everwatch.cli.commands.explain import explain
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.model import (
    Align,
    At,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Policy,
    Result,
    Retries,
    Status,
    User,
)
from everwatch.rules import lifecycle
from everwatch.store import CatalogueEntry, Partition, Received, SinkBatch, SqlStore

pytestmark = pytest.mark.integration

MINUTE = 60_000
CHANGELOG, RESULTS, TRANSITIONS = Partition("changelog", 3), Partition("results", 3), Partition("transitions", 3)
# nobody listens there
NO_BROKER = ("--bootstrap-servers", "127.0.0.1:1")

app = typer.Typer()
app.command()(audit)
app.command()(explain)


class Sink:
    """Fills a database as the sink does. ``now`` is a whole minute, the last one that had passed."""

    def __init__(self, store: SqlStore, folder: Path) -> None:
        now = SystemClock().now_ms()
        self.now = now - now % MINUTE
        self._store = store
        self._folder = folder
        self._next = {CHANGELOG: 0, RESULTS: 0, TRANSITIONS: 0}

    @property
    def until_then(self) -> tuple[str, str]:
        """The option by which an audit ends just before ``now``."""
        return "--until", datetime.fromtimestamp(self.now / 1000, UTC).isoformat()

    def ago(self, minutes: int) -> int:
        return self.now - minutes * MINUTE

    def put(self, *values: User | Monitor) -> None:
        entries = [CatalogueEntry(v.user_id, v.monitor_id if isinstance(v, Monitor) else "", v) for v in values]
        self._apply(CHANGELOG, entries=entries)

    def delete(self, user_id: str, monitor_id: str, at: int) -> None:
        self._apply(CHANGELOG, at, entries=[CatalogueEntry(user_id, monitor_id, None)])

    def results(self, *results: Result) -> None:
        self._apply(RESULTS, results=list(results))

    def _apply(self, source: Partition, at: int = 1, **values: list[Any]) -> None:
        [(name, some)] = values.items()
        first = self._next[source]
        self._next[source] += len(some)
        received = [Received(source, offset, at, value) for offset, value in enumerate(some, first)]
        self._store.apply(SinkBatch(self.now, {source: self._next[source]}, **{name: received}))

    def says(self, *arguments: str) -> Said:
        return CliRunner().invoke(app, [*arguments, "--data-dir", str(self._folder)])


@pytest.fixture(params=["sqlite", "postgresql"])
def sink(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    monkeypatch.setenv("EVERWATCH_DATABASE", url)
    store = open_new_store(Settings(data_dir=tmp_path, database=url))
    yield Sink(store, tmp_path)
    store.close()


def monitor(since: int, user_id: str = "anna", schedule: Any = None, **fields: Any) -> Monitor:
    spec = MonitorSpec("shop", "http", "{}", schedule or Every(MINUTE, Align.EPOCH), **fields)
    return lifecycle.first_put(user_id, spec, Origin.SIGNUP, since, since)


def result(at: int, user_id: str = "anna", status: Status = Status.SUCCESS, **fields: Any) -> Result:
    usual: dict[str, Any] = {"started_at": at + 50, "duration_ms": 12.0}
    return Result(user_id, "shop", at, "http", 1, status, "200 OK", **usual | fields)


def filled(sink: Sink) -> None:
    """Two users with a monitor each, due once a minute for the last ten minutes; everything ran."""
    for user in ("anna", "bert"):
        sink.put(User(user, "pro", {}, ("shop",), 1, 1), monitor(sink.ago(10), user))
        sink.results(*(result(sink.ago(minutes), user) for minutes in range(10)))


# --- audit ----------------------------------------------------------------------------------------------------------


def test_a_history_in_which_everything_ran_is_clean(sink: Sink) -> None:
    filled(sink)
    said = sink.says("audit", *sink.until_then)
    assert said.exit_code == 0, said.output
    assert "nothing missed, nothing twice: 18 ticks of 2 monitors of 2 users" in said.stdout.replace("\n", " ")


def test_what_is_missed_and_what_is_too_much_is_told_with_examples(sink: Sink) -> None:
    filled(sink)
    sink.put(monitor(sink.ago(10), "carl"))
    sink.results(result(sink.ago(5) + 100))
    said = sink.says("audit", *sink.until_then, "--limit", "3", "--json")
    assert said.exit_code == 1
    told = orjson.loads(said.stdout)
    assert {name: told[name] for name in ("ticks", "on_time", "missed", "duplicate", "users", "monitors")} == {
        "ticks": 27,
        "on_time": 18,
        "missed": 9,
        "duplicate": 1,
        "users": 3,
        "monitors": 3,
    }
    missed, [duplicate] = told["examples"]["missed"], told["examples"]["duplicate"]
    assert len(missed) == 3
    assert {(example["user"], example["monitor"]) for example in missed} == {("carl", "shop")}
    assert duplicate["instant"].endswith(".100Z")

    for_people = sink.says("audit", *sink.until_then, "--limit", "3")
    assert for_people.exit_code == 1
    assert "9 missed, 1 too many" in for_people.stdout
    assert "and 6 more" in for_people.stdout


def test_a_database_that_is_younger_than_the_monitors_says_what_it_does_not_know(sink: Sink) -> None:
    sink.put(User("anna", "pro", {}, ("shop",), 1, 1), monitor(sink.ago(10)))
    sink.results(*(result(sink.ago(minutes)) for minutes in range(5)))
    said = sink.says("audit", *sink.until_then, "--json")
    told = orjson.loads(said.stdout)
    assert (said.exit_code, told["unknown"], told["missed"], told["on_time"]) == (0, 5, 0, 4), said.output
    assert "has nothing from before" in sink.says("audit", *sink.until_then).stderr.replace("\n", " ")


def test_one_user_is_audited_alone(sink: Sink) -> None:
    filled(sink)
    sink.put(monitor(sink.ago(10), "carl"))
    assert sink.says("audit", *sink.until_then, "--user", "anna").exit_code == 0
    assert sink.says("audit", *sink.until_then, "--user", "carl").exit_code == 1


def test_what_is_young_is_left_alone_and_said_so_where_it_is_asked_for(sink: Sink) -> None:
    # as a span before the last minute; what comes after that may be under way
    filled(sink)
    young = sink.says("audit", "--until", "0s", "--settle", "10m")
    assert "may still" in young.stderr
    settled = sink.says("audit", "--settle", "1m")
    assert settled.exit_code == 0
    assert settled.stderr == ""


def test_a_monitor_that_was_changed_paused_and_deleted_owes_what_it_was_due_meanwhile(sink: Sink) -> None:
    begun = monitor(sink.ago(30))
    changed = lifecycle.put_again(
        begun, MonitorSpec("shop", "http", "{}", Every(2 * MINUTE, Align.EPOCH)), Origin.SIGNUP, sink.ago(25)
    )
    paused = lifecycle.pause(changed, sink.ago(15))
    resumed = lifecycle.resume(paused, sink.ago(10))
    sink.put(begun, changed, paused, resumed)
    sink.delete("anna", "shop", at=sink.ago(5))
    every_second = [t for t in range(sink.ago(24), sink.ago(4), MINUTE) if t % (2 * MINUTE) == 0]
    due = [sink.ago(minutes) for minutes in range(29, 24, -1)]
    due += [t for t in every_second if t <= sink.ago(15) or sink.ago(10) < t <= sink.ago(5)]
    sink.results(*map(result, due))
    said = sink.says("audit", "--json")
    assert (said.exit_code, orjson.loads(said.stdout)["on_time"]) == (0, len(due)), said.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--since", "banana"], "--since: 'banana' is neither an instant"),
        (["--until", "2026-11-21T09:00:00"], "--until"),
        (["--late-after", "soon"], "--late-after"),
        (["--since", "10s"], "nothing between"),
    ],
)
def test_a_wrong_interval_is_refused_in_one_sentence(sink: Sink, options: list[str], told: str) -> None:
    said = sink.says("audit", *options)
    assert isinstance(said.exception, SettingsError)
    assert told in str(said.exception)


# --- explain --------------------------------------------------------------------------------------------------------


def test_a_monitor_is_explained_from_the_database_where_no_broker_answers(sink: Sink) -> None:
    failing = monitor(sink.ago(10), policy=Policy(timeout_ms=5_000, retries=Retries(most=1)))
    first = result(sink.now, status=Status.FAILURE, started_at=sink.now)
    waiting = lifecycle.after_result(failing, first)
    sink.put(User("anna", "pro", {}, ("shop",), 1, 1), failing, waiting)
    sink.results(first)
    said = sink.says("explain", "anna", "shop", *NO_BROKER)
    assert said.exit_code == 0, said.output
    lines = [" ".join(line.split()) for line in said.stdout.splitlines()]
    assert lines[0].startswith("anna/shop is new since ")
    assert "policy timeout 5 s, retries (most 1)" in lines
    assert "partition 3" in lines
    assert any(line.startswith("agenda a retry at ") and ": attempt 2 of the tick of " in line for line in lines)
    assert any(line.startswith("processes not known: No Kafka broker") for line in lines)
    assert "no results since" not in said.stdout


def test_silence_is_told_first_and_in_json_too(sink: Sink) -> None:
    sink.put(User("anna", "pro", {}, ("shop",), 1, 1), monitor(sink.ago(30)))
    sink.results(result(sink.ago(20)))
    said = sink.says("explain", "anna", "shop", *NO_BROKER)
    assert "no results since" in said.stdout.splitlines()[1]
    assert "the state is that of the last result" in said.stdout
    told = orjson.loads(sink.says("explain", "anna", "shop", "--json", *NO_BROKER).stdout)
    assert (told["silence"]["since"], told["silence"]["due_at"]) == (sink.ago(20), sink.ago(19))
    assert len(told["next_runs"]) == 5
    assert told["schedule_text"].startswith("every 1m")
    assert told["owners"] is None
    assert "No Kafka broker" in told["broker"]


@pytest.mark.parametrize(
    ("user", "name", "told"),
    [
        ("nobody", "shop", "The database holds no user 'nobody' (a moment ago, or not yet)."),
        ("anna", "blog", "User 'anna' has no monitor 'blog'; it has 'shop'."),
    ],
)
def test_what_is_not_there_is_told_in_one_sentence(sink: Sink, user: str, name: str, told: str) -> None:
    sink.put(User("anna", "pro", {}, ("shop",), 1, 1), monitor(sink.ago(30)))
    said = sink.says("explain", user, name, *NO_BROKER)
    assert isinstance(said.exception, EverwatchError)
    assert (str(said.exception), said.exception.exit_code) == (told, 1)


def test_a_task_that_its_worker_has_forgotten_is_told_from_the_database(sink: Sink) -> None:
    put = monitor(sink.ago(30), schedule=At(sink.ago(20)))
    done = lifecycle.after_result(put, result(sink.ago(20)))
    sink.put(User("anna", "pro", {}, (), 1, 1), put, done)
    sink.delete("anna", "shop", at=sink.ago(5))
    said = sink.says("explain", "anna", "shop", *NO_BROKER)
    assert "was a delayed task: it is done since" in str(said.exception)
