"""An upgrade process by process, in the order of docs/upgrading.md, and workers and executors back: no tick is missed.

The older version is the one that ``tests/data/previous-version`` names, taken from the repository's history and run
with the packages of today.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import NewPipeline
from support.account import skipped_ticks
from support.manifests import ROOT
from support.pipeline import PARTITIONS, Pipeline, Process, beside, every
from support.target import Target
from support.waiting import now_ms, wait_until

pytestmark = pytest.mark.live
USERS = 40
WORKERS = ("worker-1", "worker-2")


def _sources(folder: Path) -> dict[str, str]:
    """The environment in which Python takes Everwatch from a folder in place of the package that is installed."""
    return {"PYTHONPATH": f"{folder / 'src'}:{folder}", "PYTHONSAFEPATH": "1"}


class Installation:
    """The processes of a pipeline, each of the older version or of today's."""

    def __init__(self, pipeline: Pipeline, older: Path) -> None:
        self._pipeline = pipeline
        self._older = _sources(older)

    def start(self, name: str, *, is_older: bool) -> None:
        """Start a process, in the place of the one of this name if it runs."""
        running = self._pipeline.processes.get(name)
        if running is not None:
            assert running.stop() == 0, f"{name} did not stop cleanly"
        folder = self._pipeline.settings.data_dir
        environment = self._pipeline.environment | (self._older if is_older else {})
        if name in WORKERS:
            environment |= {"EVERWATCH_DATA_DIR": str(folder / "volumes" / name), "EVERWATCH_WORKER_ID": name}
        self._pipeline.processes[name] = Process(name.partition("-")[0], environment, folder / f"{name}.log")

    def replace(self, name: str, *, is_older: bool) -> None:
        """Put a process of the other version in the place of one, and wait until all partitions are owned again."""
        self.start(name, is_older=is_older)
        self._pipeline.wait_until_ready()

    def run(self, *arguments: str) -> None:
        """Run a command of today's version."""
        command = [sys.executable, "-m", "everwatch", *arguments]
        subprocess.run(command, check=True, env=self._pipeline.environment, timeout=120)


def _describe(folder: Path) -> None:
    """Write the older version's entry points beside its sources: those that are installed name today's classes."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    described = folder / "src" / f"everwatch-{project['version']}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: everwatch\nVersion: {project['version']}\n")
    groups = project["entry-points"] | {"console_scripts": project["scripts"]}
    (described / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {to}\n" for name, to in entries.items())
            for group, entries in groups.items()
        )
    )


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the older version."""
    commit = (ROOT / "tests" / "data" / "previous-version").read_text().split()[0]
    folder = tmp_path_factory.mktemp("older")
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "src", "streams", "schemas", "pyproject.toml"], capture_output=True
    )
    if archive.returncode:
        pytest.skip(f"the history of this clone does not have {commit}: git fetch --unshallow")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    _describe(folder)
    where = "import everwatch, streams; print(everwatch.__file__, streams.__file__)"
    environment = dict(os.environ) | _sources(folder)
    imported = subprocess.run(
        [sys.executable, "-c", where], env=environment, check=True, capture_output=True, text=True
    )
    assert imported.stdout.count(str(folder)) == 2
    return folder


def test_a_rolling_upgrade_and_back_misses_no_tick(new_pipeline: NewPipeline, target: Target, older: Path) -> None:
    pipeline = new_pipeline(session_timeout_ms=8_000)
    installation = Installation(pipeline, older)
    for name in (*WORKERS, "executor", "sink"):
        installation.start(name, is_older=True)
    pipeline.wait_until_watched()
    for number in range(USERS):
        user = f"user-{number:02d}"
        quick = every("quick", "http", "2s", url=target.url(f"/ok/{user}"))
        pipeline.sign_up(user, every("nothing", "noop"), beside(quick), partition=number % PARTITIONS)

    installation.run("topics", "create")
    installation.replace("sink", is_older=False)

    def all_up() -> bool:
        return pipeline.reader.counts().by_state == {"up": 2 * USERS}

    wait_until("every monitor is up", all_up, 60)
    began = now_ms()
    for name in ("executor", *WORKERS):
        installation.replace(name, is_older=False)
    upgraded = now_ms()
    pipeline.wait_for_time(upgraded + 4_000)
    # back, in the opposite order; the sink's database is of today's version and stays
    for name in (*reversed(WORKERS), "executor"):
        installation.replace(name, is_older=True)
    back = now_ms()
    upto = back + 4_000
    pipeline.wait_for_time(upto)
    account = pipeline.wait_for_balance(began, upto, 60)
    assert account.balanced, account
    assert account.due >= USERS * 1.4 * ((upto - began) // 1_000)
    assert not skipped_ticks(pipeline.reader, began, upto)
    assert all_up()
    logs = "\n".join(process.log.read_text(errors="replace") for process in pipeline.processes.values())
    assert "Traceback" not in logs
    assert not pipeline.read(pipeline.topics.dead_letters)
