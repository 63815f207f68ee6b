"""MirrorMaker 2 between two Kafkas, as a process: Kafka's own, of the version of the embedded Kafka.

Its jars are on Maven Central, and fetched once into the user's cache folder. What they are is pinned by one digest.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import platformdirs

from everwatch.kafka.embedded.jars import KAFKA_VERSION, default_jar_folder, sha256_of
from everwatch.kafka.embedded.java import bundled_java, choose_java
from everwatch.kafka.embedded.relock import resolved

COORDINATE = f"org.apache.kafka:connect-mirror:{KAFKA_VERSION}"
SHA256 = "8efc8c255752fe04f1ae1b933b563b359be521aafd80a3cf6667daeea6742892"
"""Of the names and digests of all jars, in the order of their names."""
_HEAP = "-Xmx384m"
_MAIN = "org.apache.kafka.connect.mirror.MirrorMaker"


class Unavailable(Exception):
    """It cannot be fetched here."""


class MirrorMaker:
    """One MirrorMaker 2. A context manager that starts and stops it; ``folder`` has its properties and its log."""

    def __init__(self, folder: Path, properties: str) -> None:
        self._folder = folder
        self._properties = properties
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        jars = provide()
        self._folder.mkdir(exist_ok=True)
        file = self._folder / "mm2.properties"
        file.write_text(self._properties)
        java = str(choose_java(None, None, bundled_java()).path)
        # Kafka's own have what logs
        classes = os.pathsep.join(f"{each}{os.sep}*" for each in (jars, default_jar_folder()))
        command = [java, _HEAP, "-XX:TieredStopAtLevel=1", "-cp", classes, _MAIN, str(file)]
        with (self._folder / "mm2.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def runs(self) -> bool:
        """Tell whether it has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def logged(self) -> str:
        """Return what it has logged."""
        return (self._folder / "mm2.log").read_text(errors="replace")


def provide() -> Path:
    """The folder of its jars, which are fetched where they are not there yet. Raises Unavailable."""
    folder = Path(platformdirs.user_cache_dir("everwatch")) / f"mirror-maker-{KAFKA_VERSION}"
    if folder.exists():
        return folder
    incoming = folder.with_name(f"{folder.name}.{os.getpid()}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    try:
        with resolved(COORDINATE, None) as (_, roots, rest):
            for dependency in [*roots, *rest]:
                path = dependency.artifact.resolve()
                shutil.copyfile(path, incoming / path.name)
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"{COORDINATE} cannot be fetched: {type(error).__name__}") from None
    if (found := digest_of(incoming)) != SHA256:
        raise Unavailable(f"{COORDINATE} is not what is pinned: the digest of its jars is {found}")
    # the name appears only with all of it behind it
    incoming.rename(folder)
    return folder


def digest_of(folder: Path) -> str:
    """Return one digest of all files of a folder."""
    names = "\n".join(f"{path.name} {sha256_of(path)}" for path in sorted(folder.iterdir()))
    return hashlib.sha256(names.encode()).hexdigest()
