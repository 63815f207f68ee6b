"""A worker or an executor as a process: started, measured, stopped."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from bench.errors import Unmeasured
from everwatch.core.clock import SystemClock
from everwatch.core.config import environment_with

STOP_WITHIN_S = 15.0


class Worker:
    """A worker process, named ``name``; ``folder`` has its tables, and it began at ``begun_ms``.

    ``command`` and ``variables`` make another of Everwatch's processes of it, ``module`` a process of the bench.
    """

    def __init__(
        self,
        name: str,
        data_folder: Path,
        bootstrap_servers: str,
        command: Sequence[str] = ("worker",),
        variables: Mapping[str, str] | None = None,
        module: str = "everwatch",
    ) -> None:
        self.name = name
        self.folder = data_folder / "workers" / name
        self.log = data_folder / f"{name}.log"
        self.begun_ms = SystemClock().now_ms()
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", module, *command, "--stop-with-parent"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment_with(
                    {
                        "EVERWATCH_DATA_DIR": str(data_folder),
                        "EVERWATCH_BOOTSTRAP_SERVERS": bootstrap_servers,
                        "EVERWATCH_STANDBY_REPLICAS": "0",
                        # what is counted is what the schedules alone say
                        "EVERWATCH_FIRST_CHECK_WITHIN_S": "-1",
                        "EVERWATCH_WORKER_ID": name,
                        # compiled modules are kept, as where it is installed
                        "PYTHONDONTWRITEBYTECODE": "",
                    }
                    | dict(variables or {})
                ),
                start_new_session=True,
            )
        self.process = psutil.Process(self._popen.pid)

    def cpu_s(self) -> float:
        """CPU time that it has used, with the processes it has started, seconds."""
        return sum(cpu_s_of(process) for process in self._processes())

    def resident_mib(self) -> float:
        """Resident memory, MiB."""
        return sum(float(process.memory_info().rss) for process in self._processes()) / 2**20

    def scheduled_s(self) -> tuple[float, float]:
        """Seconds for which its threads ran, and for which they could run and had no core (Linux)."""
        ran, waited = 0, 0
        for file in Path(f"/proc/{self._popen.pid}/task").glob("*/schedstat"):
            took, waits, _ = map(int, file.read_text().split())
            ran, waited = ran + took, waited + waits
        return ran / 1e9, waited / 1e9

    def check(self) -> None:
        """Raises Unmeasured if it has ended."""
        if self._popen.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()
            last = next((line for line in reversed(lines) if line.strip()), "nothing")
            raise Unmeasured(f"Process {self.name} ended with status {self._popen.returncode}; it said last: {last}")

    def stop(self) -> None:
        """Stop it as an operator does (SIGTERM), by force if it takes too long."""
        self._popen.terminate()
        try:
            self._popen.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()
        self._popen.wait()

    def _processes(self) -> list[psutil.Process]:
        self.check()
        return [self.process, *self.process.children(recursive=True)]


def cpu_s_of(process: psutil.Process) -> float:
    """CPU time that a process has used, seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)
