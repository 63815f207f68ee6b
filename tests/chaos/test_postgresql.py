"""Everything on PostgreSQL: an empty database is filled, every command reads it, and the server may crash.

All in one file: one server and one pipeline are shared, which each test leaves as it finds them.
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import psycopg
import pytest
from conftest import NewPipeline
from support.api_process import ApiSession, started_api
from support.command import everwatch, run
from support.pipeline import PARTITIONS, Pipeline, every
from support.postgres import Missing, PostgresServer, Unmeasured, name_in, running
from support.waiting import now_ms, wait_until

from everwatch.store.rollup_journal import folded

MONITORS = 200

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
    up = everwatch("up", environment=pipeline.environment, stderr=log, fresh=True)
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
        assert orjson.loads(said("export", "--user", "anna"))["user_id"] == "anna"
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
    told = (tmp_path / "up.log").read_text()
    assert "secret" not in told
    assert re.search(r"^Console: http://\S+/login\?code=\S+ ", told, re.MULTILINE)
    assert re.search(r"^API: http://\S+  Token of an administrator: \S+$", told, re.MULTILINE)


def sign_up_crowd(pipeline: Pipeline) -> None:
    """``MONITORS`` monitors that are due each second."""
    for number in range(MONITORS // 5):
        pipeline.sign_up(f"user-{number}", *(every(f"m{i}", "noop") for i in range(5)), partition=number % PARTITIONS)
    for partition in range(PARTITIONS):
        pipeline.wait_for_results(f"user-{partition}", "m0", 2)


def check_that_all_is_stored_once(pipeline: Pipeline, begin: int) -> None:
    """Nothing missed, nothing twice, and roll-ups that count each result once."""
    # so many ticks that a gap would show, however fast the rest was; the audit leaves the last 2 s out
    pipeline.wait_for_time(begin + 5_000)
    account = pipeline.wait_for_balance(begin, now_ms())
    assert account.balanced, account
    audit = run("audit", "--since", "10m", "--settle", "2s", "--json", environment=pipeline.environment)
    report = orjson.loads(audit.stdout)
    # no record is stored twice: what was killed sends none, so nothing was delivered again either
    assert (report["missed"], report["duplicate"], report["redelivered"]) == (0, 0, 0), report
    assert report["ticks"] >= 3 * MONITORS
    assert audit.returncode == 0
    with pipeline.reader.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        counted = "SELECT (SELECT count(*) FROM results), (SELECT sum(successes) FROM hourly_rollups)"
        stored, rolled_up = connection.exec_driver_sql(counted).one()
        # after a standstill there are batches so large that they go into the journal
        journal = connection.exec_driver_sql("SELECT additions FROM rollup_journal").scalars().all()
    assert stored == rolled_up + sum(successes for _, _, _, successes, *_ in folded(journal))


# what the sink waits for in its transaction: results are stored then and their roll-ups are not, or all but the offsets
ROLL_UPS = "hourly_rollups IN EXCLUSIVE MODE"
OFFSETS = "sink_offsets IN SHARE MODE"
IN_A_BATCH = {
    "the sink is killed before roll-ups": ROLL_UPS,
    "the sink is killed before offsets": OFFSETS,
    "the connection is cut before roll-ups": ROLL_UPS,
    "the connection is cut before offsets": OFFSETS,
    "the server crashes": ROLL_UPS,
    "the server is restarted": OFFSETS,
}


@contextmanager
def within_a_batch(server: PostgresServer, pipeline: Pipeline, lock: str = ROLL_UPS) -> Iterator[None]:
    """Meanwhile the sink stands still in its transaction, where it needs what ``lock`` holds."""
    table = lock.partition(" ")[0]
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'everwatch-sink' AND wait_event_type = 'Lock'"
        f" AND query LIKE '%{table}%' AND datname = current_database()"
    )
    database = name_in(pipeline.settings.database)
    holder = psycopg.connect(server.url(database))
    try:
        holder.execute(f"LOCK TABLE {lock}".encode())
        wait_until("the sink is within a batch", lambda: server.run(waiting, database)[0][0])
        yield
    finally:
        holder.close()


@contextmanager
def within_a_commit(server: PostgresServer, pipeline: Pipeline) -> Iterator[None]:
    """Meanwhile the sink's commit is on the server's disk, and waits for a standby that is not there."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'everwatch-sink' AND wait_event = 'SyncRep'"
        " AND datname = current_database()"
    )
    server.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    try:
        server.run("SELECT pg_reload_conf()")
        database = name_in(pipeline.settings.database)
        wait_until("the sink is within a commit", lambda: server.run(waiting, database)[0][0])
        yield
    finally:
        server.run("ALTER SYSTEM RESET synchronous_standby_names")
        server.run("SELECT pg_reload_conf()")


def cut_connections(server: PostgresServer) -> None:
    """End the sessions of sinks, as a network that is cut does."""
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'everwatch-sink'")


def kill_sink(pipeline: Pipeline) -> None:
    """Kill the sink and start another one."""
    pipeline.processes["sink"].kill()
    pipeline.ensure("sink")


def test_whatever_ends_within_a_batch_nothing_is_missed_and_nothing_is_stored_twice(
    server: PostgresServer, new_pipeline: NewPipeline
) -> None:
    pipeline = new_pipeline(database=server.new_database())
    pipeline.ensure("worker", "sink")
    pipeline.wait_until_ready()
    sign_up_crowd(pipeline)
    begin = now_ms()
    for what, lock in IN_A_BATCH.items():
        with within_a_batch(server, pipeline, lock):
            before = now_ms()
            if what.startswith("the sink"):
                kill_sink(pipeline)
            elif what.startswith("the connection"):
                cut_connections(server)
            else:
                server.stop(signal.SIGQUIT if what == "the server crashes" else signal.SIGINT)
        if what.startswith("the server"):
            server.start()
        pipeline.wait_for_results("user-0", "m0", 2, after=before)
    # the sink cannot know what became of the batch: it is stored
    for end in (lambda: cut_connections(server), lambda: kill_sink(pipeline)):
        with within_a_commit(server, pipeline):
            before = now_ms()
            end()
        pipeline.wait_for_results("user-0", "m0", 2, after=before)
    assert all(process.runs for process in pipeline.processes.values()), "a process ended instead of waiting"
    check_that_all_is_stored_once(pipeline, begin)
    check_that_writes_and_pings_go_on_without_it(server, pipeline)


def check_that_writes_and_pings_go_on_without_it(server: PostgresServer, pipeline: Pipeline) -> None:
    """End the server under an API process: reads are refused until it is back, and nothing else is."""
    api, address = started_api(pipeline)
    http = ApiSession(address)
    # the crowd's users are on partitions that the test chose, where the API would not look for them
    monitors = [{"monitor_id": "m0", "kind": "noop", "schedule": {"every": "1h"}}]
    made = http.ask("PUT", "/v1/users/kept", {"monitors": monitors}, Prefer="wait=30")
    assert made.status_code == 201
    path, after = "/v1/users/kept/monitors/m0", made.headers["Everwatch-Position"]
    key = http.ask("GET", "/v1/users/kept/ping-key").json()["key"]
    wait_until("the sink has stored it", lambda: http.ask("GET", path, Everwatch_After=after).status_code == 200)
    server.stop(signal.SIGQUIT)
    away = http.ask("GET", path)
    assert (away.status_code, away.json()["code"]) == (503, "database_unavailable")
    assert away.headers["Content-Type"] == "application/problem+json"
    wrote = http.ask("POST", f"{path}/pause", {"reason": "no database"}, Prefer="wait=30")
    assert (wrote.status_code, wrote.json()["answer"]) == (200, "done")
    assert http.ask("POST", f"/ping/{key}/m0").status_code == 200
    assert http.ask("PUT", "/v1/users/new", {}, Prefer="wait=30").status_code == 201
    server.start()
    wait_until("the sink has stored the pause", lambda: http.ask("GET", path).json().get("state") == "paused")
    wait_until("the sink has stored the user", lambda: http.ask("GET", "/v1/users/new").status_code == 200)
    assert api.runs
    assert api.stop() == 0


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of this size that every user may write to."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=1777", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left; gives the file that has it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(b"x" * 4_096) == 4_096:
            pass
    return filler


def test_a_disk_that_is_full_is_waited_for_and_nothing_is_missed_or_stored_twice(new_pipeline: NewPipeline) -> None:
    with ExitStack() as stack:
        # not below pytest's folder, which the server's user may not enter
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="everwatch-disk-")))
        folder.chmod(0o755)
        disk = stack.enter_context(small_disk(folder / "disk", 160))
        sizes = ("shared_buffers=16MB", "min_wal_size=32MB", "max_wal_size=32MB")
        try:
            server = stack.enter_context(running(*sizes, data=disk / "data"))
        except Missing as error:
            pytest.skip(str(error))
        pipeline = stack.enter_context(new_pipeline(database=server.new_database()))
        pipeline.ensure("worker", "sink")
        pipeline.wait_until_ready()
        sign_up_crowd(pipeline)
        begin = now_ms()
        filler = fill(disk)
        sink = pipeline.processes["sink"]
        wait_until("the sink says that it waits", lambda: "The sink waits for it." in sink.logged())
        pipeline.wait_for_time(now_ms() + 2_000)
        assert sink.runs
        filler.unlink()
        before = now_ms()
        try:
            wait_until("the server answers", server.answers)
        except Unmeasured:
            # without room for its log it may end
            server.start()
        pipeline.wait_for_results("user-0", "m0", 2, after=before)
        assert "No space left on device" in (server.folder / "server.log").read_text()
        assert sink.runs
        check_that_all_is_stored_once(pipeline, begin)


def test_a_sink_goes_on_at_a_standby_that_is_promoted_and_nothing_is_missed_or_stored_twice(
    new_pipeline: NewPipeline,
) -> None:
    with ExitStack() as stack:
        try:
            primary = stack.enter_context(running("shared_buffers=32MB"))
            standby = stack.enter_context(running("shared_buffers=32MB", primary=primary))
        except Missing as error:
            pytest.skip(str(error))
        # a commit waits for the standby from here on
        primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.run("SELECT pg_reload_conf()")
        url = primary.new_database().replace("?host=", f"?host={standby.folder}&host=")
        pipeline = stack.enter_context(new_pipeline(database=f"{url}&target_session_attrs=read-write"))
        pipeline.ensure("worker", "sink")
        pipeline.wait_until_ready()
        sign_up_crowd(pipeline)
        begin = now_ms()
        with within_a_batch(primary, pipeline):
            before = now_ms()
            primary.stop(signal.SIGQUIT)
        standby.run("SELECT pg_promote()")
        pipeline.wait_for_results("user-0", "m0", 2, after=before)
        assert all(process.runs for process in pipeline.processes.values()), "a process ended instead of waiting"
        check_that_all_is_stored_once(pipeline, begin)


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
    sign_up_crowd(pipeline)
    wait_until("each sink has half of the results", lambda: sorted(map(len, owners(pipeline).values())) == [2, 2])
    begin = now_ms()
    for victim in ("sink", "sink-2"):
        pipeline.processes[victim].kill()
        before = now_ms()
        for partition in range(PARTITIONS):
            pipeline.wait_for_results(f"user-{partition}", "m0", 2, after=before)
        pipeline.ensure(victim)
        wait_until("each sink has half of the results", lambda: sorted(map(len, owners(pipeline).values())) == [2, 2])
    check_that_all_is_stored_once(pipeline, begin)


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
