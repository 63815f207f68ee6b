"""The command line as a shell runs it."""

import subprocess
from collections.abc import Mapping

from support import forking
from support.forking import Started, Stream


def everwatch(
    *arguments: str,
    environment: Mapping[str, str],
    stdin: Stream = subprocess.DEVNULL,
    stderr: Stream = subprocess.PIPE,
    fresh: bool = False,
) -> Started:
    """``everwatch`` with these arguments, started; ``fresh``: as an interpreter of its own."""
    return forking.start(forking.everwatch(arguments, environment), stdin=stdin, stderr=stderr, fresh=fresh)


def run(
    *arguments: str, environment: Mapping[str, str], within_s: float = 240, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """``everwatch`` with these arguments, run to its end; ``typed``: its standard input."""
    process = everwatch(*arguments, environment=environment, stdin=subprocess.PIPE if typed else subprocess.DEVNULL)
    try:
        if process.stdin is not None:
            process.stdin.write(typed)
        out, err = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
