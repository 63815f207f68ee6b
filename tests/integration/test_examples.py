"""docs/examples: what they tell a reader to type is typed here, and what they say one sees is looked for in the output.

In their texts a block ``sh`` is run and a block ``text`` is what it prints, line for line and in that order, though not
necessarily without other lines in between; ``…`` stands for anything.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.pipeline import PARTITIONS
from support.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
UP_WITHIN_S = 120
EXAMPLE_WITHIN_S = 120


def blocks(readme: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for found, text in BLOCK.findall(readme.read_text()) if found == language]


def commands(name: str) -> str:
    """All that a reader of this example types."""
    return "\n".join(["set -euo pipefail", *blocks(EXAMPLES / name / "README.md", "sh")])


def promised(name: str) -> list[str]:
    """The lines that a reader of this example is told to see."""
    return [line for text in blocks(EXAMPLES / name / "README.md", "text") for line in text.splitlines()]


def first_not_seen(lines: list[str], output: str) -> str | None:
    """The first of the promised lines that the output does not have, after those before it."""
    printed = iter(output.splitlines())
    for line in lines:
        words = r"\s+".join(re.escape(word).replace("…", ".*") for word in line.split())
        if not any(re.fullmatch(rf"\s*{words}\s*", one) for one in printed):
            return line
    return None


class Shell:
    """bash with the environment of a reader who did as the preparations say."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def start(self, script: str, folder: Path, **streams: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **streams,  # type: ignore[call-overload]
        )

    def run(self, script: str, folder: Path, within_s: float) -> tuple[int, str]:
        """The exit status and all that was printed; whatever it left running is ended."""
        process = self.start(script, folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=within_s)
            return process.returncode, output
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"not done within {within_s:g} s; so far:\n{output}") from error
        finally:
            end_group(process.pid)


def end_group(group: int) -> None:
    with suppress(ProcessLookupError):  # nothing of it is left
        os.killpg(group, signal.SIGKILL)


def new_environment(folder: Path) -> dict[str, str]:
    """A virtual environment that has what this one has, so that packages can be installed into it."""
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    inner = sysconfig.get_path("purelib", "venv", paths)
    here = sysconfig.get_path("purelib")
    Path(inner, "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    command = folder / "bin" / "everwatch"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(str(folder / "bin" / "python"))} -m everwatch "$@"\n')
    command.chmod(0o755)
    # nothing of how these tests are run: with UV_PYTHON set, packages would be installed there
    ours = ("EVERWATCH_", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    # of partitions as few as tests do with
    few = {"EVERWATCH_PARTITIONS": str(PARTITIONS)}
    return kept | few | {"VIRTUAL_ENV": str(folder), "PATH": path, "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell beside an Everwatch that is up, both as the preparations say."""
    folder = tmp_path_factory.mktemp("examples")
    shell = Shell(new_environment(folder / "venv") | {"TMPDIR": str(folder)})
    (preparations,) = blocks(EXAMPLES / "README.md", "sh")
    # the environment is there already, and activated
    lines = [line for line in preparations.splitlines() if not line.startswith(("uv sync", "cd "))]
    assert lines[-1] == "everwatch up"
    log = folder / "up.log"
    with log.open("w") as stream:
        up = shell.start(
            "\n".join(["set -e", *lines[:-1], "exec everwatch up"]), EXAMPLES, stdout=stream, stderr=stream
        )
    try:
        wait_until("Everwatch is up", lambda: up.poll() is not None or "Stop: Ctrl-C" in log.read_text(), UP_WITHIN_S)
        assert up.poll() is None, log.read_text()
        yield shell
    finally:
        up.send_signal(signal.SIGINT)
        try:
            up.wait(240)
        finally:
            end_group(up.pid)


@pytest.mark.integration
@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_what_its_text_says(name: str, shell: Shell) -> None:
    status, output = shell.run(commands(name), EXAMPLES / name, EXAMPLE_WITHIN_S)
    assert status == 0, output
    assert first_not_seen(promised(name), output) is None, output


def test_waiting_for_what_never_comes_ends_and_shows_what_was_said() -> None:
    script = ". ./environment.sh; WAIT_FOR_S=0 wait_for well sh -c 'echo ill; echo no broker >&2'"
    ended = subprocess.run(["bash", "-c", script], cwd=EXAMPLES, capture_output=True, text=True, timeout=120)
    told = "waited in vain for 'well' in what 'sh -c echo ill; echo no broker >&2' says, which is:"
    assert (ended.returncode, ended.stdout) == (1, "")
    assert sorted(ended.stderr.splitlines()) == sorted([told, "ill", "no broker"])


def test_what_undoes_the_examples_names_all_that_they_leave_elsewhere() -> None:
    texts = [path.read_text() for path in EXAMPLES.rglob("*") if path.suffix in (".md", ".sh", ".json", ".py")]
    left = {place for text in texts for place in re.findall(r"/tmp/[\w-]+", text)}
    assert left == {"/tmp/everwatch-cleaning"}
    assert all(place in (EXAMPLES / "README.md").read_text() for place in left)
    assert not any("TMPDIR" in text for text in texts if "export EVERWATCH_DATA_DIR" not in text)


# --- the texts ------------------------------------------------------------------------------------------------------


def test_every_example_is_listed_and_every_file_of_it_is_named_in_its_text() -> None:
    listed = re.findall(r"^\| \[([\w-]+)\]\(([\w-]+)/README\.md\) \|", (EXAMPLES / "README.md").read_text(), re.M)
    assert sorted(name for name, _ in listed) == NAMES
    assert all(name == folder for name, folder in listed)
    for name in NAMES:
        text = (EXAMPLES / name / "README.md").read_text()
        files = {path.name for path in (EXAMPLES / name).iterdir()} - {"README.md", "__pycache__"}
        assert [file for file in sorted(files) if file not in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_an_example_shows_follows_the_commands_that_print_it(name: str) -> None:
    assert promised(name)
    assert all(block.strip() for block in blocks(EXAMPLES / name / "README.md", "sh"))


@pytest.mark.parametrize(
    ("output", "missing"),
    [
        ("one 5 ms\nnoise\ntwo\n", None),
        ("  one   77 ms\ntwo\n", None),
        ("two\none 5 ms\n", "two"),
        ("one 5 s\ntwo\n", "one … ms"),
        ("", "one … ms"),
    ],
)
def test_promised_lines_are_looked_for_in_their_order(output: str, missing: str | None) -> None:
    assert first_not_seen(["one … ms", "two"], output) == missing
