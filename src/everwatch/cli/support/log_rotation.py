"""Rotation of the log files of child processes: each keeps at most two files of a bounded size."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

LARGEST_LOG_BYTES = 8 * 1024 * 1024
"""A log that has grown larger is begun anew; it may grow beyond by what is written between two looks."""


def rotate(log: Path, largest_bytes: int = LARGEST_LOG_BYTES) -> bool:
    """Copy a log that is too large to ``NAME.1``, in place of the older one, and empty it; return whether it was.

    It is copied and not renamed: the process that writes it holds it open, and appends. Lines of the instant between
    the copy and the emptying are lost. Where there is no room for the copy, there is none: the log is emptied.
    """
    older = log.with_name(f"{log.name}.1")
    try:
        if log.stat().st_size <= largest_bytes:
            return False
    except FileNotFoundError:
        return False
    try:
        shutil.copyfile(log, older)
    except OSError:
        with suppress(OSError):
            older.unlink(missing_ok=True)
    os.truncate(log, 0)
    return True
