"""The peer in Kafka Streams: the Java sources in ``streams/``, on the version that the embedded Kafka has."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.jars import provide_class_path
from bench.peers.process import Peer, running
from everwatch.core.config import Settings, java_environment
from everwatch.kafka.embedded.java import bundled_java, choose_java

NAME = "Kafka Streams"
THREADS = 2
HEAP_MB = 512

_APPLICATION = "peer-streams"
# Java 24 and later ask before native libraries (RocksDB) are loaded
_ASKS_FOR_NATIVE_ACCESS = 24


@contextmanager
def streams_peer(
    settings: Settings,
    bootstrap_servers: str,
    folder: Path,
    *,
    signups: str,
    ticks: str,
    partitions: int,
    threads: int = THREADS,
    heap_mb: int = HEAP_MB,
) -> Iterator[Peer]:
    """Run the Kafka Streams peer; it watches all partitions of ``signups`` when this returns.

    Both topics exist before; ``folder`` gets its state and its log. Raises EmbeddedKafkaError if its jars, a Java or
    a working compilation are lacking, PeerError if it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    java = choose_java(*java_environment(), bundled_java())
    class_path = provide_class_path(settings, java)
    command: list[str | Path] = [
        java.path,
        f"-Xms{heap_mb}m",
        f"-Xmx{heap_mb}m",
        # throughput counts here, the live data are small, and G1's concurrent threads would compete for few cores
        "-XX:+UseParallelGC",
        "-XX:+ExitOnOutOfMemoryError",
        *(["--enable-native-access=ALL-UNNAMED"] if java.major >= _ASKS_FOR_NATIVE_ACCESS else []),
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        *("-cp", os.pathsep.join(map(str, class_path))),
        *("peer.Peer", bootstrap_servers, _APPLICATION, signups, ticks, folder / "state", str(threads)),
    ]
    ready = f"running {partitions} tasks"
    changelog = f"{_APPLICATION}-monitors-changelog"
    with running(NAME, changelog, command, folder / "streams.log", ready) as peer:
        yield peer
