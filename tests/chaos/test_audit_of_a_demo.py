"""A demo is paused, resumed, changed and run by hand, and its worker is killed: the audit is clean."""

import os
import signal
from pathlib import Path

import orjson
import psutil
import pytest
from support.command import everwatch, run
from support.pipeline import PARTITIONS
from support.waiting import PATIENCE, now_ms, wait_until

from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.demo.companies import company
from everwatch.model import State
from everwatch.store.sql_reader import SqlReader, open_reader

pytestmark = [pytest.mark.chaos, pytest.mark.heavy]
USERS = 30


def worker_of(folder: Path) -> psutil.Process | None:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        try:
            if "worker" in words and str(folder) in process.environ().get("EVERWATCH_DATA_DIR", ""):
                return process
        except psutil.Error:
            continue
    return None


def reader_of(folder: Path) -> SqlReader | None:
    try:
        return open_reader(Settings(data_dir=folder))
    except StoreError:
        return None


def is_paused(reader: SqlReader, user_id: str) -> bool:
    return any(monitor.state is State.PAUSED for monitor in reader.monitors(user_id))


def user(number: int) -> str:
    return company(number).user_id


def job(number: int) -> str:
    return company(number).trade.job.monitor_id


def test_the_audit_of_a_troubled_demo_finds_nothing_missed_and_nothing_twice(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERWATCH_")}
    environment["EVERWATCH_PARTITIONS"] = str(PARTITIONS)
    arguments = "--users", str(USERS), "--every", "2s", "--json", "--data-dir", str(tmp_path)
    began = now_ms()

    def ask(*words: str) -> dict[str, object]:
        done = run(*words, "--wait", "--json", "--data-dir", str(tmp_path), environment=environment)
        assert done.returncode == 0, done.stderr
        return orjson.loads(done.stdout.splitlines()[-1])

    demo = everwatch("demo", *arguments, environment=environment, fresh=True)
    reader = None
    try:
        reader = wait_until("the database is there", lambda: reader_of(tmp_path), 90)
        assert reader is not None
        wait_until("everybody is signed up", lambda: reader.counts().users == USERS + 1, 60)
        up = wait_until("some are up", lambda: [m for m in reader.monitors(user(1)) if m.state is State.UP], 60)
        assert up
        ask("monitor", "pause", user(1), job(1))
        ask("monitor", "pause", user(2), job(2), "--for", "15s")
        changed = '{"period": "20s"}'
        ask("monitor", "put", user(3), job(3), "--kind", "heartbeat", "--config", changed, "--every", "1s")
        ask("task", "create", user(4), "soon", "--kind", "noop", "--in", "10s")
        ask("monitor", "run-now", user(5), job(5))
        worker = worker_of(tmp_path)
        assert worker is not None
        os.kill(worker.pid, signal.SIGKILL)
        # the demo starts another one; a command is answered when it is at work
        ask("monitor", "resume", user(1), job(1))
        ask("monitor", "delete", user(6), job(6))
        resumed = now_ms()
        wait_until("a pause has ended by itself", lambda: not is_paused(reader, user(2)), 30)
        wait_until("ticks go on", lambda: reader.results(limit=1)[0].result.scheduled_at > resumed + 12_000, 60)
        audited = run(
            *("audit", "--since", str((now_ms() - began) // 1000), "--settle", "3s", "--json"),
            *("--data-dir", str(tmp_path)),
            environment=environment,
        )
    finally:
        if reader is not None:
            reader.close()
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=60 * PATIENCE)
    report = orjson.loads(audited.stdout)
    assert audited.returncode == 0, report
    assert (report["missed"], report["duplicate"]) == (0, 0)
    assert report["manual"] == 1
    assert report["on_time"] > 100
    # the demo's own account comes to the same
    assert demo.returncode == 0, err
    summary = orjson.loads(out)
    assert (summary["missed"], summary["duplicates"]) == (0, 0)
