"""A Kafka of several brokers, made of the pieces of the embedded one: the first node is the controller, too."""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from everwatch.kafka.embedded.address import HOST, Ports
from everwatch.kafka.embedded.folder import KafkaFolder, recognise_cluster
from everwatch.kafka.embedded.jars import default_jar_folder, provide_jars, read_lock
from everwatch.kafka.embedded.java import bundled_java, choose_java
from everwatch.kafka.embedded.properties import format_command, java_command, write_properties
from support.ports import free_ports
from support.waiting import wait_until

CONTROLLER = 1
HEAP_MB = 256
STARTED_WITHIN_S = 60
STARTS = 5


class Cluster:
    """Brokers 1 to ``nodes``, child processes on the loopback address; every topic of theirs has two replicas."""

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self._java = choose_java(None, None, bundled_java())
        self._jars = provide_jars(default_jar_folder(), read_lock())
        self._folders = {number: KafkaFolder(folder / f"node-{number}") for number in range(1, nodes + 1)}
        self._ports = self._free_ports()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._format()

    def __enter__(self) -> Self:
        for left in reversed(range(STARTS)):
            try:
                for number in self._folders:
                    self.start(number)
                wait_until("all brokers are there", self._is_complete, STARTED_WITHIN_S)
                break
            except BaseException:
                self.stop()
                if not left or not self._is_port_taken():
                    raise
                # another process has taken one between its choice and the start
                self._ports = self._free_ports()
                for number in self._folders:
                    self._write_properties(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """Return what clients connect to."""
        return ",".join(ports.bootstrap_servers for ports in self._ports.values())

    def start(self, number: int) -> None:
        """Start a node that does not run."""
        folder = self._folders[number]
        with folder.console.open("ab") as console:
            self._processes[number] = subprocess.Popen(
                java_command(self._java, self._jars, folder, HEAP_MB),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=folder.logs,
                start_new_session=True,
            )

    def kill(self, number: int) -> None:
        """End a node without warning."""
        process = self._processes.pop(number)
        process.kill()
        process.wait(60)

    def stop(self) -> None:
        """End all nodes; nothing of theirs is needed any more."""
        for number in list(self._processes):
            self.kill(number)

    def leaders(self, topic: str) -> dict[int, int]:
        """The node that leads each partition."""
        return {number: leader for (name, number), (leader, _) in self._partitions().items() if name == topic}

    def wait_until_in_sync(self) -> None:
        """Wait until every partition has two replicas that hold all of it."""

        def in_sync() -> bool:
            partitions = self._partitions()
            return bool(partitions) and all(len(replicas) == 2 for _, replicas in partitions.values())

        wait_until("all replicas are in sync", in_sync, STARTED_WITHIN_S)

    def elect_preferred_leaders(self) -> None:
        """Give every partition back to its first replica."""
        partitions = [TopicPartition(*partition) for partition in self._partitions()]
        admin = self._new_admin()
        admin.elect_leaders(ElectionType.PREFERRED, partitions).result(60)

    def _free_ports(self) -> dict[int, Ports]:
        controller, *brokers = free_ports(len(self._folders) + 1)
        return {number: Ports(port, controller) for number, port in enumerate(brokers, 1)}

    def _is_port_taken(self) -> bool:
        logs = [folder.log for folder in self._folders.values() if folder.log.exists()]
        return any("Address already in use" in log.read_text(errors="replace") for log in logs)

    def _format(self) -> None:
        cluster_id = ""
        running = []
        for number, folder in self._folders.items():
            folder.create()
            cluster_id = cluster_id or recognise_cluster(folder)
            self._write_properties(number)
            command = format_command(self._java, self._jars, folder, cluster_id)
            with folder.console.open("wb") as console:
                running.append(subprocess.Popen(command, stdout=console, stderr=subprocess.STDOUT, cwd=folder.logs))
        assert [process.wait(240) for process in running] == [0] * len(running)

    def _write_properties(self, number: int) -> None:
        folder, ports = self._folders[number], self._ports[number]
        factor = {
            f"{name}.replication.factor": "2"
            for name in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic", "default")
        }
        write_properties(folder, ports, factor)
        mine = {"node.id": str(number), "controller.quorum.voters": f"{CONTROLLER}@{HOST}:{ports.controller}"}
        if number != CONTROLLER:
            mine |= {"process.roles": "broker", "listeners": f"BROKER\\://{ports.bootstrap_servers}"}
        # of a property that is there twice, Java takes the last
        with folder.server_properties.open("a", encoding="ascii") as properties:
            properties.writelines(f"{name}={value}\n" for name, value in mine.items())

    def _is_complete(self) -> bool:
        assert all(process.poll() is None for process in self._processes.values()), "a node ended by itself"
        try:
            return len(self._new_admin().list_topics(timeout=5).brokers) == len(self._folders)
        except KafkaException:
            return False

    def _new_admin(self) -> AdminClient:
        # one that knows no other node than the controller's does not ask one that is gone
        return AdminClient({"bootstrap.servers": self._ports[CONTROLLER].bootstrap_servers, "log_level": 0})

    def _partitions(self) -> dict[tuple[str, int], tuple[int, list[int]]]:
        """Leader and replicas in sync of every partition, as the controller's node has them."""
        return {
            (name, number): (partition.leader, partition.isrs)
            for name, topic in self._new_admin().list_topics(timeout=60).topics.items()
            for number, partition in topic.partitions.items()
        }
