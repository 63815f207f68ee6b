"""All processes on a broker with SASL_SSL, SCRAM-SHA-512, mTLS and ACLs; what is refused is named."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.command import run
from support.pipeline import Process as Running
from support.secured import KEY_PASSWORD, SecuredKafka
from support.waiting import wait_until

from everwatch.core.config import load_settings
from everwatch.core.errors import PermissionMissing, StoreError
from everwatch.kafka.acl import Operation, Resource, Right
from everwatch.kafka.clients import new_admin
from everwatch.kafka.permission_check import expect_rights, lacking
from everwatch.kafka.process_rights import ProcessRole, rights_of, transactions_of
from everwatch.kafka.topic_administration import ensure_topics
from everwatch.kafka.topics import Topics
from everwatch.store.selections import ResultSelection
from everwatch.store.sql_reader import open_reader

pytestmark = pytest.mark.integration
PLAIN = load_settings(partitions=2)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """The broker, with the topics, and a user for each process that has exactly its rights."""
    with SecuredKafka(tmp_path_factory.mktemp("secured")) as running:
        ensure_topics(new_admin(PLAIN, running.in_the_clear), PLAIN)
        for process in ProcessRole:
            running.add_user(process.value)
            running.grant(process.value, rights_of(process, PLAIN))
        for process in ProcessRole:
            wait_until(f"{process} has its rights", lambda process=process: has_its_rights(running, process))
        yield running


def has_its_rights(kafka: SecuredKafka, process: ProcessRole) -> bool:
    """Tell whether the broker applies the rights yet: it acknowledges a grant before it does."""
    admin = new_admin(load_settings(**kafka.settings_of(process.value)), kafka.with_passwords)
    return not lacking(admin, rights_of(process, PLAIN))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of all processes."""
    return tmp_path_factory.mktemp("data")


def environment_of(kafka: SecuredKafka, folder: Path, user: str, **more: object) -> Mapping[str, str]:
    given = {"data_dir": folder, "partitions": 2, "session_timeout_ms": 6_000, **kafka.settings_of(user), **more}
    without = {name: value for name, value in os.environ.items() if not name.startswith("EVERWATCH_")}
    return without | {f"EVERWATCH_{name.upper()}": str(value) for name, value in given.items()}


def with_certificate(kafka: SecuredKafka, user: str, password: str = KEY_PASSWORD) -> dict[str, object]:
    certificate, key = kafka.certificate_of(user)
    return {
        "bootstrap_servers": kafka.with_certificates,
        "security_protocol": "SSL",
        "ssl_certificate_file": certificate,
        "ssl_key_file": key,
        "ssl_key_password": password,
    }


@contextmanager
def without(kafka: SecuredKafka, user: str, right: Right) -> Iterator[None]:
    """The user has all rights but this one."""
    admin = new_admin(load_settings(**kafka.settings_of(user)), kafka.with_passwords)
    kafka.take_away(user, [right])
    try:
        wait_until(f"{user} may not {right}", lambda: right in lacking(admin, [right]))
        yield
    finally:
        kafka.grant(user, [right])
        wait_until(f"{user} may {right}", lambda: right not in lacking(admin, [right]))


def test_all_processes_work_with_the_least_rights(kafka: SecuredKafka, folder: Path) -> None:
    of_client = environment_of(kafka, folder, "client")
    # one with a certificate whose key is encrypted, the others with passwords
    users = {"worker": {}, "executor": with_certificate(kafka, "executor"), "sink": {}}
    running = {
        name: Running(name, environment_of(kafka, folder, name, **more), folder / f"{name}.log")
        for name, more in users.items()
    }
    try:
        signup = folder / "users.jsonl"
        signup.write_text(
            '{"user_id": "u-1", "monitors": [{"monitor_id": "m", "kind": "tcp", "config": {"host": "127.0.0.1", "port":'
            ' 9}, "schedule": {"every": "1s"}}]}\n'
        )
        said = run("signup", "--file", str(signup), "--wait", environment=of_client)
        assert said.returncode == 0, said.stderr + said.stdout

        def stored() -> bool:
            ended = {name: process.logged() for name, process in running.items() if not process.runs}
            assert not ended
            try:
                with closing(open_reader(load_settings(data_dir=folder))) as reader:
                    return bool(reader.results(ResultSelection("u-1", "m"), limit=1))
            except StoreError:
                return False

        wait_until("a result is stored", stored, 90)
        said = run("monitor", "pause", "u-1", "m", "--wait", environment=of_client)
        assert said.returncode == 0, said.stderr
        said = run("results", "--from", "topic", "--user", "u-1", environment=of_client)
        assert "u-1/m" in said.stdout, said.stderr
        said = run("backup", str(folder / "backup"), environment=environment_of(kafka, folder, "backup"))
        assert said.returncode == 0, said.stderr
    finally:
        for process in running.values():
            process.ask_to_stop()
        logs = {name: (process.wait(), process.logged()) for name, process in running.items()}
    for name, (status, log) in logs.items():
        assert status == 0, (name, log)
        assert "Traceback" not in log, (name, log)


@pytest.mark.live
def test_executors_of_a_region_run_its_ticks_and_read_no_others(
    kafka: SecuredKafka, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("regions")
    # a place of its own: others' rights stay as they are
    place: dict[str, Any] = {"topic_prefix": "far.", "regions": "eu,us", "partitions": 2}
    settings = load_settings(**place)
    ensure_topics(new_admin(settings, kafka.in_the_clear), settings)
    of_eu = rights_of(ProcessRole.EXECUTOR, load_settings(**place, region="eu"))
    users = {"executor-eu": of_eu} | {
        f"far-{role}": rights_of(role, settings) for role in (ProcessRole.WORKER, ProcessRole.SINK, ProcessRole.CLIENT)
    }
    for user, rights in users.items():
        kafka.add_user(user)
        kafka.grant(user, rights)
        admin = new_admin(load_settings(**kafka.settings_of(user)), kafka.with_passwords)
        wait_until(f"{user} has its rights", lambda admin=admin, rights=rights: not lacking(admin, rights))
    # exactly its own
    of_us = rights_of(ProcessRole.EXECUTOR, load_settings(**place, region="us"))
    others = {right for right in of_us if right.operation is Operation.READ} - set(of_eu)
    admin = new_admin(load_settings(**kafka.settings_of("executor-eu")), kafka.with_passwords)
    assert set(lacking(admin, others)) == others
    assert {right.name for right in others} == {
        "far.ticks.us.high", "far.ticks.us", "far.ticks.us.low", "far.everwatch-executors.us",
    }  # fmt: skip

    def environment(user: str, **more: object) -> Mapping[str, str]:
        return environment_of(kafka, folder, user, **place, allow_networks="127.0.0.0/8", **more)

    refused = run("executor", environment=environment("executor-eu", region="us"))
    assert (refused.returncode, "Traceback" in refused.stderr) == (10, False), refused.stderr
    assert "the user 'executor-eu' the operation Read" in refused.stderr
    assert "far.ticks.us" in refused.stderr
    running = {
        name: Running(name, environment(user, **more), folder / f"{name}.log")
        for name, user, more in (
            ("worker", "far-worker", {}), ("executor", "executor-eu", {"region": "eu"}), ("sink", "far-sink", {}),
        )
    }  # fmt: skip
    try:
        monitor = {
            "monitor_id": "m", "kind": "tcp", "config": {"host": "127.0.0.1", "port": 9},
            "schedule": {"every": "1s"}, "policy": {"regions": ["eu", "us"], "timeout": "1s"},
        }  # fmt: skip
        (folder / "users.jsonl").write_bytes(orjson.dumps({"user_id": "u-1", "monitors": [monitor]}))
        said = run("signup", "--file", str(folder / "users.jsonl"), "--wait", environment=environment("far-client"))
        assert said.returncode == 0, said.stderr + said.stdout

        def answered() -> set[str]:
            assert all(process.runs for process in running.values()), [each.logged() for each in running.values()]
            try:
                with closing(open_reader(load_settings(data_dir=folder))) as reader:
                    return {each.result.region for each in reader.results(ResultSelection("u-1", "m"), limit=10)}
            except StoreError:
                return set()

        wait_until("the region answers", lambda: answered() == {"eu"}, 90)
    finally:
        for process in running.values():
            process.ask_to_stop()
        statuses = {name: process.wait() for name, process in running.items()}
    assert statuses == dict.fromkeys(running, 0), [process.logged() for process in running.values()]


REFUSED = {
    "a wrong password": ({"sasl_password": "guessed"}, 9, "refuses the user 'executor' with this password"),
    "another mechanism": ({"sasl_mechanism": "PLAIN"}, 9, "it takes SCRAM-SHA-512"),
    "an untrusted CA": ({"ssl_ca_file": "OTHER_CA"}, 8, "is not trusted: it was not signed by the CA in"),
    "no TLS where there is TLS": ({"security_protocol": "SASL_PLAINTEXT"}, 8, "hangs up on what is not TLS"),
    "TLS where there is none": ({"bootstrap_servers": "IN_THE_CLEAR"}, 8, "does not speak TLS on this port"),
    "no user where users log in": ({"security_protocol": "SSL"}, 9, "hangs up on a client without a user"),
    "no client certificate": (
        {"bootstrap_servers": "CERTIFICATES", "security_protocol": "SSL"},
        9,
        "client certificate",
    ),
    "a missing CA file": ({"ssl_ca_file": "/absent.pem"}, 2, "EVERWATCH_SSL_CA_FILE: /absent.pem cannot be read"),
}


@pytest.mark.parametrize("cause", REFUSED)
def test_a_refused_connection_is_named(kafka: SecuredKafka, folder: Path, cause: str) -> None:
    given, status, says = REFUSED[cause]
    places = {
        "OTHER_CA": kafka.other_ca_file,
        "IN_THE_CLEAR": kafka.in_the_clear,
        "CERTIFICATES": kafka.with_certificates,
    }
    more = {name: places.get(str(value), value) for name, value in given.items()}
    environment = environment_of(kafka, folder, "executor", **more)
    commands = (("executor",), ("signal", "u-1", "m"), ("topics", "check"), ("doctor",))
    with ThreadPoolExecutor(len(commands)) as side_by_side:
        *refused, diagnosed = side_by_side.map(lambda command: run(*command, environment=environment), commands)
    for said in refused:
        assert (said.returncode, says in said.stderr, "Traceback" in said.stderr) == (status, True, False), said.stderr
    assert diagnosed.returncode == 1
    assert says in diagnosed.stdout


def test_a_wrong_key_password_is_named(kafka: SecuredKafka, folder: Path) -> None:
    environment = environment_of(kafka, folder, "executor", **with_certificate(kafka, "executor", "guessed"))
    for process in ("worker", "executor", "sink"):
        said = run(process, environment=environment)
        assert said.returncode == 2
        assert "EVERWATCH_SSL_KEY_PASSWORD: it is not the password of the key" in said.stderr
        assert "Traceback" not in said.stderr


DENIED = {
    "worker": Right(Operation.READ, Resource.GROUP, PLAIN.application),
    "executor": Right(Operation.WRITE, Resource.TOPIC, "results"),
    "sink": Right(Operation.READ, Resource.TOPIC, "transitions"),
}


@pytest.mark.parametrize("process", DENIED)
def test_a_process_without_a_right_names_it(kafka: SecuredKafka, folder: Path, process: str) -> None:
    right = DENIED[process]
    environment = environment_of(kafka, folder, process)
    with without(kafka, process, right):
        said = run(process, environment=environment)
        assert said.returncode == 10, said.stderr
        # the group, or a topic that may then not even be described
        assert f"the user '{process}' the operation" in said.stderr
        assert right.name in said.stderr
        assert "Traceback" not in said.stderr
        told = run("doctor", "--for", process, environment=environment)
        assert told.returncode == 1
        assert right.name in told.stdout


def test_a_worker_without_its_transactional_ids_names_them(kafka: SecuredKafka, folder: Path) -> None:
    right = transactions_of(Topics.of(PLAIN))
    kafka.take_away("worker", [right])
    try:
        said = run("worker", environment=environment_of(kafka, folder, "worker"))
    finally:
        kafka.grant("worker", [right])
    assert said.returncode == 10, said.stderr
    assert "Write on transactional id everwatch-monitors-changelog-*" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_client_without_a_right_names_it(kafka: SecuredKafka, folder: Path) -> None:
    right = Right(Operation.WRITE, Resource.TOPIC, "signals")
    kafka.grant("client", [right._replace(operation=Operation.DESCRIBE)])
    with without(kafka, "client", right):
        said = run("signal", "u-1", "m", environment=environment_of(kafka, folder, "client"))
    assert said.returncode == 10, said.stderr
    assert "Write on topic signals" in said.stderr


@pytest.mark.parametrize("process", list(ProcessRole))
def test_each_right_is_looked_for(kafka: SecuredKafka, process: ProcessRole) -> None:
    settings = load_settings(partitions=2, **kafka.settings_of("nobody"))
    kafka.add_user("nobody")
    rights = rights_of(process, settings)
    exact = [right for right in rights if not right.is_prefix]
    admin = new_admin(settings, kafka.with_passwords)
    assert set(lacking(admin, rights)) == set(exact)
    with pytest.raises(PermissionMissing, match="the user 'nobody' the operation"):
        expect_rights(admin, rights)
