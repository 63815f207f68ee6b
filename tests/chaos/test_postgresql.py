"""Everything on PostgreSQL: an empty database is filled, every command reads it, and the server may crash."""

import signal
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from conftest import NewPipeline
from support.command import everwatch, run
from support.pipeline import PARTITIONS, Pipeline, every
from support.postgres import Missing, PostgresServer, running
from support.waiting import now_ms, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.chaos]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module's own, that keeps what it has committed."""
    try:
        with running("shared_buffers=64MB") as started:
            yield started
    except Missing as error:
        pytest.skip(str(error))


def test_up_fills_an_empty_database_which_every_command_reads(
    server: PostgresServer, new_pipeline: NewPipeline, tmp_path: Path
) -> None:
    pipeline = new_pipeline(database=server.new_database().replace("everwatch@", "everwatch:secret@"))
    log = (tmp_path / "up.log").open("w")
    up = everwatch("up", environment=pipeline.environment, stderr=log)
    try:
        wait_until("the sink has made the tables", pipeline.has_database, 90)
        pipeline.sign_up("anna", every("nothing", "noop"), every("closed", "tcp", host="127.0.0.1", port=1))
        pipeline.wait_for_states("anna", 60, nothing="up", closed="down")
        began = pipeline.wait_for_results("anna", "nothing", 3)[-1].scheduled_at

        def said(*arguments: str, status: int = 0) -> str:
            found = run(*arguments, environment=pipeline.environment)
            assert found.returncode == status, (arguments, found.stdout, found.stderr)
            assert "secret" not in found.stdout + found.stderr
            return found.stdout

        assert "anna" in said("user", "list")
        assert "closed" in said("monitor", "list", "--state", "down")
        assert orjson.loads(said("results", "--user", "anna", "--json").splitlines()[-1])["user_id"] == "anna"
        assert "closed" in said("transitions", "--user", "anna")
        assert "nothing" in said("explain", "anna", "nothing")
        assert "task_id" not in said("task", "list", "--json")
        assert "sink" in said("lag", "--summary")
        assert {each["name"] for each in orjson.loads(said("doctor", "--json")) if each["ok"]} >= {
            "sink",
            "database",
        }
        wait_until("time has passed", lambda: now_ms() > began + 3_000)
        assert "nothing missed" in said("audit", "--since", "10m", "--settle", "2s")
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(240) == 0
        log.close()
    assert "secret" not in (tmp_path / "up.log").read_text()


def test_a_server_that_crashes_and_connections_that_are_cut_lose_nothing_and_store_nothing_twice(
    server: PostgresServer, new_pipeline: NewPipeline
) -> None:
    pipeline = new_pipeline(database=server.new_database())
    pipeline.ensure("worker", "sink")
    pipeline.wait_until_ready()
    for number in range(40):
        pipeline.sign_up(f"user-{number}", *(every(f"m{i}", "noop") for i in range(5)))
    pipeline.wait_for_results("user-39", "m4", 2)
    begin = now_ms()
    for how in (signal.SIGQUIT, signal.SIGINT):
        before = now_ms()
        server.stop(how)
        server.start()
        pipeline.wait_for_results("user-0", "m0", 2, after=before)
    before = now_ms()
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'everwatch-sink'")
    pipeline.wait_for_results("user-0", "m0", 2, after=before)
    end = now_ms()
    account = pipeline.wait_for_balance(begin, end)
    assert not account.missed
    assert all(process.runs for process in pipeline.processes.values()), "a process ended instead of waiting"
    audit = run("audit", "--since", "10m", "--settle", "2s", "--json", environment=pipeline.environment)
    report = orjson.loads(audit.stdout)
    assert (report["missed"], report["duplicate"]) == (0, 0), report
    assert report["ticks"] > 400
    assert audit.returncode == 0


def owners(pipeline: Pipeline) -> dict[str, set[int]]:
    """The partitions of results that each sink reads."""
    said = run("lag", "--json", environment=pipeline.environment)
    found: dict[str, set[int]] = {}
    for row in map(orjson.loads, said.stdout.splitlines()):
        if row["topic"] == pipeline.topics.results and row["group"].endswith("-sink") and row["client_id"]:
            found.setdefault(row["client_id"], set()).add(row["partition"])
    return found


def test_two_sinks_share_the_work_and_the_other_one_goes_on_when_one_is_killed(
    server: PostgresServer, new_pipeline: NewPipeline
) -> None:
    pipeline = new_pipeline(database=server.new_database())
    pipeline.ensure("worker", "sink", "sink-2")
    pipeline.wait_until_ready()
    for number in range(40):
        pipeline.sign_up(f"user-{number}", *(every(f"m{i}", "noop") for i in range(5)), partition=number % PARTITIONS)
    for partition in range(PARTITIONS):
        pipeline.wait_for_results(f"user-{partition}", "m0", 2)
    wait_until("each sink has half of the results", lambda: sorted(map(len, owners(pipeline).values())) == [2, 2])
    begin = now_ms()
    for victim in ("sink", "sink-2"):
        pipeline.processes[victim].kill()
        before = now_ms()
        for partition in range(PARTITIONS):
            pipeline.wait_for_results(f"user-{partition}", "m0", 2, after=before)
        pipeline.ensure(victim)
        wait_until("each sink has half of the results", lambda: sorted(map(len, owners(pipeline).values())) == [2, 2])
    account = pipeline.wait_for_balance(begin, now_ms())
    assert account.balanced, account
    audit = run("audit", "--since", "10m", "--settle", "2s", "--json", environment=pipeline.environment)
    report = orjson.loads(audit.stdout)
    # no record is stored twice: nothing but the sinks was killed, so nothing was delivered again either
    assert (report["missed"], report["duplicate"], report["redelivered"]) == (0, 0, 0), report


def test_a_second_sink_on_sqlite_is_refused_with_a_sentence(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    pipeline.ensure("sink")
    wait_until("the sink has made the database", pipeline.has_database)
    first = pipeline.processes["sink"]
    refused = run("sink", environment=pipeline.environment)
    assert refused.returncode == 6
    [sentence] = [line for line in refused.stderr.splitlines() if "SQLite takes one sink" in line]
    assert f"The sink of process {first.pid} stores into" in sentence
    assert first.runs
    first.kill()
    pipeline.ensure("sink")
    wait_until("the next one stores", lambda: "storing" in pipeline.processes["sink"].logged())
