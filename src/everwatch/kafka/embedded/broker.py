"""Start the embedded Kafka, wait until it answers, and stop it."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from everwatch.core.clock import Clock
from everwatch.core.errors import EmbeddedKafkaError
from everwatch.kafka.embedded.address import Ports, choose_ports, is_free, is_open, remember_ports
from everwatch.kafka.embedded.failure import size_of, telling_line
from everwatch.kafka.embedded.folder import (
    STOP_TIMEOUT_S,
    FolderLock,
    KafkaFolder,
    recognise_cluster,
    stop_stale_broker,
)
from everwatch.kafka.embedded.jars import FetchProgress, default_jar_folder, distrust, provide_jars, read_lock
from everwatch.kafka.embedded.java import Java, bundled_java, choose_java
from everwatch.kafka.embedded.properties import format_command, java_command, write_properties

START_TIMEOUT_S = 180

_POLL_S = 0.02
_ANSWER_TIMEOUT_S = 2
_PORT_ATTEMPTS = 3


@dataclass(frozen=True)
class EmbeddedKafkaSettings:
    """Settings of an embedded Kafka.

    ``folder`` keeps data, logs and addresses across restarts. ``port`` None means the remembered one, 9092 or a free
    one. ``cache_folder`` None means the user's. ``maven_repository`` None means jgo's default. ``java_home`` and
    ``search_path`` are what JAVA_HOME and PATH say. ``overrides`` are further server properties of Kafka.
    """

    folder: Path
    port: int | None = None
    cache_folder: Path | None = None
    maven_repository: str | None = None
    java_home: str | None = None
    search_path: str | None = None
    heap_mb: int = 512
    overrides: Mapping[str, str] = field(default_factory=dict)


class EmbeddedKafka:
    """One Kafka broker with its KRaft controller, as a child process that listens on the loopback address.

    Also a context manager that starts and stops it. Not for use by several threads at once.
    """

    def __init__(
        self,
        settings: EmbeddedKafkaSettings,
        clock: Clock,
        progress: Callable[[FetchProgress], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._folder = KafkaFolder(settings.folder)
        self._jar_folder = default_jar_folder(settings.cache_folder)
        self._lock = FolderLock(self._folder.lock)
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: Ports | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """The ``host:port`` that clients connect to. Raises EmbeddedKafkaError before a start."""
        if self._ports is None:
            raise self._not_started()
        return self._ports.bootstrap_servers

    @property
    def pid(self) -> int:
        """The process id of the broker. Raises EmbeddedKafkaError before a start."""
        if self._process is None:
            raise self._not_started()
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Return the folder of the broker's logs; three files of 8 MB at most."""
        return self._folder.log

    def alive(self) -> bool:
        """Tell whether the broker's process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> str:
        """Start the broker, wait until it answers and return its bootstrap address.

        Fetches Kafka first if the cache lacks it. Does nothing if the broker runs; replaces one that has died.
        Raises FolderInUse if another Everwatch process holds the folder, SettingsError if ``overrides`` touch what
        is decided here, EmbeddedKafkaError for all else.
        """
        if self.alive():
            return self.bootstrap_servers
        self.stop()
        try:
            self._folder.create()
            self._lock.acquire()
            return self._start_in_own_folder()
        except OSError as error:
            self.stop()
            raise self._folder.unusable(error) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the broker down cleanly, within 8 s or else by force. Harmless if it does not run."""
        self._stop_process()
        self._lock.release()

    def _start_in_own_folder(self) -> str:
        settings, folder = self._settings, self._folder
        stop_stale_broker(folder)
        # errors that need no network are raised before a download
        ports = choose_ports(folder.root, settings.port)
        cluster_id = recognise_cluster(folder)
        java = choose_java(settings.java_home, settings.search_path, bundled_java())
        write_properties(folder, ports, settings.overrides)
        jars = provide_jars(self._jar_folder, read_lock(), settings.maven_repository, self._progress)
        if not folder.meta_properties.exists():
            self._format(java, jars, cluster_id)
        for _ in range(_PORT_ATTEMPTS):
            log_start = size_of(folder.log)
            process = self._launch(java_command(java, jars, folder, settings.heap_mb))
            if self._answers(process, ports, cluster_id):
                remember_ports(folder.root, ports)
                self._ports = ports
                return ports.bootstrap_servers
            died = process.poll() is not None
            self._stop_process()
            if not died or (is_free(ports.broker) and is_free(ports.controller)):
                break
            # Another program took a port between our look at it and Java's. A requested one is refused here.
            ports = choose_ports(folder.root, settings.port)
            write_properties(folder, ports, settings.overrides)
        if not died:
            raise self._failure(f"The embedded Kafka did not answer on {ports.bootstrap_servers} in time", log_start)
        distrust(self._jar_folder)
        raise self._failure(f"The embedded Kafka ended with code {process.returncode} while it started", log_start)

    def _format(self, java: Java, jars: list[Path], cluster_id: str) -> None:
        command = format_command(java, jars, self._folder, cluster_id)
        log_start = size_of(self._folder.log)
        with self._folder.console.open("wb") as console:
            try:
                subprocess.run(
                    command,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    cwd=self._folder.logs,
                    timeout=START_TIMEOUT_S,
                    check=True,
                )
            except subprocess.SubprocessError as error:
                distrust(self._jar_folder)
                problem = f"Kafka's data folder {self._folder.data} could not be formatted"
                raise self._failure(problem, log_start) from error

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._folder.console.open("wb") as console:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=self._folder.logs,
                # Ctrl-C in a terminal goes to our process group: Kafka must outlive the workers that still use it.
                start_new_session=True,
            )
        self._process = process
        self._folder.pid.write_text(f"{process.pid}\n", encoding="ascii")
        return process

    def _stop_process(self) -> None:
        process, self._process, self._ports = self._process, None, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._folder.pid.unlink(missing_ok=True)

    def _answers(self, process: subprocess.Popen[bytes], ports: Ports, cluster_id: str) -> bool:
        """Wait until the broker serves clients; False if it died or START_TIMEOUT_S passed."""
        deadline_s = self._clock.monotonic_s() + START_TIMEOUT_S
        pause = Event()
        client: AdminClient | None = None
        while process.poll() is None and self._clock.monotonic_s() < deadline_s:
            # librdkafka backs off ever longer from a port that refuses it, so it connects once the port is open.
            if client is None and is_open(ports.broker):
                client = AdminClient({"bootstrap.servers": ports.bootstrap_servers, "log_level": 0})
            if client is not None and _serves(client, cluster_id):
                return True
            pause.wait(_POLL_S)
        return False

    def _failure(self, problem: str, log_start: int) -> EmbeddedKafkaError:
        found = telling_line(self._folder.log, log_start, self._folder.console)
        line, log = found or ("it logged nothing", self._folder.console)
        return EmbeddedKafkaError(f"{problem} ({line.rstrip('. ')}): see {log} for the cause, then start again.")

    def _not_started(self) -> EmbeddedKafkaError:
        return EmbeddedKafkaError(f"The embedded Kafka in {self._folder.root} does not run: start it first.")


def _serves(client: AdminClient, cluster_id: str) -> bool:
    try:
        answer = client.list_topics(timeout=_ANSWER_TIMEOUT_S)
    except KafkaException:
        return False
    # A broker names itself only once its controller lets it serve; another cluster may sit on a port we lost.
    return answer.cluster_id == cluster_id and bool(answer.brokers)
