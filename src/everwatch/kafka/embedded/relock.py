"""Write ``jars.lock`` anew: ``python -m everwatch.kafka.embedded.relock [MAVEN_REPOSITORY]``.

Resolves Kafka's runtime dependencies with jgo, fetches each jar and records its size and SHA-256. To be run after
``KAFKA_VERSION`` in ``jars.py`` was changed; the result is reviewed and committed like code.
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jgo.maven import MavenContext

from everwatch.kafka.embedded.jars import KAFKA_VERSION, LOCK_FILE, sha256_of

_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Kafka logs through slf4j and names no binding as its dependency; its own distribution ships this one.
_LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl"
_LOG_CORE = ("org.apache.logging.log4j", "log4j-core")

_HEADER = f"""\
# The jars of the embedded Kafka {KAFKA_VERSION}, in the order of its class path.
# Written by `python -m everwatch.kafka.embedded.relock`.
"""


def relock(target: Path = LOCK_FILE, maven_repository: str | None = None) -> int:
    """Resolve, fetch and hash all jars, write ``target`` and return how many there are."""
    with resolved(_KAFKA, maven_repository) as (context, roots, rest):
        log_core = next(d for d in rest if (d.groupId, d.artifactId) == _LOG_CORE)
        # slf4j-impl brings only log4j and slf4j, which Kafka's own resolution has already settled.
        binding = context.create_dependency(f"{_LOG_BINDING}:{log_core.version}")
        return write_lock(target, _HEADER, [*roots, *rest, binding])


@contextmanager
def resolved(root: str, maven_repository: str | None) -> Iterator[tuple[MavenContext, list[Any], list[Any]]]:
    """Resolve a coordinate into a temporary folder; give the context, the jars of ``root`` and those it depends on."""
    with tempfile.TemporaryDirectory() as scratch:
        repositories = {"maven": maven_repository.rstrip("/")} if maven_repository else None
        context = MavenContext(repo_cache=Path(scratch), remote_repos=repositories)
        roots, rest = context.resolver.resolve([context.create_dependency(root)])
        yield context, roots, rest


def write_lock(target: Path, header: str, dependencies: Iterable[Any]) -> int:
    """Fetch and hash the jars of jgo's ``dependencies``, write ``target`` and return how many there are."""
    entries = [header]
    for dependency in dependencies:
        path = dependency.artifact.resolve()
        entries.append(
            "[[jar]]\n"
            f'coordinate = "{dependency.groupId}:{dependency.artifactId}:{dependency.version}"\n'
            f'file = "{path.name}"\n'
            f"size = {path.stat().st_size}\n"
            f'sha256 = "{sha256_of(path)}"\n'
        )
    target.write_text("\n".join(entries), encoding="utf-8")
    return len(entries) - 1


if __name__ == "__main__":
    sys.stdout.write(f"{relock(LOCK_FILE, *sys.argv[1:2])} jars written to {LOCK_FILE}\n")
