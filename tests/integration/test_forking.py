"""Processes that tests fork: each begins as a fresh interpreter does, and is seen by the tests as one is."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import forking, network
from support.command import run
from support.forking import Program
from support.waiting import wait_until

pytestmark = pytest.mark.integration

PROBE = """
import gc, json, os, random, signal, sys, threading, time

def looks(stream):
    return stream.encoding, stream.errors, stream.line_buffering, stream.isatty(), stream.fileno()

print(json.dumps({
    "name": __name__,
    "argv": sys.argv,
    "path": sys.path,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "umask": os.umask(0),
    "leads a session": os.getsid(0) == os.getpid(),
    "group": 0 if os.getpgid(0) == os.getpid() else os.getpgid(0),
    "streams": [looks(each) for each in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__)],
    "read": sys.stdin.read(),
    "descriptors": [n for n in range(200) if os.path.exists(f"/proc/self/fd/{n}")],
    "threads": threading.active_count(),
    "handled": [n for n in signal.valid_signals() if callable(signal.getsignal(n))],
    "ignored": [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN],
    "blocked": [*signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    "wakeup": signal.set_wakeup_fd(-1),
    "zone": time.tzname,
    "ours": [name for name in sys.modules if name.partition(".")[0] in ("everwatch", "streams", "support", "tests")],
    "loop": sys.modules["asyncio"]._get_running_loop() if "asyncio" in sys.modules else None,
}))
print(random.random(), file=sys.stderr)
"""


def program(folder: Path, text: str, *arguments: str, new_session: bool = False, **variables: str) -> Program:
    # one that is written anew within a second, and is as long, would not be compiled anew
    name = f"probe_{hashlib.sha256(text.encode()).hexdigest()}"
    (folder / f"{name}.py").write_text(text)
    return Program(name, arguments, dict(os.environ) | variables, str(folder), new_session)


def probed(made: Program, *, fresh: bool) -> tuple[dict[str, Any], str]:
    process = forking.start(made, stdin=subprocess.PIPE, fresh=fresh)
    assert isinstance(process, subprocess.Popen) is fresh
    assert process.stdin is not None
    process.stdin.write("typed")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out or ""), err or ""


@pytest.mark.parametrize("new_session", [False, True])
def test_a_forked_process_begins_as_a_fresh_interpreter_does(tmp_path: Path, new_session: bool) -> None:
    made = program(
        tmp_path, PROBE, "one", "--two", new_session=new_session, EVERWATCH_X="1", COLUMNS="77", EVERWATCH_Y="ä"
    )
    forked, seed = probed(made, fresh=False)
    fresh, _ = probed(made, fresh=True)
    assert forked == fresh
    assert forked["read"] == "typed"
    assert forked["ours"] == []
    again, other_seed = probed(made, fresh=False)
    assert again == forked
    assert seed != other_seed


def test_the_umask_and_the_environment_of_the_moment_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = probed(program(tmp_path, PROBE, EVERWATCH_X="1"), fresh=False)
    before = os.umask(0o027)
    try:
        second, _ = probed(program(tmp_path, PROBE), fresh=False)
    finally:
        os.umask(before)
    assert (first["umask"], second["umask"]) == (before, 0o027)
    assert "EVERWATCH_X" in first["environment"]
    assert "EVERWATCH_X" not in second["environment"]


def test_what_libraries_may_read_when_they_are_loaded_takes_a_fresh_interpreter(tmp_path: Path) -> None:
    for name in ("NO_COLOR", "PYTHONPATH", "SSL_CERT_FILE", "TZ", "HOME"):
        process = forking.start(program(tmp_path, "", **{name: "/else"}))
        assert isinstance(process, subprocess.Popen), name
        process.communicate()


def test_another_network_takes_a_fresh_interpreter(tmp_path: Path) -> None:
    forking.start(program(tmp_path, "")).communicate()
    try:
        with network.own_network():
            process = forking.start(program(tmp_path, ""))
            process.communicate()
    except network.NotPermitted as error:
        pytest.skip(f"no network of its own for this test: {error}")
    assert isinstance(process, subprocess.Popen)


def test_ends_are_told_as_of_a_child(tmp_path: Path) -> None:
    left = forking.start(program(tmp_path, "import sys; sys.exit(7)"))
    assert (left.wait(60), left.poll(), left.returncode) == (7, 7, 7)
    left.send_signal(signal.SIGTERM)  # to nobody

    failed = forking.start(program(tmp_path, "raise ValueError('why')"))
    _, err = failed.communicate(timeout=60)
    assert failed.returncode == 1
    assert err is not None and err.endswith("ValueError: why\n")

    held = forking.start(program(tmp_path, "print('here', flush=True); input()"), stdin=subprocess.PIPE)
    assert held.stdout is not None and held.stdin is not None
    assert held.stdout.readline() == "here\n"
    assert held.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        held.wait(0.01)
    with pytest.raises(subprocess.TimeoutExpired):
        held.communicate(timeout=0.01)
    held.kill()
    assert held.wait(60) == -signal.SIGKILL
    held.communicate()


def test_a_process_that_reads_its_input_ends_with_it_whatever_others_were_forked(tmp_path: Path) -> None:
    waiting = "import sys; sys.stdin.read()"
    first = forking.start(program(tmp_path, waiting), stdin=subprocess.PIPE)
    second = forking.start(program(tmp_path, waiting), stdin=subprocess.PIPE)
    assert first.stdin is not None and second.stdin is not None
    first.stdin.close()
    assert first.wait(60) == 0
    assert second.poll() is None
    second.stdin.close()
    assert second.wait(60) == 0


def test_what_is_printed_at_length_on_both_streams_is_read(tmp_path: Path) -> None:
    text = "import sys\nfor _ in range(3000): print('o' * 99); print('e' * 99, file=sys.stderr)"
    out, err = forking.start(program(tmp_path, text)).communicate(timeout=60)
    assert (out, err) == (("o" * 99 + "\n") * 3000, ("e" * 99 + "\n") * 3000)


def test_a_command_names_itself_as_it_does_for_a_shell() -> None:
    said = run("topics", "--help", environment=os.environ)
    assert said.returncode == 0
    assert "Usage: python -m everwatch topics" in said.stdout


def test_the_server_ends_with_the_tests(tmp_path: Path) -> None:
    text = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(forking.__file__).parents[1])!r})\n"
        "from support import forking\n"
        "process = forking.start(forking.everwatch(['--version'], os.environ))\n"
        "process.communicate()\n"
        "children = open(f'/proc/self/task/{os.getpid()}/children').read()\n"
        "print(os.path.exists(f'/proc/{process.pid}'), children, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    child_is_there, server = done.stdout.split()
    assert child_is_there == "False"
    wait_until("the server has ended", lambda: not Path(f"/proc/{server}/exe").exists())
