"""Memory that a process gives back."""

import subprocess
import sys

# a block that was freed raises the C library's limit from which on blocks are mapped, up to 32 MB; what is smaller then
# lies among others, and stays with the process for as long as one behind it lives
PROGRAM = """
import ctypes
from pathlib import Path
from everwatch.core.process_memory import expect_batches

def resident_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if "VmRSS" in line) // 1024

expect_batches()
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
free(malloc(30_000_000))
before = resident_mb()
large = [malloc(20_000_000) for _ in range(5)]
for block in large:
    ctypes.memset(block, 1, 20_000_000)
behind = malloc(100_000)
held = resident_mb()
for block in large:
    free(block)
print(held - before, resident_mb() - before)
"""


def test_large_blocks_go_back_to_the_system_when_they_are_freed() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=300)
    held, kept = map(int, said.stdout.split())
    assert held >= 90
    assert kept <= 5
