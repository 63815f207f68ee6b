"""Tests of what the embedded Kafka does short of running a broker."""

import os
import socket
from pathlib import Path

import pytest

from everwatch.core.clock import SettableClock
from everwatch.core.errors import EmbeddedKafkaError, FolderInUse, SettingsError
from everwatch.kafka.embedded import EmbeddedKafka, EmbeddedKafkaSettings, remembered_address
from everwatch.kafka.embedded.address import Ports
from everwatch.kafka.embedded.failure import telling_line
from everwatch.kafka.embedded.folder import FolderLock, KafkaFolder
from everwatch.kafka.embedded.java import Java
from everwatch.kafka.embedded.properties import java_command, write_properties

NOWHERE = "http://127.0.0.1:1/maven"


def embedded(folder: Path, port: int | None = None, overrides: dict[str, str] | None = None) -> EmbeddedKafka:
    """An embedded Kafka that finds neither cached jars nor a network."""
    settings = EmbeddedKafkaSettings(
        folder, port=port, cache_folder=folder / "cache", maven_repository=NOWHERE, overrides=overrides or {}
    )
    return EmbeddedKafka(settings, SettableClock())


def test_stop_before_start_and_twice_is_harmless(tmp_path: Path) -> None:
    kafka = embedded(tmp_path)
    kafka.stop()
    kafka.stop()
    assert not kafka.alive()
    for ask in (lambda: kafka.pid, lambda: kafka.bootstrap_servers):
        with pytest.raises(EmbeddedKafkaError, match="does not run: start it first"):
            ask()


def test_failed_start_gives_the_folder_back(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedKafkaError, match="cannot be fetched"):
        embedded(tmp_path).start()
    with FolderLock(tmp_path / "lock"):
        assert remembered_address(tmp_path) is None


def test_folder_in_use_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "lock"), pytest.raises(FolderInUse, match=f"process {os.getpid()}:"):
        embedded(tmp_path).start()
    assert not (tmp_path / "cluster").exists()


def test_requested_port_that_is_taken_is_told_before_a_download(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(EmbeddedKafkaError, match=f"Port {port} on 127.0.0.1"):
            embedded(tmp_path, port=port).start()


def test_property_that_is_not_the_users_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"The Kafka property log\.dirs is decided by the embedded Kafka"):
        embedded(tmp_path, overrides={"log.dirs": "/elsewhere"}).start()


def test_properties_carry_overrides_and_odd_folder_names(tmp_path: Path) -> None:
    folder = KafkaFolder(tmp_path / "ümlaut = and space")
    folder.create()
    write_properties(folder, Ports(9192, 9193), {"message.max.bytes": "99", "offsets.topic.num.partitions": "3"})
    lines = folder.server_properties.read_text(encoding="ascii").splitlines()
    assert "message.max.bytes=99" in lines
    assert "offsets.topic.num.partitions=3" in lines
    assert any(line.startswith("log.dirs=") and line.endswith(r"\u00fcmlaut \= and space/data") for line in lines)
    assert r"listeners=BROKER\://127.0.0.1\:9192,CONTROLLER\://127.0.0.1\:9193" in lines


def test_native_access_is_asked_for_only_where_java_knows_the_option(tmp_path: Path) -> None:
    folder = KafkaFolder(tmp_path)
    assert "--enable-native-access=ALL-UNNAMED" not in java_command(Java(Path("java"), 17), [], folder, 256)
    assert "--enable-native-access=ALL-UNNAMED" in java_command(Java(Path("java"), 25), [], folder, 256)


def test_root_cause_below_the_first_alarm_is_the_telling_line(tmp_path: Path) -> None:
    log, console = tmp_path / "kafka.log", tmp_path / "console.log"
    old = "2026-01-01T00:00:00.000Z ERROR of an earlier start (x)\n"
    log.write_text(
        old
        + "2026-01-01T00:00:01.000Z INFO starting (kafka.Kafka)\n"
        + "2026-01-01T00:00:02.000Z ERROR Exiting (kafka.Kafka$)\n"
        + "org.apache.kafka.common.KafkaException: it broke\n"
        + "\tat kafka.Thing.run(Thing.java:1)\n"
        + "Caused by: java.net.BindException: Address already in use\n"
        + "2026-01-01T00:00:03.000Z ERROR a consequence (y)\n"
    )
    assert telling_line(log, len(old), console) == ("java.net.BindException: Address already in use", log)


def test_console_tells_when_java_did_not_get_as_far_as_the_log(tmp_path: Path) -> None:
    log, console = tmp_path / "kafka.log", tmp_path / "console.log"
    assert telling_line(log, 0, console) is None
    console.write_text("WARNING: noise\nError: Could not create the Java Virtual Machine.\nmore\n")
    assert telling_line(log, 0, console) == ("Error: Could not create the Java Virtual Machine.", console)
