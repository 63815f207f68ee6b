"""Fetching and verifying jars, against a Maven repository on this machine that holds made-up jars."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from everwatch.core.errors import EmbeddedKafkaError
from everwatch.kafka.embedded.jars import FetchProgress, Jar, distrust, provide_jars, read_lock

NOWHERE = "http://127.0.0.1:1/maven"


class Repository:
    """A Maven repository over HTTP that counts the jars it hands out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.served: list[str] = []
        served = self.served

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith(".jar"):
                    served.append(self.path.rpartition("/")[2])
                super().do_GET()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def publish(self, name: str, content: bytes) -> Jar:
        path = self.root / "org" / "example" / name / "1.0" / f"{name}-1.0.jar"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        return Jar(f"org.example:{name}:1.0", path.name, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    repository = Repository(tmp_path / "repository")
    thread = threading.Thread(target=repository.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield repository
    repository.server.shutdown()
    repository.server.server_close()
    thread.join()


def test_jars_are_fetched_once_and_found_without_a_network_afterwards(tmp_path: Path, repository: Repository) -> None:
    jars = [repository.publish("one", b"1" * 50_000), repository.publish("two", b"22")]
    seen: list[FetchProgress] = []
    cache = tmp_path / "cache"

    paths = provide_jars(cache, jars, repository.url, seen.append)

    assert [path.read_bytes() for path in paths] == [b"1" * 50_000, b"22"]
    assert seen[0] == FetchProgress(0, 2, 0, 50_002)
    assert seen[-1] == FetchProgress(2, 2, 50_002, 50_002)
    assert provide_jars(cache, jars, NOWHERE, pytest.fail) == paths
    assert sorted(repository.served) == ["one-1.0.jar", "two-1.0.jar"]
    assert not (cache / ".incoming").exists()


@pytest.mark.parametrize("damage", [b"half", b"bad bytes"], ids=["half a file", "same size"])
def test_damaged_jar_alone_is_fetched_again(tmp_path: Path, repository: Repository, damage: bytes) -> None:
    jars = [repository.publish("one", b"one bytes"), repository.publish("two", b"two bytes")]
    one, _ = provide_jars(tmp_path / "cache", jars, repository.url)
    one.write_bytes(damage)
    # What a broker's failed start does: it cannot know that a jar was to blame.
    distrust(tmp_path / "cache")
    repository.served.clear()

    provide_jars(tmp_path / "cache", jars, repository.url)

    assert one.read_bytes() == b"one bytes"
    assert repository.served == ["one-1.0.jar"]


def test_damaged_jar_without_a_network_is_named(tmp_path: Path, repository: Repository) -> None:
    jar = repository.publish("one", b"one bytes")
    (path,) = provide_jars(tmp_path / "cache", [jar], repository.url)
    path.write_bytes(b"half")
    with pytest.raises(EmbeddedKafkaError) as caught:
        provide_jars(tmp_path / "cache", [jar], NOWHERE)
    assert str(caught.value) == (
        f"Kafka's jar one-1.0.jar is missing or damaged in {tmp_path / 'cache'} and cannot be fetched "
        f"(no answer from {NOWHERE}, ConnectionError): "
        "check the network connection, or set another Maven repository, and start again."
    )


def test_jar_that_differs_from_the_lock_is_refused_and_not_kept(tmp_path: Path, repository: Repository) -> None:
    good = repository.publish("one", b"one bytes")
    forged = Jar(good.coordinate, good.file, good.size, "0" * 64)
    with pytest.raises(EmbeddedKafkaError, match=r"sends is not what jars\.lock pins"):
        provide_jars(tmp_path / "cache", [forged], repository.url)
    assert not (tmp_path / "cache" / good.file).exists()


def test_jar_that_the_repository_lacks_is_told(tmp_path: Path, repository: Repository) -> None:
    absent = Jar("org.example:absent:1.0", "absent-1.0.jar", 3, "0" * 64)
    with pytest.raises(EmbeddedKafkaError, match=rf"absent-1\.0\.jar .*{repository.url} does not have it"):
        provide_jars(tmp_path / "cache", [absent], repository.url)


def test_many_fetching_at_once_download_each_jar_once(tmp_path: Path, repository: Repository) -> None:
    jars = [repository.publish(f"jar{n}", bytes([n]) * 1000) for n in range(5)]
    threads = [threading.Thread(target=provide_jars, args=(tmp_path / "cache", jars, repository.url)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(provide_jars(tmp_path / "cache", jars, NOWHERE)) == len(jars)
    assert sorted(repository.served) == sorted(jar.file for jar in jars)


def test_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(EmbeddedKafkaError, match=f"cannot be kept in {tmp_path / 'cache'} .* choose another cache"):
        provide_jars(tmp_path / "cache", [Jar("a:b:1", "b-1.jar", 1, "0" * 64)], NOWHERE)


def test_the_lock_pins_a_whole_kafka_and_names_no_address() -> None:
    jars = read_lock()
    assert len({jar.file for jar in jars}) == len(jars) > 40
    assert all(len(jar.sha256) == 64 and jar.size > 0 and jar.coordinate.count(":") == 2 for jar in jars)
    assert {"kafka_2.13-4.3.1.jar", "log4j-core-2.25.4.jar", "log4j-slf4j-impl-2.25.4.jar"} <= {j.file for j in jars}
