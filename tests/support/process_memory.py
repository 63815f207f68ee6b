"""Memory of a process, as Linux counts it."""

from collections.abc import Mapping
from pathlib import Path

MB = 1024 * 1024
# A record that unpacks to 32 MB may be there twice for each of the four topics that a worker reads (it is unpacked, and
# copied for Python), and twice more where a second client looks for the end of an unreadable batch before it.
MOST_GROWTH = 350 * MB


def resident_bytes(pid: int) -> int:
    """The memory that a process has now."""
    return _memory(pid, "VmRSS")


def assert_bounded(before: Mapping[str, tuple[int, int]]) -> str:
    """No process has ever had more than ``MOST_GROWTH`` above what it had before; gives a line that says how much.

    ``before``: the pid of each process, and its memory then.
    """
    growth = {name: (_memory(pid, "VmHWM") - bytes_before) // MB for name, (pid, bytes_before) in before.items()}
    line = ", ".join(f"{name} {grown} MB" for name, grown in growth.items())
    assert max(growth.values()) < MOST_GROWTH // MB, line
    return line


def _memory(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))
