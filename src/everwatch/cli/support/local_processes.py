"""Everwatch on one machine: an embedded Kafka (unless another is configured) and the processes, watched over."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console

from everwatch.api.address import address_of, bound_socket
from everwatch.api.permissions import Role
from everwatch.api.tokens import new_text
from everwatch.cli.support.child_processes import Children
from everwatch.cli.support.embedded_broker import start_broker
from everwatch.cli.support.login_links import new_login_link
from everwatch.cli.support.metrics_port import MetricsPort
from everwatch.cli.support.options import STARTING_WITHIN_S, fitted
from everwatch.cli.support.supervised_kafka import KeptKafka
from everwatch.core.clock import Clock
from everwatch.core.config import Settings, given_settings
from everwatch.core.private_files import make_private_folder
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topic_administration import ensure_topics

PROCESSES = ("worker", "executor", "sink", "notifier")
_SERVING = (*PROCESSES, "api")
_EVERWATCH = (sys.executable, "-m", "everwatch")


class ConsoleAccess(NamedTuple):
    """Address of the API, a token of an administrator for it, and a link that opens the console once."""

    address: str
    token: str
    link: str


class Local:
    """Starts everything, starts again what dies, and stops everything in order: no tick in flight is lost."""

    def __init__(self, settings: Settings, clock: Clock, console: Console) -> None:
        self._settings = settings
        self._clock = clock
        self._console = console
        self._kafka: KeptKafka | None = None
        self._children = Children(clock, console.print)
        self._socket: socket.socket | None = None
        self._metrics = MetricsPort(settings)
        self.bootstrap_servers = settings.bootstrap_servers

    def __enter__(self) -> Self:
        self._metrics.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def settings(self) -> Settings:
        """Return the settings, with the partition count of the topics once Kafka is started."""
        return self._settings

    @property
    def log_folder(self) -> Path:
        """Return the folder of the processes' logs."""
        return self._settings.data_dir / "logs"

    @property
    def shown_database(self) -> str:
        """Return the URL of the database without its password. Raises StoreError."""
        if not self._settings.database:
            return self._settings.database_url  # a file in the data folder, which has no password
        from everwatch.store.database import shown_url  # SQLAlchemy takes a while to import

        return shown_url(self._settings.database_url)

    def start_kafka(self) -> None:
        """Start the embedded Kafka, unless one is configured, and create the topics."""
        if not self.bootstrap_servers:
            self._kafka = KeptKafka(
                self._settings,
                self._clock,
                start=lambda settings, clock: start_broker(settings, clock, self._console),
            )
            self.bootstrap_servers = self._kafka.start()
        admin = new_admin(self._settings, self.bootstrap_servers)
        self._settings = fitted(self._settings, admin, timeout_s=STARTING_WITHIN_S)
        ensure_topics(admin, self._settings)

    def start_api(self, extra: Mapping[str, str] | None = None) -> ConsoleAccess:
        """Start the API; gives how to get in. Raises SettingsError, BrokerUnavailable.

        It inherits a socket that stays open here: while the API is started again, requests wait in its backlog.
        """
        settings = self._settings
        self._socket = sock = bound_socket(settings, or_free="api_port" not in given_settings())
        sock.set_inheritable(True)
        token = settings.api_admin_token.get_secret_value() or new_text(Role.ADMIN)
        command = [*_EVERWATCH, "api", "--stop-with-parent", "--socket-fd", str(sock.fileno())]
        self.start("api", command, {"EVERWATCH_API_ADMIN_TOKEN": token, **(extra or {})}, sockets=(sock.fileno(),))
        address = address_of(sock)
        link = new_login_link(settings, self.bootstrap_servers, self._clock, address, Role.ADMIN)
        return ConsoleAccess(address, token, link)

    def start(
        self,
        name: str,
        command: list[str] | None = None,
        extra: Mapping[str, str] | None = None,
        sockets: tuple[int, ...] = (),
    ) -> None:
        """Start a process: an everwatch command, or any other ``command``; it inherits ``sockets``."""
        make_private_folder(self.log_folder)
        self._children.start(
            name,
            command or [*_EVERWATCH, name, "--stop-with-parent"],
            {
                "EVERWATCH_DATA_DIR": str(self._settings.data_dir),
                "EVERWATCH_BOOTSTRAP_SERVERS": self.bootstrap_servers,
                **(self._metrics.environment_of(name) if name in _SERVING else {}),
                **(extra or {}),
            },
            self.log_folder / f"{name}.log",
            sockets,
        )

    def look_after(self) -> list[str]:
        """Restart processes that died (after a pause that grows); gives a sentence for each thing that happened.

        Kafka too, if it is the embedded one. While the disk is full nothing is started.
        """
        said = self._kafka.look_after() if self._kafka is not None else []
        return said + self._children.look_after(may_start=self._kafka is None or not self._kafka.is_disk_full)

    def stop(self) -> None:
        """Stop the processes in the order they were started in, then Kafka."""
        self._children.stop()
        self._metrics.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._kafka is not None:
            self._kafka.stop()
            self._kafka = None
