"""Tests of who holds the embedded Kafka's folder, whose data it has, and what an earlier run left there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import PATIENCE

from everwatch.core.errors import EmbeddedKafkaError, FolderInUse
from everwatch.kafka.embedded.folder import FolderLock, KafkaFolder, recognise_cluster, stop_stale_broker

SLEEPER = "import sys, time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def folder(tmp_path: Path) -> KafkaFolder:
    folder = KafkaFolder(tmp_path / "kafka")
    folder.create()
    return folder


def test_second_holder_is_refused_and_told_who_holds_the_folder(folder: KafkaFolder) -> None:
    first, second = FolderLock(folder.lock), FolderLock(folder.lock)
    first.acquire()
    with pytest.raises(FolderInUse) as caught:
        second.acquire()
    assert str(caught.value) == (
        f"The Kafka folder {folder.root} is in use by the Everwatch process {os.getpid()}: "
        "stop that process, or choose another folder."
    )
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_broker_left_behind_is_stopped(folder: KafkaFolder) -> None:
    command = [sys.executable, "-c", SLEEPER, str(folder.server_properties)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as left_behind:
        assert left_behind.stdout is not None
        left_behind.stdout.readline()
        folder.pid.write_text(f"{left_behind.pid}\n")
        assert stop_stale_broker(folder) == left_behind.pid
        assert left_behind.wait(5 * PATIENCE) != 0
    assert not folder.pid.exists()


def test_stranger_that_has_the_old_process_id_is_left_alone(folder: KafkaFolder) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        folder.pid.write_text(f"{stranger.pid}\n")
        assert stop_stale_broker(folder) is None
        assert stranger.poll() is None
        stranger.kill()
    assert not folder.pid.exists()


@pytest.mark.parametrize("text", ["", "no number", "999999999"])
def test_pid_file_that_leads_nowhere_is_forgotten(folder: KafkaFolder, text: str) -> None:
    folder.pid.write_text(text)
    assert stop_stale_broker(folder) is None
    assert not folder.pid.exists()


def test_cluster_id_is_chosen_once(folder: KafkaFolder) -> None:
    chosen = recognise_cluster(folder)
    folder.meta_properties.write_text(f"#\nnode.id=1\nversion=1\ncluster.id={chosen}\n")
    assert len(chosen) == 22
    assert recognise_cluster(folder) == chosen


def test_data_of_another_cluster_are_refused(folder: KafkaFolder) -> None:
    ours = recognise_cluster(folder)
    folder.meta_properties.write_text("version=1\ncluster.id=ForeignForeignForeign1\n")
    with pytest.raises(EmbeddedKafkaError) as caught:
        recognise_cluster(folder)
    assert str(caught.value) == (
        f"The data in {folder.data} belong to the Kafka cluster ForeignForeignForeign1, not to {ours}, for which the "
        f"folder was made ({folder.cluster}): put the right data back, or choose another folder."
    )


@pytest.mark.parametrize("meta", ["version=0\nbroker.id=1\n", "version=2\ncluster.id=x\n", "# empty\n"])
def test_data_of_another_format_are_refused(folder: KafkaFolder, meta: str) -> None:
    folder.meta_properties.write_text(meta)
    with pytest.raises(EmbeddedKafkaError, match=r"meta\.properties is of format \w+, but Kafka 4\.3\.1 reads only"):
        recognise_cluster(folder)


def test_data_of_a_newer_kafka_are_refused_and_of_an_older_one_taken(folder: KafkaFolder) -> None:
    folder.cluster.write_text('{"cluster_id": "abc", "kafka_version": "4.10.0"}')
    with pytest.raises(EmbeddedKafkaError, match=r"were written by Kafka 4\.10\.0, which Kafka 4\.3\.1 cannot read"):
        recognise_cluster(folder)
    folder.cluster.write_text('{"cluster_id": "abc", "kafka_version": "4.2.0"}')
    assert recognise_cluster(folder) == "abc"


def test_unreadable_cluster_file_is_told(folder: KafkaFolder) -> None:
    folder.cluster.write_text("{")
    with pytest.raises(EmbeddedKafkaError, match="cannot be read: delete that file to accept the data"):
        recognise_cluster(folder)


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedKafkaError, match=f"cannot write to its folder {tmp_path / 'file' / 'kafka'} "):
        KafkaFolder(tmp_path / "file" / "kafka").create()
    with pytest.raises(EmbeddedKafkaError, match="choose a folder without one"):
        KafkaFolder(tmp_path / "a,b").create()
