"""``everwatch demo``: what it prints, that it goes on, and that it leaves nothing behind."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson
import psutil
import pytest
from support.command import everwatch
from support.pipeline import PARTITIONS
from support.ports import free_ports
from support.prometheus import RULES, Prometheus
from support.waiting import PATIENCE, wait_until

from everwatch.core.config import Settings
from everwatch.demo.cast import Cast, Mix
from everwatch.demo.ports import DemoPorts
from everwatch.demo.showcase import DemoState
from everwatch.kafka.embedded import remembered_address
from everwatch.kinds.registry import known_kinds
from everwatch.store.sql_reader import open_reader

pytestmark = [pytest.mark.integration, pytest.mark.heavy]
KEYS = {
    "users", "monitors", "ticks_due", "ticks_emitted", "results_stored", "waiting", "missed", "duplicates",
    "lateness_ms", "up", "down", "late", "seconds", "showcase", "alerts",
}  # fmt: skip
# of what does not happen in a demo, or is measured once a minute
QUIET_PANELS = {
    "kafka: Batches that cannot be read",
    "kafka: Errors",
    "kafka: Poison records",
    "kafka: Time until expiry",
    "overview: API request",
    "overview: Bugs met by the API",
    "overview: Dead letters",
    "overview: Messages given up",
    "overview: Records that Kafka did not take",
    "overview: Requests to the API",
    "partitions: Undecodable entries",
    "sink: Age of the backup",
    "sink: Age of the oldest results",
}
RUN_WITHIN_S = 120 * PATIENCE
# a silent job is late at most 9 s (period, grace, interval) after it was put, and a moment more until that is stored
SECONDS = 12


class Demo(NamedTuple):
    """A demo that ended: its users, where its state is, and what it printed."""

    users: int
    folder: Path
    status: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        return orjson.loads(self.out)


def start(
    folder: Path, users: int, *options: str, stderr: int | IO[str] = subprocess.PIPE, **settings: str
) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERWATCH_")}
    environment |= {f"EVERWATCH_{name.upper()}": value for name, value in settings.items()}
    arguments = "demo", "--users", str(users), "--json", "--data-dir", str(folder), *options
    return everwatch(*arguments, environment=environment, stderr=stderr, fresh=True)


def ended(process: subprocess.Popen[str], folder: Path, users: int) -> Demo:
    out, err = process.communicate(timeout=RUN_WITHIN_S)
    return Demo(users, folder, process.returncode, out, err)


def left_over(folder: Path) -> list[str]:
    """Processes that have to do with a data folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            words = [*(process.info["cmdline"] or []), *process.environ().values()]
        except psutil.Error:
            continue
        if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in words):
            found.append(f"{process.pid}: {process.info['cmdline']}")
    return found


def results_in(folder: Path) -> tuple[int, int]:
    """Return how many results there are, and the due instant of the first."""
    reader = open_reader(Settings(data_dir=folder))
    try:
        return reader.counts().results, min(found.scheduled_at for found in reader.identities(0, 2**50))
    finally:
        reader.close()


class Watching(NamedTuple):
    """A port for the metrics of a demo, and the Prometheus that scrapes it; None where it is not installed."""

    metrics_port: int
    prometheus: Prometheus | None


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    """What watches one of the demos."""
    [port] = free_ports(1)
    if shutil.which("prometheus") is None:
        yield Watching(port, None)
        return
    config = {
        "global": {"scrape_interval": "3s", "evaluation_interval": "5s"},
        "rule_files": [str(path) for path in RULES],
        "scrape_configs": [{"job_name": "everwatch", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }
    with Prometheus(tmp_path_factory.mktemp("prometheus"), config) as prometheus:
        yield Watching(port, prometheus)


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory: pytest.TempPathFactory, watching: Watching) -> Iterator[list[Demo]]:
    """Two demos that ran at the same time."""
    wanted = [(40, tmp_path_factory.mktemp("demo")), (25, tmp_path_factory.mktemp("demo"))]
    # one of fewer partitions than are the default, and one as everybody starts it
    settings: list[dict[str, str]] = [{"partitions": str(PARTITIONS), "metrics_port": str(watching.metrics_port)}, {}]
    running = [
        start(folder, users, "--seconds", str(SECONDS), **more)
        for (users, folder), more in zip(wanted, settings, strict=True)
    ]
    try:
        yield [ended(process, folder, users) for process, (users, folder) in zip(running, wanted, strict=True)]
    finally:
        for process in running:
            process.kill()


def assert_says_that_all_is_well(demo: Demo) -> None:
    assert demo.status == 0, demo.err
    assert len(demo.out.splitlines()) == 1, demo.out
    summary = demo.summary
    assert summary.keys() == KEYS
    assert summary["lateness_ms"].keys() == {"p50", "p99", "max"}
    assert (summary["waiting"], summary["missed"], summary["duplicates"]) == (0, 0, 0), demo.err
    assert summary["users"] == demo.users + 1, "the showcase is one more"
    assert summary["ticks_due"] == summary["ticks_emitted"] == summary["results_stored"] > 0
    meant = [part.health for part in Cast(demo.users, Mix.ALL, "5s", DemoPorts(1, 2, 3, 4)).all_parts()]
    assert summary["monitors"] == len(meant)
    assert {health: summary[health.value] for health in DemoState} == {
        health: meant.count(health) for health in DemoState
    }


def test_demo_prints_one_object_that_accounts_for_every_tick(side_by_side: list[Demo]) -> None:
    for demo in side_by_side:
        assert_says_that_all_is_well(demo)
        # one that is started again has nothing new to tell
        assert all(demo.summary["alerts"].values()), "mails and webhooks arrived"
        assert demo.summary["seconds"] > SECONDS - 1
        link, address = (
            re.search(pattern, demo.err) for pattern in (r"Console: (\S+)/login\?code=\S{40,}", r"API: (\S+)")
        )
        assert link and address, demo.err
        assert (link[1], link.start() < address.start()) == (address[1], True)


def test_every_kind_ends_healthy_and_failing_as_it_should_with_a_message(side_by_side: list[Demo]) -> None:
    for demo in side_by_side:
        shown = {ending["kind"]: ending for ending in demo.summary["showcase"]}
        assert shown.keys() == set(known_kinds())
        for kind, ending in shown.items():
            assert ending["as_expected"], ending["problem"]
            assert ending["healthy"]["state"] == "up"
            if kind == "noop":
                assert ending["failing"] is None
            else:
                assert ending["failing"]["state"] == ("late" if kind == "heartbeat" else "down")
                assert ending["failing"]["message"]


def test_every_panel_and_rule_has_an_answer_on_a_real_prometheus(side_by_side: list[Demo], watching: Watching) -> None:
    prometheus = watching.prometheus
    if prometheus is None:
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    # the demo has ended: ask as of instants at which its processes answered, the last first; on a busy machine a
    # scrape may be late, and each process has scrapes of its own
    answered = "timestamp(count(everwatch_process_answers == 1) > 0)"
    [first], [last] = (prometheus.ask(f"{end}_over_time({answered}[10m:1s])") for end in ("min", "max"))
    began_s, ended_s = float(first["value"][1]), float(last["value"][1])
    instants = [ended_s - ago_s for ago_s in range(0, int(ended_s - began_s) + 1, 3)]
    assert prometheus.panels_without_an_answer("1m", instants) <= QUIET_PANELS
    assert prometheus.unhealthy_rules() == []


def test_demos_side_by_side_have_brokers_and_databases_of_their_own(side_by_side: list[Demo]) -> None:
    one, other = side_by_side
    assert remembered_address(one.folder / "kafka") != remembered_address(other.folder / "kafka")
    assert (one.folder / "demo-ports").read_text() != (other.folder / "demo-ports").read_text()


def test_demo_leaves_no_process_behind(side_by_side: list[Demo]) -> None:
    for demo in side_by_side:
        assert left_over(demo.folder) == []


def test_local_state_is_its_owners_alone(side_by_side: list[Demo]) -> None:
    """Configs hold secrets: in Kafka's data, RocksDB's tables, the database, and the logs perhaps."""
    for demo in side_by_side:
        everything = [demo.folder, *demo.folder.rglob("*")]
        open_to_others = [path for path in everything if path.lstat().st_mode & 0o077 and not path.is_symlink()]
        assert open_to_others == []
        names = {path.relative_to(demo.folder).parts[0] for path in everything[1:]}
        assert names >= {"kafka", "workers", "logs", "everwatch.db", "demo-certificates"}


def test_demo_started_again_goes_on_with_its_users_until_it_is_interrupted(
    side_by_side: list[Demo], tmp_path: Path
) -> None:
    first = side_by_side[0]
    results, oldest = results_in(first.folder)
    told = tmp_path / "stderr"
    with told.open("w") as stream:
        process = start(first.folder, first.users, stderr=stream)
    try:
        wait_until("it says how it is going", lambda: re.search(r"\d s  users=41 ", told.read_text()), 90)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=RUN_WITHIN_S)
    finally:
        process.kill()
    again = Demo(first.users, first.folder, process.returncode, out, told.read_text())
    assert_says_that_all_is_well(again)
    assert again.err.count(f"the topics have {PARTITIONS} partitions: going on with {PARTITIONS}") == 1
    for process in ("worker", "executor", "sink", "notifier", "api"):
        assert f"going on with {PARTITIONS}" in (first.folder / "logs" / f"{process}.log").read_text(), process
    results_after, oldest_after = results_in(first.folder)
    assert results_after > results
    assert oldest_after == oldest
    assert left_over(first.folder) == []
