"""The skeleton of every process: start, run, stop; signals, health and metrics."""

from everwatch.processes.health import Health
from everwatch.processes.process import Process
from everwatch.processes.running import run_process

__all__ = ["Health", "Process", "run_process"]
