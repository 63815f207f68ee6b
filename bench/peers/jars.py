"""The jars of the Kafka Streams peer, and its Java sources compiled with them: once, into the user's cache folder."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from everwatch.core.config import Settings
from everwatch.core.errors import EmbeddedKafkaError
from everwatch.kafka.embedded.jars import KAFKA_VERSION, provide_jars, read_lock
from everwatch.kafka.embedded.java import Java

LOCK_FILE = Path(__file__).with_name("jars.lock")
SOURCES = Path(__file__).with_name("streams")
COMPILER = "org.eclipse.jdt:ecj"

_LANGUAGE_LEVEL = "17"
_COMPILE_WITHIN_S = 120


def provide_class_path(settings: Settings, java: Java) -> list[Path]:
    """The class path of the peer: its compiled sources first, then its jars. Fetches and compiles what is missing.

    Raises EmbeddedKafkaError if a jar cannot be fetched or the sources do not compile.
    """
    folder = settings.cache_dir / f"streams-peer-{KAFKA_VERSION}"
    pinned = read_lock(LOCK_FILE)
    paths = dict(zip(pinned, provide_jars(folder, pinned, settings.maven_repository or None), strict=True))
    compiler = next(path for jar, path in paths.items() if jar.coordinate.startswith(COMPILER))
    jars = [path for path in paths.values() if path != compiler]
    return [_compiled(folder, java, compiler, jars), *jars]


def _compiled(folder: Path, java: Java, compiler: Path, jars: list[Path]) -> Path:
    """The folder of the compiled sources, whose name is a hash of what they were made from."""
    sources = sorted(SOURCES.glob("*.java"))
    made_from = [LOCK_FILE, *sources]
    fingerprint = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in made_from)).hexdigest()
    classes = folder / f"classes-{fingerprint[:16]}"
    if classes.is_dir():
        return classes
    # compiled beside its place and then moved there, so that a half compiled folder is never taken for a whole one
    with tempfile.TemporaryDirectory(dir=folder, prefix=".compiling-") as scratch:
        command: list[str | Path] = [java.path, "-jar", compiler, "-proc:none", "-nowarn", "-encoding", "UTF-8"]
        command += ["-source", _LANGUAGE_LEVEL, "-target", _LANGUAGE_LEVEL]
        command += ["-cp", os.pathsep.join(map(str, jars)), "-d", Path(scratch) / "classes", *sources]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=_COMPILE_WITHIN_S,
        )
        if done.returncode != 0:
            raise EmbeddedKafkaError(f"The Kafka Streams peer in {SOURCES} does not compile:\n{done.stderr}")
        try:
            (Path(scratch) / "classes").rename(classes)
        except OSError:
            # another process was faster with the same sources
            if not classes.is_dir():
                raise
    return classes
