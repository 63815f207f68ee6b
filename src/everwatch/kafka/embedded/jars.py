"""The jars that make up the embedded Kafka: which ones, fetched once, verified, then only looked at.

``jars.lock`` beside this module pins every jar by coordinate, size and SHA-256; ``relock`` writes it. The bytes come
through jgo from its default Maven repository, or from the one that a setting gives.
"""

import fcntl
import hashlib
import os
import shutil
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from everwatch.core.errors import EmbeddedKafkaError
from everwatch.core.private_files import shared_files

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION = "4.3.1"
LOCK_FILE = Path(__file__).with_name("jars.lock")

_PARALLEL_DOWNLOADS = 8
_ATTEMPTS = 2
_TIMEOUT_S = 20
_PROGRESS_EVERY_S = 0.1
_MARKER = "verified"
_INCOMING = ".incoming"


@dataclass(frozen=True)
class Jar:
    """One pinned jar: ``group:artifact:version``, the name of its file, its size in bytes and its SHA-256 in hex."""

    coordinate: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class FetchProgress:
    """Progress of a fetch. Files and bytes that were in the cache before count as neither done nor total."""

    done_files: int
    total_files: int
    done_bytes: int
    total_bytes: int


def read_lock(path: Path = LOCK_FILE) -> tuple[Jar, ...]:
    """Return the jars that a lock file pins, in the order in which it names them."""
    return tuple(Jar(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["jar"])


def default_jar_folder(cache_folder: Path | None = None) -> Path:
    """Return the folder of this Kafka's jars, below ``cache_folder`` or the user's cache folder."""
    return (cache_folder or Path(platformdirs.user_cache_dir("everwatch"))) / f"kafka-{KAFKA_VERSION}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provide_jars(
    folder: Path,
    jars: Sequence[Jar],
    maven_repository: str | None = None,
    progress: Callable[[FetchProgress], None] | None = None,
) -> list[Path]:
    """Return the paths of ``jars`` in ``folder``, fetching missing and damaged ones.

    Once everything has been verified, a call costs one ``stat`` a jar, writes nothing and needs no network.
    ``progress`` is called in the caller's thread, several times a second while something is being fetched.
    Any number of processes may call this for the same folder: one fetches, the others wait for it.

    Raises EmbeddedKafkaError if a jar cannot be fetched, or is not the one that the lock file pins.
    """
    paths = [folder / jar.file for jar in jars]
    if _is_verified(folder, jars):
        return paths
    try:
        # a cache may be filled by one user, and be read by others
        with shared_files():
            folder.mkdir(parents=True, exist_ok=True)
            with _only_one_process(folder):
                if _is_verified(folder, jars):
                    return paths
                missing = [jar for jar in jars if not _is_intact(folder / jar.file, jar)]
                if missing:
                    _fetch(folder, missing, maven_repository, progress)
                (folder / _MARKER).write_text(_fingerprint(jars), encoding="utf-8")
    except OSError as error:
        raise EmbeddedKafkaError(
            f"Kafka's jars cannot be kept in {folder} ({error.strerror or error}): "
            "make the folder writable and its disk large enough, or choose another cache folder."
        ) from error
    return paths


def distrust(folder: Path) -> None:
    """Have the next ``provide_jars`` hash every jar again; for when a broker died without a known cause."""
    # a read-only cache is trusted as it is
    with suppress(OSError):
        (folder / _MARKER).unlink(missing_ok=True)


def _fingerprint(jars: Iterable[Jar]) -> str:
    return hashlib.sha256(repr(list(jars)).encode()).hexdigest()


def _is_verified(folder: Path, jars: Sequence[Jar]) -> bool:
    try:
        if (folder / _MARKER).read_text(encoding="utf-8") != _fingerprint(jars):
            return False
        return all((folder / jar.file).stat().st_size == jar.size for jar in jars)
    except OSError:
        return False


def _is_intact(path: Path, jar: Jar) -> bool:
    return path.is_file() and path.stat().st_size == jar.size and sha256_of(path) == jar.sha256


@contextmanager
def _only_one_process(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Tally:
    """Shared count of the download threads, and their stop flag."""

    def __init__(self, jars: Sequence[Jar]) -> None:
        self._lock = threading.Lock()
        self._total_files = len(jars)
        self._total_bytes = sum(jar.size for jar in jars)
        self._bytes: dict[str, int] = {}
        self._done_files = 0
        self.cancelled = False

    @contextmanager
    def watch(self, filename: str, _size: int) -> Iterator[Callable[[int], None]]:
        """Count one file's bytes: jgo's progress callback."""
        with self._lock:
            self._bytes[filename] = 0

        def add(count: int) -> None:
            if self.cancelled:
                # jgo offers no other way to end a download early.
                raise RuntimeError("cancelled")
            with self._lock:
                self._bytes[filename] += count

        yield add

    def finish(self, jar: Jar) -> None:
        with self._lock:
            self._bytes[jar.file] = jar.size
            self._done_files += 1

    def snapshot(self) -> FetchProgress:
        with self._lock:
            done_bytes = min(sum(self._bytes.values()), self._total_bytes)
            return FetchProgress(self._done_files, self._total_files, done_bytes, self._total_bytes)


def _fetch(
    folder: Path,
    jars: Sequence[Jar],
    maven_repository: str | None,
    progress: Callable[[FetchProgress], None] | None,
) -> None:
    # Imported here because it takes a third of a second, which a start that fetches nothing should not pay.
    from jgo.maven import MavenContext, PythonResolver

    # an earlier, killed fetch may have left half a file; this process holds the lock, so no other one writes there
    incoming = folder / _INCOMING
    shutil.rmtree(incoming, ignore_errors=True)
    tally = _Tally(jars)
    report = progress or (lambda _: None)
    report(tally.snapshot())
    repositories = {"maven": maven_repository.rstrip("/")} if maven_repository else None
    resolver = PythonResolver(progress_callback=tally.watch)
    context = MavenContext(resolver, repo_cache=incoming, remote_repos=repositories, timeout=_TIMEOUT_S)
    # Largest first, so that no big jar is left to trickle in alone at the end.
    largest_first = sorted(jars, key=lambda jar: jar.size, reverse=True)
    with ThreadPoolExecutor(_PARALLEL_DOWNLOADS, thread_name_prefix="fetch-jar") as pool:
        pending = {pool.submit(_fetch_one, context, jar, folder, tally) for jar in largest_first}
        try:
            while pending:
                done, pending = wait(pending, timeout=_PROGRESS_EVERY_S, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                report(tally.snapshot())
        except BaseException:
            tally.cancelled = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    shutil.rmtree(incoming, ignore_errors=True)


def _fetch_one(context: "MavenContext", jar: Jar, folder: Path, tally: _Tally) -> None:
    where = "the Maven repository" if len(context.remote_repos) != 1 else next(iter(context.remote_repos.values()))
    problem = ""
    for _ in range(_ATTEMPTS):
        artifact = context.create_dependency(jar.coordinate).artifact
        try:
            path = context.resolver.download(artifact)
            assert path is not None
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
                raise
            if tally.cancelled:
                return
            # What is left of the broken download would make jgo refuse the next attempt.
            if artifact.cached_path is not None:
                artifact.cached_path.unlink(missing_ok=True)
            # requests quotes whole object representations; the class name says as much (ConnectTimeout, SSLError).
            missing = isinstance(error, RuntimeError)
            problem = f"{where} does not have it" if missing else f"no answer from {where}, {type(error).__name__}"
            continue
        if _is_intact(path, jar):
            # The final name appears only with the verified bytes behind it.
            os.replace(path, folder / jar.file)
            tally.finish(jar)
            return
        problem = f"what {where} sends is not what {LOCK_FILE.name} pins: {path.stat().st_size} bytes, other SHA-256"
        path.unlink()
    raise EmbeddedKafkaError(
        f"Kafka's jar {jar.file} is missing or damaged in {folder} and cannot be fetched ({problem}): "
        "check the network connection, or set another Maven repository, and start again."
    )
