"""The settings that the embedded Kafka runs with: the broker's, its log's and the Java machine's."""

from collections.abc import Mapping
from pathlib import Path

from everwatch.core.errors import SettingsError
from everwatch.kafka.embedded.address import HOST, Ports
from everwatch.kafka.embedded.folder import NODE_ID, KafkaFolder
from everwatch.kafka.embedded.java import Java

# What makes one node a cluster of its own, for one machine. Everything not named here is Kafka's default.
_BROKER = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    # No reader passes a transaction that a client leaves open. Clients' libraries ask for a minute, and a broker would
    # grant a quarter of an hour.
    "transaction.max.timeout.ms": "60000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "auto.create.topics.enable": "false",
    # alone in its cluster, a first group member need not wait for others
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "6000",
    # A broker that gets no CPU for this long is considered dead: its partitions have no leader until it answers.
    # A killed one may register again only when this has passed since its last one. A heartbeat has to be answered
    # before the next (2 s by default), which takes longer on a busy machine.
    "broker.session.timeout.ms": "9000",
    "broker.heartbeat.interval.ms": "3000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
    "background.threads": "4",
    "log.cleaner.threads": "1",
    # Kafka sets this memory aside at once (128 MB by default); 16 MB deduplicate 600,000 keys in one pass.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "log.retention.hours": "168",
    "log.retention.check.interval.ms": "60000",
    # The metadata log of one node grows slowly; Kafka's default of 1 GB segments would be allocated for nothing.
    "metadata.log.segment.bytes": str(64 * 1024 * 1024),
    # An idle controller writes a record that says nothing twice a second (Kafka's default), for brokers that lag behind
    # it. Alone in its cluster it need not: that was 40 % of the CPU time of an idle broker.
    "metadata.max.idle.interval.ms": "5000",
}

# From this version on, Java warns of libraries that load native code, as the compression codecs do (JEP 472).
_ASKS_FOR_NATIVE_ACCESS = 24

_LOG = """\
monitorInterval=0
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName=${sys:kafka.logs.dir}/kafka.log
appender.file.filePattern=${sys:kafka.logs.dir}/kafka.%i.log
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=8MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
"""


def write_properties(folder: KafkaFolder, ports: Ports, overrides: Mapping[str, str]) -> None:
    """Write the broker's and its log's configuration into ``folder``.

    ``overrides`` are server properties of Kafka. Raises SettingsError for those that this package itself decides.
    """
    identity = {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "controller.quorum.voters": f"{NODE_ID}@{HOST}:{ports.controller}",
        "listeners": f"BROKER://{HOST}:{ports.broker},CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": f"BROKER://{HOST}:{ports.broker}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(folder.data),
    }
    if taken := sorted(identity.keys() & overrides.keys()):
        raise SettingsError(
            f"The Kafka property {taken[0]} is decided by the embedded Kafka and cannot be overridden: "
            "leave it out, or run a Kafka of your own."
        )
    lines = [f"{_escape(key)}={_escape(value)}\n" for key, value in {**_BROKER, **overrides, **identity}.items()]
    folder.server_properties.write_text("".join(lines), encoding="ascii")
    folder.log_properties.write_text(_LOG, encoding="ascii")


def java_command(java: Java, jars: list[Path], folder: KafkaFolder, heap_mb: int) -> list[str]:
    """Return the command that runs the broker on the configuration that ``write_properties`` wrote."""
    return [
        str(java.path),
        f"-Xmx{heap_mb}m",
        # Throughput counts here, the live data are small, and G1's concurrent threads would compete for few cores.
        "-XX:+UseParallelGC",
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={folder.logs / 'java-crash.log'}",
        *(["--enable-native-access=ALL-UNNAMED"] if java.major >= _ASKS_FOR_NATIVE_ACCESS else []),
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={folder.log_properties}",
        f"-Dkafka.logs.dir={folder.logs}",
        "-cp",
        ":".join(map(str, jars)),
        "kafka.Kafka",
        str(folder.server_properties),
    ]


def format_command(java: Java, jars: list[Path], folder: KafkaFolder, cluster_id: str) -> list[str]:
    """Return the command that gives an empty data folder its cluster id, and leaves a formatted one alone."""
    return [
        str(java.path),
        "-Xmx128m",
        # This process lives for under a second: optimising its code would cost more than it gives.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-cp",
        ":".join(map(str, jars)),
        "kafka.tools.StorageTool",
        "format",
        "--ignore-formatted",
        "--cluster-id",
        cluster_id,
        "--config",
        str(folder.server_properties),
    ]


def _escape(text: str) -> str:
    """Write a key or value as a Java properties file wants it."""
    escaped: list[str] = []
    for char in text:
        if char in "\\:=#!\n\r\t" or (char == " " and not escaped):
            escaped.append({"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, f"\\{char}"))
        elif char.isascii() and char.isprintable():
            escaped.append(char)
        else:
            units = char.encode("utf-16-be")
            escaped += [f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)]
    return "".join(escaped)
