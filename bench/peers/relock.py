"""Write ``jars.lock`` anew: ``python -m bench.peers.relock [MAVEN_REPOSITORY]``.

Kafka Streams in the version of the embedded Kafka with what it needs at run time, a log binding, and the compiler
for the peer's sources, which a machine with only a Java runtime lacks. The result is reviewed and committed like code.
"""

import sys
from pathlib import Path

from bench.peers.jars import COMPILER, LOCK_FILE
from everwatch.kafka.embedded.jars import KAFKA_VERSION
from everwatch.kafka.embedded.relock import resolved, write_lock

_STREAMS = f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}"
_LOG_BINDING = "org.slf4j:slf4j-simple"
_LOG_API = ("org.slf4j", "slf4j-api")
# itself runs on Java 17, the oldest that is accepted here
_COMPILER_VERSION = "3.44.0"

_HEADER = f"""\
# The jars of the Kafka Streams peer {KAFKA_VERSION}, in the order of its class path, and the compiler for its sources.
# Written by `python -m bench.peers.relock`.
"""


def relock(target: Path = LOCK_FILE, maven_repository: str | None = None) -> int:
    """Resolve, fetch and hash all jars, write ``target`` and return how many there are."""
    with resolved(_STREAMS, maven_repository) as (context, roots, rest):
        log_api = next(d for d in rest if (d.groupId, d.artifactId) == _LOG_API)
        extra = [
            context.create_dependency(f"{_LOG_BINDING}:{log_api.version}"),
            context.create_dependency(f"{COMPILER}:{_COMPILER_VERSION}"),
        ]
        return write_lock(target, _HEADER, [*roots, *rest, *extra])


if __name__ == "__main__":
    sys.stdout.write(f"{relock(LOCK_FILE, *sys.argv[1:2])} jars written to {LOCK_FILE}\n")
