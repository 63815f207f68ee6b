"""The command line as a shell runs it."""

import subprocess
import sys
from collections.abc import Mapping
from typing import IO


def everwatch(
    *arguments: str, environment: Mapping[str, str], stderr: int | IO[str] = subprocess.PIPE
) -> subprocess.Popen[str]:
    """``everwatch`` with these arguments, started."""
    return subprocess.Popen(
        [sys.executable, "-m", "everwatch", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=dict(environment),
    )


def run(*arguments: str, environment: Mapping[str, str], within_s: float = 240) -> subprocess.CompletedProcess[str]:
    """``everwatch`` with these arguments, run to its end."""
    process = everwatch(*arguments, environment=environment)
    try:
        out, err = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
