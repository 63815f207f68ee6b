"""Apicurio's application: a schema registry that speaks Confluent's API, started by the embedded Kafka's Java.

It is on Maven Central, 142 MB, and fetched once into the user's cache folder.
"""

import hashlib
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import platformdirs
from jgo.maven import MavenContext, PythonResolver

from everwatch.kafka.embedded.java import bundled_java, choose_java
from support.ports import free_ports
from support.waiting import wait_until

VERSION = "2.6.13.Final"
SHA256 = "3cda1b34aa020fb4ac4dd6a66018d757e81e437f97e20a1f92d366b70091c6ba"
COORDINATE = f"io.apicurio:apicurio-registry-app:{VERSION}:all:tar.gz"
FETCH_TIMEOUT_S = 60


class Unavailable(Exception):
    """It cannot be fetched here."""


class Apicurio:
    """One registry on the loopback address, with its schemas in memory; ``folder`` holds its log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        [self._port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of Confluent's API."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def __enter__(self) -> Self:
        jar = provide()
        command = [str(choose_java(None, None, bundled_java()).path), "-Xmx256m", "-Dquarkus.http.host=127.0.0.1"]
        command += [f"-Dquarkus.http.port={self._port}", "-jar", str(jar)]
        with (self._folder / "apicurio.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder
            )
        try:
            wait_until("Apicurio answers", self._answers, 60)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "apicurio.log").read_text()[-2_000:]
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def provide() -> Path:
    """The application's jar, fetched where it is not there yet. Raises Unavailable."""
    folder = Path(platformdirs.user_cache_dir("everwatch")) / f"apicurio-{VERSION}"
    jar = folder / f"apicurio-registry-app-{VERSION}-runner.jar"
    if jar.exists():
        return jar
    incoming = folder.with_name(f"{folder.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    context = MavenContext(PythonResolver(), repo_cache=incoming / "maven", timeout=FETCH_TIMEOUT_S)
    component = context.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
    try:
        archive = context.resolver.download(component.artifact("all", "tar.gz"))
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"{COORDINATE} cannot be fetched: {type(error).__name__}") from None
    assert archive is not None
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise Unavailable(f"{COORDINATE} is not the one that is pinned: its SHA-256 is {found}")
    with tarfile.open(archive) as packed:
        packed.extractall(incoming / "whole", filter="data")
    # the name appears only with all of it behind it
    (incoming / "whole").rename(folder)
    shutil.rmtree(incoming, ignore_errors=True)
    return jar
