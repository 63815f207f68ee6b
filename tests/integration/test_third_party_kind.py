"""Another package's kind and callable, installed as an installer would, and used by the commands."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from conftest import NewPipeline
from support.command import run
from support.pipeline import FEW, every
from support.waiting import wait_until

DOCS = Path(__file__).parents[2] / "docs" / "kinds.md"
METADATA = "Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n"


def documented(title: str) -> str:
    """The Python example in a section of docs/kinds.md."""
    section = DOCS.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


def entry_point_of(example: str) -> tuple[str, str]:
    """Group and line of the entry point that the example's first line declares."""
    found = re.match(r'# pyproject\.toml: \[project\.entry-points\."(?P<group>[^"]+)"\]  (?P<line>.+)\n', example)
    assert found is not None
    return found["group"], found["line"].replace('"', "")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A shell's environment in which my_package is installed, with the two examples of the documentation in it."""
    folder = tmp_path_factory.mktemp("site")
    kind, callable_ = documented("A kind of your own"), documented("python")
    (folder / "my_package.py").write_text(f"{kind}\n\n{callable_}")
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    points = "".join("[{}]\n{}\n".format(*entry_point_of(example)) for example in (kind, callable_))
    (info / "entry_points.txt").write_text(points)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVERWATCH_")}
    return kept | {
        "PYTHONPATH": str(folder),
        "NO_COLOR": "1",
        "EVERWATCH_DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }


def tried(environment: dict[str, str], *arguments: str) -> tuple[int, Any]:
    done = run("try", *arguments, "--json", environment=environment)
    assert done.stdout, done.stderr
    return done.returncode, orjson.loads(done.stdout)


def test_the_documented_kind_runs_once_its_package_is_installed(environment: dict[str, str], tmp_path: Path) -> None:
    config = {"path": str(tmp_path), "most_percent": 100}
    status, said = tried(environment, "disk", "--config", orjson.dumps(config).decode())
    assert (status, said["kind"], said["status"], said["reason"]) == (0, "disk", "success", "")
    config["most_percent"] = -1
    status, said = tried(environment, "disk", "--config", orjson.dumps(config).decode())
    assert (status, said["status"]) == (1, "failure")
    assert re.fullmatch(r"\d+ % used", said["reason"])


def test_a_wrong_config_of_it_is_refused_with_its_path(environment: dict[str, str]) -> None:
    done = run("try", "disk", "--config", '{"path": 5}', environment=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "everwatch: expected str, got int (at $.config.path)\n"


def test_without_the_package_there_is_no_such_kind(environment: dict[str, str]) -> None:
    done = run("try", "disk", environment={**environment, "PYTHONPATH": ""})
    assert done.returncode == 2
    assert "there is no kind 'disk'; known kinds: dns, " in done.stderr


def test_what_it_raises_is_a_failure_of_its_run(environment: dict[str, str]) -> None:
    status, said = tried(environment, "disk", "--config", '{"path": "/nowhere/at/all"}')
    assert (status, said["status"]) == (1, "failure")
    assert "FileNotFoundError" in said["reason"]


def test_a_package_whose_import_fails_is_told_and_harms_no_other_kind(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('half installed')")
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[everwatch.kinds]\nbroken = broken:Kind\nnoop = broken:Kind\n")
    there = {**environment, "PYTHONPATH": f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}"}
    done = run("try", "broken", environment=there)
    assert done.returncode == 2
    assert "the kind 'broken' cannot be loaded from broken:Kind: half installed" in done.stderr
    assert tried(there, "noop")[1]["status"] == "success"
    assert tried(there, "disk", "--config", '{"path": "/"}')[1]["kind"] == "disk"


def test_the_documented_callable_runs_in_a_process_of_its_own(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "order.json").touch()
    config = {"callable": "inbox", "arguments": {"folder": str(tmp_path), "most": 3}}
    status, said = tried(environment, "python", "--config", orjson.dumps(config).decode())
    assert (status, said["status"], said["reason"]) == (0, "success", '{"waiting":1}')
    config["arguments"] = {"folder": str(tmp_path), "most": 0}
    status, said = tried(environment, "python", "--config", orjson.dumps(config).decode())
    assert (status, said["reason"]) == (1, "RuntimeError: 1 files wait, 0 may")


def test_what_a_callable_prints_is_not_mixed_with_the_outcome(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "talker.py").write_text("def talk(arguments, context):\n    print('{')\n")
    info = tmp_path / "talker-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: talker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[everwatch.callables]\ntalk = talker:talk\n")
    there = {**environment, "PYTHONPATH": str(tmp_path)}
    done = run("try", "python", "--config", '{"callable": "talk"}', "--json", environment=there)
    assert orjson.loads(done.stdout)["status"] == "success"
    assert "{" in done.stderr.splitlines()


def test_both_are_found_in_a_package_that_an_installer_installed(environment: dict[str, str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "noted.py").write_text("def check(arguments, context):\n    return 'installed'\n")
    wheel = project / "noted-1.0-py3-none-any.whl"
    subprocess.run([sys.executable, "-c", WHEEL, str(wheel), str(project / "noted.py")], check=True)
    target = tmp_path / "target"
    subprocess.run(
        ["uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--target", str(target), str(wheel)], check=True
    )
    there = {**environment, "PYTHONPATH": str(target)}
    status, said = tried(there, "python", "--config", '{"callable": "noted"}')
    assert (status, said["reason"]) == (0, "installed")


@pytest.mark.integration
def test_both_run_in_an_executor_and_no_process_outlives_it(
    new_pipeline: NewPipeline, environment: dict[str, str], tmp_path: Path
) -> None:
    pipeline = new_pipeline(partitions=FEW)
    pipeline.environment["PYTHONPATH"] = environment["PYTHONPATH"]
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    folder = str(tmp_path)
    pipeline.sign_up(
        "p",
        every("disk", "disk", path=folder, most_percent=100),
        every("inbox", "python", callable="inbox", arguments={"folder": folder, "most": 0}),
    )
    pipeline.wait_for_states("p", disk="up", inbox="up")
    (tmp_path / "order.json").touch()
    pipeline.wait_for_states("p", disk="up", inbox="down")
    assert "RuntimeError: 1 files wait, 0 may" in {r.reason for r in pipeline.wait_for_results("p", "inbox")}

    executor = pipeline.processes["executor"]
    below = psutil.Process(executor.pid).children(recursive=True)
    assert any("everwatch.executor.callable_worker" in process.cmdline() for process in below)
    executor.kill()
    wait_until("its processes are gone", lambda: not any(process.is_running() for process in below), within_s=5)


WHEEL = """
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.write(sys.argv[2], "noted.py")
    info = "noted-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: noted\\nVersion: 1.0\\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "entry_points.txt", "[everwatch.callables]\\nnoted = noted:check\\n")
    wheel.writestr(info + "RECORD", "".join(f"{name},,\\n" for name in (*wheel.namelist(), info + "RECORD")))
"""
