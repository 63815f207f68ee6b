"""``everwatch up`` on this machine: Kafka is killed, and the disk is full; both pass by themselves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.command import run
from support.prometheus import ROOT, RULES, exported, named_in
from support.waiting import wait_until

pytestmark = pytest.mark.integration
SIZE_MB = 300


def environment_for(folder: Path) -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("EVERWATCH_")}
    return outside | {
        "EVERWATCH_DATA_DIR": str(folder),
        "EVERWATCH_PARTITIONS": "2",
        "EVERWATCH_KAFKA_HEAP_MB": "256",
        "EVERWATCH_KAFKA_PORT": str(free_port()),
    }


def free_port() -> int:
    from everwatch.kafka.embedded.address import choose_ports

    return choose_ports(Path("/nonexistent"), None).controller


def results(environment: dict[str, str]) -> int:
    said = run("results", "--limit", "100000", "--json", environment=environment)
    return len(said.stdout.splitlines())


def kafka_pid(folder: Path) -> int:
    return int((folder / "kafka" / "pid").read_text())


def wait_for_more_results(environment: dict[str, str], within_s: float = 120) -> None:
    before = results(environment)
    wait_until("results go on", lambda: results(environment) > before + 3, within_s, 1.0)


def ready(port: int) -> tuple[int, list[str]]:
    """The answer of `up` to a probe: its status, and the processes that are not ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
            body = json.loads(answer.read())
            assert {each["process"] for each in body["processes"]} == {"worker", "executor", "sink", "notifier", "api"}
            return answer.status, body["reasons"]
    except urllib.error.HTTPError as refusal:
        return refusal.code, [each["process"] for each in json.loads(refusal.read())["reasons"]]


def wait_for_line(log: Path, pattern: str, within_s: float = 120) -> None:
    wait_until(f"up says {pattern!r}", lambda: re.search(pattern, " ".join(log.read_text().split())), within_s, 0.5)


def stop(up: "subprocess.Popen[bytes]") -> None:
    # not SIGINT: a shell whose parent ignores that cannot trap it
    up.terminate()
    try:
        up.wait(240)
    except subprocess.TimeoutExpired:
        # up may be a shell's child
        os.killpg(up.pid, signal.SIGKILL)
        raise


def test_kafka_that_is_killed_is_started_again(tmp_path: Path) -> None:
    environment, log, metrics_port = environment_for(tmp_path / "data"), tmp_path / "up.log", free_port()
    environment["EVERWATCH_METRICS_PORT"] = str(metrics_port)
    with log.open("wb") as stream:
        up = subprocess.Popen(
            [sys.executable, "-m", "everwatch", "up"],
            env=environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        wait_for_line(log, "Everwatch is up")
        wait_until("all processes are ready, as the one port says", lambda: ready(metrics_port) == (200, []), 60, 0.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=30) as answer:
            scraped = exported(answer.read().decode())
        watched = [*RULES, *(ROOT / "deploy/grafana/dashboards").glob("*.json")]
        assert named_in("\n".join(path.read_text() for path in watched)) - scraped == set()
        said = run("monitor", "put", "u", "m", "--kind", "noop", "--every", "1s", "--wait", environment=environment)
        assert said.returncode == 0, said.stderr
        wait_for_more_results(environment)
        before = kafka_pid(tmp_path / "data")
        os.kill(before, signal.SIGKILL)
        wait_for_line(log, "Kafka ended by itself")
        wait_for_line(log, "Kafka runs again at")
        assert kafka_pid(tmp_path / "data") != before
        wait_for_more_results(environment)
        wait_until(
            "nothing was missed",
            lambda: run("audit", "--since", "10m", "--settle", "5s", environment=environment).returncode == 0,
            60,
            2.0,
        )
    finally:
        stop(up)


def can_mount() -> bool:
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


def test_on_a_full_disk_it_waits_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("this machine does not permit a mount in a namespace of its own (unshare -m)")
    folder, log = tmp_path / "small", tmp_path / "up.log"
    folder.mkdir()
    environment = environment_for(folder)
    # what is to be done on the small disk is asked for from inside its namespace
    script = (
        f"mount -t tmpfs -o size={SIZE_MB}m none {folder} || exit 9\n"
        f"{sys.executable} -m everwatch up & up=$!\n"
        "trap 'kill -INT $up' INT TERM\n"
        f"while kill -0 $up 2>/dev/null; do\n"
        f"  if [ -e {tmp_path}/fill ]; then rm {tmp_path}/fill; dd if=/dev/zero of={folder}/ballast bs=1M; fi\n"
        f"  if [ -e {tmp_path}/free ]; then rm {tmp_path}/free {folder}/ballast; fi\n"
        f"  cp {folder}/everwatch.db* {tmp_path}/ 2>/dev/null\n"
        "  sleep 0.5\n"
        "done\nwait $up\n"
    )
    outside = environment | {"EVERWATCH_BOOTSTRAP_SERVERS": f"127.0.0.1:{environment['EVERWATCH_KAFKA_PORT']}"}
    outside["EVERWATCH_DATA_DIR"] = str(tmp_path)
    with log.open("wb") as stream:
        up = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script], env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        wait_for_line(log, "Everwatch is up")
        put = ("monitor", "put", "u", "m", "--kind", "noop", "--every", "1s", "--wait")
        said = run(*put, environment=outside)
        assert said.returncode == 0, said.stderr
        (tmp_path / "fill").touch()
        wait_for_line(log, r"The disk of \S+ is full")
        # Kafka notices when it writes, and ends; whatever ends is not started in vain
        (tmp_path / "free").touch()
        wait_for_line(log, "has room again")
        again = ("monitor", "put", "u", "later", "--kind", "noop", "--every", "1s", "--wait", "--timeout", "60s")
        wait_until(
            "a command is answered again",
            lambda: run(*again, environment=outside, within_s=120).returncode == 0,
            180,
            1.0,
        )
    finally:
        stop(up)
