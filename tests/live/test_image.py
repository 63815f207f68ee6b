"""The image, built without an engine: every process runs as a number, over a root that it cannot write to."""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.manifests import ROOT
from support.ports import free_ports
from support.waiting import wait_until

from everwatch.kafka.embedded import EmbeddedKafka

NAME = "localhost/everwatch-of-tests"
TOOLS = ("mmdebstrap", "buildah", "unshare", "chroot")
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, TOOLS)),
        reason="the image is built by root with mmdebstrap and buildah: apt-get install mmdebstrap buildah",
    ),
]
PROCESSES = ("worker", "executor", "sink", "notifier", "api")
# what Kubernetes does for a container, less the network: a root that is read only, and two folders to write to
ENTER = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t tmpfs tmpfs "$1/tmp"
mount -t tmpfs -o uid=10001,gid=10001,mode=0700 tmpfs "$1/var/lib/everwatch"
mount -t proc proc "$1/proc"
for each in null urandom random; do mount --bind "/dev/$each" "$1/dev/$each"; done
root=$1; user=$2; shift 2
exec setpriv --no-new-privs chroot --userspec="$user" "$root" "$@"
"""


class Image:
    """The files of the image, and its configuration."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.root = root
        self.config = config
        (root / "dev").mkdir(exist_ok=True)
        for device in ("null", "urandom", "random"):
            (root / "dev" / device).touch()

    def command(self, *arguments: str) -> list[str]:
        """Return how to run the image with these arguments, in a mount namespace of its own."""
        enter = ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", str(self.root)]
        return [*enter, self.config["User"], *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """The image's variables, and these."""
        return dict(entry.split("=", 1) for entry in self.config["Env"]) | more

    def run(self, *arguments: str, **more: str) -> str:
        """Return what the image prints with these arguments. Raises CalledProcessError."""
        done = subprocess.run(
            self.command(*self.config["Entrypoint"], *arguments),
            env=self.environment(**more),
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image of this tree."""
    root = tmp_path_factory.mktemp("image") / "root"
    environment = dict(os.environ) | {"BUILD_ROOTFS": str(root)}
    subprocess.run([ROOT / "deploy" / "image" / "build-without-engine", NAME], check=True, env=environment)
    storage = environment | {"STORAGE_DRIVER": os.environ.get("STORAGE_DRIVER", "vfs")}
    told = subprocess.run(
        ["buildah", "inspect", "--type", "image", NAME], check=True, capture_output=True, text=True, env=storage
    ).stdout
    yield Image(root, json.loads(told)["Docker"]["config"])
    subprocess.run(["buildah", "rmi", NAME], check=True, env=storage)


def test_the_image_is_configured_as_clusters_want_it(image: Image) -> None:
    assert image.config["User"] == "10001:10001"
    assert image.config["Volumes"] == {"/var/lib/everwatch": {}}
    assert "/healthz" in image.config["Healthcheck"]["Test"][-1]


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_says_how_it_is_used(image: Image, name: str) -> None:
    assert "Example" in image.run(name, "--help")


def test_nothing_can_be_written_but_the_two_folders(image: Image) -> None:
    look = (
        "import os\n"
        "assert (os.getuid(), os.getgid()) == (10001, 10001)\n"
        "for folder in ('/tmp', '/var/lib/everwatch'): open(f'{folder}/x', 'w')\n"
        "for folder in ('/', '/opt/everwatch', '/home/everwatch', '/etc'):\n"
        "    try: open(f'{folder}/x', 'w')\n"
        "    except OSError: continue\n"
        "    raise SystemExit(folder)\n"
    )
    subprocess.run(image.command("python", "-c", look), env=image.environment(), check=True)


def test_every_process_becomes_ready_and_is_healthy_and_stops(image: Image, broker: EmbeddedKafka) -> None:
    common = {
        "EVERWATCH_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "EVERWATCH_TOPIC_PREFIX": "image.",
        "EVERWATCH_PARTITIONS": "2",
        # as the chart has it: below the volume
        "EVERWATCH_DATA_DIR": "/var/lib/everwatch/data",
        "EVERWATCH_API_PORT": str(free_ports(1)[0]),
    }
    ports = dict(zip(PROCESSES, free_ports(len(PROCESSES)), strict=True))
    begun: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, port in ports.items():
            begun[name] = subprocess.Popen(
                image.command(*image.config["Entrypoint"], name),
                env=image.environment(**common, EVERWATCH_METRICS_PORT=str(port)),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        for name, port in ports.items():
            # each has a database of its own here, so the api finds none, which is no reason not to be ready
            wait_until(f"the {name} is ready", lambda port=port: is_ready(port), 60)
            check = image.config["Healthcheck"]["Test"]
            assert check[0] == "CMD"
            subprocess.run(
                image.command(*check[1:]), env=image.environment(EVERWATCH_METRICS_PORT=str(port)), check=True
            )
    finally:
        for process in begun.values():
            # unshare passes no signal on; its child, which has become the process, gets it
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), 15)
        said = {name: process.communicate(timeout=60)[0] for name, process in begun.items()}
    assert {name: process.returncode for name, process in begun.items()} == dict.fromkeys(PROCESSES, 0), said
    # log lines are JSON, as the image says
    lines = [line for line in said["sink"].splitlines() if line.startswith("{")]
    assert lines
    assert all(json.loads(line) for line in lines)


def is_ready(port: int) -> bool:
    """Tell whether the process with this metrics port says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
