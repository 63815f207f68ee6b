"""Memory of a process, as Linux counts it."""

from collections.abc import Mapping
from pathlib import Path

MB = 1024 * 1024
# Batches of a topic that unpack to 32, 32 and 16 MB may be there at once, unpacked and copied for Python; 64 MB of the
# one that is given up; the batches once more for the second client, which looks for its end; and growth besides.
_BATCHES = (32 + 32 + 16) * MB
MOST_GROWTH = 2 * _BATCHES + 64 * MB + _BATCHES + 46 * MB


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
