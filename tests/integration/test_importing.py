"""Users and monitors in from files and databases, and out again, as a shell does it."""

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Message
from support.command import everwatch, run
from support.pipeline import Pipeline
from support.waiting import wait_until

from everwatch.store.selections import TransitionSelection

pytestmark = pytest.mark.integration
USERS = 2_000
NOOP = [{"monitor_id": "m", "kind": "noop", "config": {}, "schedule": {"every": "1d"}}]


def told(pipeline: Pipeline, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Return what an import says of its one pass."""
    said = run("import", *arguments, "--json", environment=pipeline.environment)
    assert said.returncode == status, said
    counts: dict[str, Any] = orjson.loads(said.stdout)
    return counts


def stored(pipeline: Pipeline, prefix: str) -> dict[str, str]:
    """The users whose id begins so, and their sites."""
    return {
        user.user_id: str(user.attributes.get("site"))
        for user, monitors in pipeline.reader.catalogue()
        if user.user_id.startswith(prefix) and len(monitors) == 1
    }


def as_csv(folder: Path, users: dict[str, str]) -> tuple[str, ...]:
    file = folder / "users.csv"
    file.write_text("id,site\n" + "".join(f"{user},{site}\n" for user, site in users.items()))
    return str(file), "--map", "id=user_id"


def as_jsonl(folder: Path, users: dict[str, str]) -> tuple[str, ...]:
    file = folder / "users.jsonl"
    file.write_bytes(
        b"".join(orjson.dumps({"user_id": u, "attributes": {"site": s}}) + b"\n" for u, s in users.items())
    )
    return (str(file),)


def as_database(folder: Path, users: dict[str, str]) -> tuple[str, ...]:
    with sqlite3.connect(folder / "app.db") as app:
        app.execute("CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, site TEXT)")
        app.executemany("INSERT OR REPLACE INTO users VALUES (?, ?)", users.items())
    app.close()
    return "--sql", "select id as user_id, site from users", "--from", f"sqlite:///{folder / 'app.db'}"


@pytest.mark.parametrize("written", [as_csv, as_jsonl, as_database])
def test_users_are_imported_and_then_only_the_three_that_changed(
    pipeline: Pipeline, tmp_path: Path, written: Callable[[Path, dict[str, str]], tuple[str, ...]]
) -> None:
    prefix = f"imp-{written.__name__}-"
    users = {f"{prefix}{n:05d}": f"site-{n}" for n in range(USERS)}
    more = ("--monitors", orjson.dumps(NOOP).decode())
    assert told(pipeline, *written(tmp_path, users), *more)["sent"] == USERS
    wait_until("all of them are stored", lambda: stored(pipeline, prefix) == users, 60)
    users |= {f"{prefix}{n:05d}": "changed" for n in (0, 1_000, 1_999)}
    counts = told(pipeline, *written(tmp_path, users), *more)
    assert (counts["read"], counts["changed"], counts["unchanged"], counts["sent"]) == (USERS, 3, USERS - 3, 3)
    wait_until("the three have changed", lambda: stored(pipeline, prefix) == users, 60)


def test_an_export_imported_where_it_came_from_changes_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    site = {"monitor_id": "s", "kind": "http", "config": {"url": "http://127.0.0.1:9/", "headers": {"a": "b"}}}
    # not due while this lasts: a run in between would change the state that is compared
    site["schedule"] = {"every": "1m", "start_at": "2100-01-01T00:00:00Z"}
    held = {"user_id": "exp-1", "plan": "pro", "attributes": {"n": 1.5, "t": 'a,"b"\n'}, "monitors": [*NOOP, site]}
    task = {"monitor_id": "later", "kind": "noop", "schedule": {"in": "2h"}, "payload": {"z": 1, "a": [None]}}
    put = {
        "monitor_id": "put",
        "kind": "noop",
        "schedule": {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", "spread": "10m", "max_runs": 5},
        "policy": {"retries": {"max": 3}, "maintenance": [{"cron": "0 2 * * 6", "duration": "2h"}]},
    }
    rows = [held, {"user_id": "exp-1", "monitor": task}, {"user_id": "exp-1", "monitor": put}]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    told(pipeline, str(tmp_path / "in.jsonl"))

    def ours() -> list[Any]:
        return [found for found in pipeline.reader.catalogue("exp-1") if len(found[1]) == 4 and found[0].plan == "pro"]

    [(user, monitors)] = wait_until("all of it is stored", ours)
    run("monitor", "pause", "exp-1", "put", "--wait", environment=pipeline.environment)
    wait_until("the pause is stored", lambda: pipeline.monitor("exp-1", "put").state == "paused")  # type: ignore[union-attr]
    [(user, monitors)] = ours()
    transitions = pipeline.reader.transitions(TransitionSelection("exp-1"))
    for name in ("out.jsonl", "out.csv"):
        said = run("export", "--user", "exp-1", "--output", str(tmp_path / name), environment=pipeline.environment)
        assert said.returncode == 0, said
        assert told(pipeline, str(tmp_path / name))["new"] == 3
    # what is sent after it, on both topics, is stored: so the import was taken in before
    answered = run(
        "monitor",
        "put",
        "exp-1",
        "after",
        "--kind",
        "noop",
        "--every",
        "1d",
        "--wait",
        environment=pipeline.environment,
    )
    assert answered.returncode == 0, answered
    (tmp_path / "last.jsonl").write_bytes(orjson.dumps(held | {"plan": "last"}))
    told(pipeline, str(tmp_path / "last.jsonl"))
    wait_until("the last signup is stored", lambda: pipeline.reader.user("exp-1").plan == "last")  # type: ignore[union-attr]
    wait_until("the last command is stored", lambda: pipeline.monitor("exp-1", "after"))
    [(after, later)] = pipeline.reader.catalogue("exp-1")
    assert [monitor for monitor in later if monitor.monitor_id != "after"] == monitors
    assert (after.attributes, after.monitor_ids) == (user.attributes, user.monitor_ids)
    assert [
        t for t in pipeline.reader.transitions(TransitionSelection("exp-1")) if t.monitor_id != "after"
    ] == transitions


def test_an_import_killed_in_the_middle_and_started_again_brings_everybody(pipeline: Pipeline, tmp_path: Path) -> None:
    users = {f"kill-{n:06d}": "x" for n in range(20_000)}
    file, *more = as_csv(tmp_path, users)
    state = str(tmp_path / "state")
    # a source that gives three quarters of its rows, and then keeps us waiting
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    first = everwatch("import", str(pipe), *more, "--state", state, environment=pipeline.environment)
    with pipe.open("wb") as writer:
        writer.write(Path(file).read_bytes()[: Path(file).stat().st_size * 3 // 4])
        writer.flush()
        wait_until("some are sent", lambda: any(is_of(users, m) for m in pipeline.read(pipeline.topics.signups)), 60)
        first.send_signal(signal.SIGKILL)
        assert first.wait(60) == -signal.SIGKILL
    first.communicate()
    counts = told(pipeline, file, *more, "--state", state)
    assert (counts["read"], counts["changed"], counts["refused"]) == (len(users), 0, 0)
    assert 5_000 <= counts["new"] <= len(users)
    sent = {message.key().decode() for message in pipeline.read(pipeline.topics.signups)}
    assert users.keys() <= sent
    assert told(pipeline, file, *more, "--state", state)["unchanged"] == len(users)


def is_of(users: dict[str, str], message: Message) -> bool:
    return message.key().decode() in users


def test_pass_after_pass_picks_up_users_who_registered_meanwhile(pipeline: Pipeline, tmp_path: Path) -> None:
    source = as_database(tmp_path, {"per-1": "a", "per-2": "b"})
    watching = everwatch(
        "import", *source, "--every", "1s", "--monitors", orjson.dumps(NOOP).decode(), "--json",
        environment=pipeline.environment,
    )  # fmt: skip
    try:
        wait_until("the first pass is stored", lambda: stored(pipeline, "per-") == {"per-1": "a", "per-2": "b"}, 60)
        as_database(tmp_path, {"per-2": "c", "per-3": "d"})
        wanted = {"per-1": "a", "per-2": "c", "per-3": "d"}
        wait_until("who came later is stored", lambda: stored(pipeline, "per-") == wanted, 60)
    finally:
        watching.terminate()
        out, err = watching.communicate(timeout=120)
    assert watching.returncode == 0, err
    passes = [orjson.loads(line) for line in out.splitlines()]
    assert (sum(each["new"] for each in passes), sum(each["changed"] for each in passes)) == (3, 1)
