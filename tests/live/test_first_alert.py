"""A stranger's first alert: what docs/notifications.md says, word for word, in a network of its own."""

import os
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from shutil import copy

import pytest
from support.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("own_network")]
PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "notifications.md").read_text()
CHAPTER = PAGE.partition("## The first alert")[2].partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    """The blocks of the chapter in one language."""
    return re.findall(rf"```{language}\n(.*?)```", CHAPTER, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone of the project, as of the last commit, with what is changed since."""
    clone = tmp_path / "everwatch"
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(clone)], check=True)
    changed = subprocess.run(
        ["git", "ls-files", "-m"], cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout.split()
    for name in changed:
        copy(PROJECT / name, clone / name)
    return clone


def test_the_first_alert_of_the_page_arrives_in_a_mailbox(folder: Path, tmp_path: Path) -> None:
    [rules] = blocks("toml")
    (folder / "notify.toml").write_text(rules)
    servers, sign_up, site, look = blocks("sh")
    mail_server, everwatch = servers.splitlines()
    # no network is there: packages and the jars of Kafka are what this machine has
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERWATCH_")}
    environment |= {
        "UV_OFFLINE": "1",
        "VIRTUAL_ENV": "",
        "EVERWATCH_DATA_DIR": str(tmp_path / "data"),
    }

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    with ExitStack() as stack:
        logs = {}

        def begin(name: str, command: str, end: signal.Signals = signal.SIGINT) -> None:
            logs[name] = tmp_path / f"{name}.log"
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=folder,
                env=environment | {"PYTHONUNBUFFERED": "1"},
                stdout=stack.enter_context(logs[name].open("wb")),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, end)

        begin("mail", mail_server)
        begin("up", everwatch)
        wait_until("Everwatch says that it is up", lambda: "Everwatch is up" in logs["up"].read_text(), 120)
        run(sign_up)
        wait_until("the mail is there", lambda: "Subject: DOWN: http" in logs["mail"].read_text(), 60)
        assert "To: ada@example.com" in logs["mail"].read_text()
        # it is not told of SIGINT where a shell has begun this test in the background
        begin("site", site, signal.SIGTERM)
        wait_until("it has recovered", lambda: "Subject: Recovered: http" in logs["mail"].read_text(), 60)
        for command in look.splitlines():
            said = run(f"export EVERWATCH_NOTIFY_FILE=notify.toml\n{command}")
            print(command, said, sep="\n")
        wait_until("the test is there", lambda: "Subject: Test: DOWN: test" in logs["mail"].read_text(), 60)
