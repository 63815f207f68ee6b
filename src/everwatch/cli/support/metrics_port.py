"""The metrics port of a command that starts several processes: one for all of them."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from everwatch.core.config import Settings
from everwatch.processes.combined import CombinedProcesses, SharedPortMember
from everwatch.processes.serving import serve


class MetricsPort:
    """Serves the metrics and the health of all processes that are started with ``environment_of``.

    Where the settings name no port and no socket, nothing is served and processes get none.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._combined = CombinedProcesses()
        self._opened = ExitStack()
        self._folder: Path | None = None

    def open(self) -> None:
        """Begin to serve. Raises SettingsError."""
        if self._settings.metrics_port == 0 and self._settings.metrics_socket is None:
            return
        # a path of a Unix socket is short, which one in the data folder may not be; others cannot enter this one
        self._folder = Path(
            self._opened.enter_context(TemporaryDirectory(prefix="everwatch-", ignore_cleanup_errors=True))
        )
        self._opened.enter_context(serve(self._settings, self._combined.application()))

    def environment_of(self, process: str, replica: int = 0) -> dict[str, str]:
        """Return where a process is to serve its own; ``replica`` counts from 1 where several are alike."""
        environment = {"EVERWATCH_METRICS_PORT": "0", "EVERWATCH_METRICS_SOCKET": ""}
        if self._folder is not None:
            path = self._folder / f"{process}-{replica}"
            self._combined.members.append(SharedPortMember(process, replica, path))
            environment["EVERWATCH_METRICS_SOCKET"] = str(path)
        return environment

    def close(self) -> None:
        """Serve no longer."""
        self._opened.close()
