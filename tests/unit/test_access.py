"""Why Kafka does not let a client in is a sentence of its own for each cause, with an exit status."""

import logging
import socketserver
from pathlib import Path
from threading import Thread

import pytest
import trustme
from confluent_kafka import KafkaError
from cryptography.hazmat.primitives import serialization

from everwatch.core.config import Secret, load_settings
from everwatch.core.errors import AccessError, SettingsError, TransportRefused, is_retryable
from everwatch.kafka.access_errors import read_of, refused, refused_connection
from everwatch.kafka.acl import Operation, Resource
from everwatch.kafka.clients import new_admin
from everwatch.kafka.process_rights import ProcessRole, needed_to_start, rights_of
from everwatch.kafka.tls_files import tls_context
from everwatch.kafka.topics import Topics

# as librdkafka 2.16 says them of Kafka 4.3
CASES = [
    ("SASL_SSL", "SASL authentication error: Authentication failed during authentication due to invalid"
     " credentials with SASL mechanism SCRAM-SHA-512 (after 315ms)", 9,
     "refuses the user 'ada' with this password"),
    ("SASL_SSL", "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported"
     " mechanisms: SCRAM-SHA-512 (after 301ms in state AUTH_HANDSHAKE)", 9, "it takes SCRAM-SHA-512"),
    ("SASL_SSL", "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate"
     " could not be verified (after 4ms in state SSL_HANDSHAKE)", 8, "EVERWATCH_SSL_CA_FILE"),
    ("SASL_SSL", "SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker"
     " listener? (after 3ms in state SSL_HANDSHAKE)", 8, "does not speak TLS on this port"),
    ("PLAINTEXT", "Disconnected: connection closed by peer: receive 0 after POLLIN (after 2ms in state"
     " APIVERSION_QUERY)", 8, "hangs up on what is not TLS"),
    ("SASL_PLAINTEXT", "SASL SCRAM-SHA-512 mechanism handshake failed: Broker: Request not valid in current SASL state:"
     " broker's supported mechanisms:  (after 4ms in state AUTH_HANDSHAKE)", 8, "does not authenticate clients"),
    ("SSL", "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116"
     " (after 1ms in state APIVERSION_QUERY)", 9, "wants a client certificate"),
    ("SSL", "Disconnected: SSL connection closed by peer (after 4ms in state UP)", 9,
     "hangs up on a client without a user"),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "line", "status", "says"), CASES)
def test_each_refusal_is_named(protocol: str, line: str, status: int, says: str) -> None:
    settings = load_settings(security_protocol=protocol, sasl_username="ada", sasl_password="not to be seen")
    found = refused_connection(["1/1 brokers are down", line], settings, "kafka:9092")
    assert found is not None
    assert found.exit_code == status
    assert says in str(found)
    assert "not to be seen" not in str(found)


def test_a_broker_that_is_away_is_no_refusal() -> None:
    lines = [
        "Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)",
        "1/1 brokers are down",
    ]
    assert refused_connection(lines, load_settings(), "kafka:9092") is None
    assert refused(KafkaError(KafkaError._TRANSPORT)) is None


def test_a_missing_acl_names_operation_and_resource_and_blames_no_record() -> None:
    found = refused(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), read_of("results"))
    assert isinstance(found, AccessError)
    assert "Read on topic results" in str(found)
    assert found.exit_code == 10
    assert is_retryable(found)


def test_rights_of_a_process_are_about_every_topic() -> None:
    settings = load_settings(topic_prefix="a.", publish_topics="orders")
    for process in ProcessRole:
        topics = {right.name for right in rights_of(process, settings) if right.resource == "topic"}
        assert topics >= set(Topics.of(settings).all)
    assert "orders" in {right.name for right in rights_of(ProcessRole.EXECUTOR, settings)}


def test_a_sink_may_ask_how_long_topics_keep_records_of_users_and_starts_without() -> None:
    settings = load_settings()
    asked = {r.name for r in rights_of(ProcessRole.SINK, settings) if r.operation is Operation.DESCRIBE_CONFIGS}
    assert set(Topics.of(settings).stored) < asked == set(Topics.of(settings).of_users)
    needed = needed_to_start(ProcessRole.SINK, settings)
    assert {r.operation for r in needed} == {Operation.READ, Operation.WRITE, Operation.DESCRIBE}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("ada@example.com")
    issued.cert_chain_pems[0].write_to_path(folder / "ada.pem")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = serialization.BestAvailableEncryption(b"right")
    (folder / "ada.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    authority.issue_cert("eve@example.com").private_key_pem.write_to_path(folder / "eve.key")
    (folder / "nothing").write_text("nothing\n")
    return folder


@pytest.mark.parametrize(
    ("ca", "key", "password", "says"),
    [
        ("absent", "ada.key", "right", "EVERWATCH_SSL_CA_FILE: .*absent cannot be read .No such file"),
        ("nothing", "ada.key", "right", "EVERWATCH_SSL_CA_FILE: .*nothing holds no certificate"),
        ("ca.pem", "absent", "right", "EVERWATCH_SSL_KEY_FILE: .*absent cannot be read"),
        ("ca.pem", "ada.key", "wrong", "EVERWATCH_SSL_KEY_PASSWORD: it is not the password of the key in .*ada.key"),
        ("ca.pem", "ada.key", "", "EVERWATCH_SSL_KEY_PASSWORD: it is empty, and a password is needed"),
        ("ca.pem", "eve.key", "", "eve.key is not the key of the certificate in .*ada.pem"),
        ("ca.pem", "nothing", "", "are not a certificate and its key"),
    ],
)
def test_a_file_of_tls_that_is_wrong_is_named(files: Path, ca: str, key: str, password: str, says: str) -> None:
    settings = load_settings(
        security_protocol="SSL",
        ssl_ca_file=files / ca,
        ssl_certificate_file=files / "ada.pem",
        ssl_key_file=files / key,
        ssl_key_password=Secret(password),
    )
    with pytest.raises(SettingsError, match=says):
        tls_context(settings)


def test_an_encrypted_key_is_opened_with_its_password(files: Path) -> None:
    settings = load_settings(
        security_protocol="SSL",
        ssl_ca_file=files / "ca.pem",
        ssl_certificate_file=files / "ada.pem",
        ssl_key_file=files / "ada.key",
        ssl_key_password="right",
    )
    assert tls_context(settings) is not None


@pytest.mark.parametrize("process", ProcessRole)
def test_the_documented_rights_are_those_that_are_looked_for(process: ProcessRole) -> None:
    def names(operation: Operation, resource: Resource) -> str:
        found = [r for r in rights_of(process, load_settings()) if (r.operation, r.resource) == (operation, resource)]
        return ", ".join(f"`{right.name}{'*' if right.is_prefix else ''}`" for right in found)

    columns = [
        process.value,
        names(Operation.READ, Resource.TOPIC),
        names(Operation.WRITE, Resource.TOPIC),
        names(Operation.DESCRIBE, Resource.TOPIC),
        names(Operation.READ, Resource.GROUP),
    ]
    documented = (Path(__file__).parents[2] / "docs/secured-kafka.md").read_text().splitlines()
    assert f"| {' | '.join(columns)} |" in documented


@pytest.mark.parametrize("process", ProcessRole)
def test_the_prefix_of_a_tenant_covers_all_rights_of_its_processes_and_none_of_another_tenant(
    process: ProcessRole,
) -> None:
    acme, globex = (load_settings(topic_prefix=f"{name}.") for name in ("acme", "globex"))
    assert {right.name.startswith("acme.") for right in rights_of(process, acme)} == {True}
    assert {right.name.startswith("acme.") for right in rights_of(process, globex)} == {False}


def test_what_librdkafka_tells_only_in_its_log_is_heard_at_every_log_level(caplog: pytest.LogCaptureFixture) -> None:
    class HangsUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangsUp) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        settings = load_settings()
        # as ``set_up_logs`` leaves it
        caplog.set_level(logging.CRITICAL + 1, "librdkafka")
        address = f"127.0.0.1:{server.server_address[1]}"
        with pytest.raises(TransportRefused, match="hangs up on what is not TLS"):
            new_admin(settings, address).list_topics(timeout=30)
        server.shutdown()


def test_an_executor_reads_the_ticks_of_its_own_region_alone() -> None:
    settings = load_settings(regions="eu,us", region="eu")
    read = {right.name for right in rights_of(ProcessRole.EXECUTOR, settings) if right.operation is Operation.READ}
    assert {"ticks.eu.high", "ticks.eu", "ticks.eu.low", "everwatch-executors.eu"} <= read
    assert not {"ticks", "ticks.us", "everwatch-executors"} & read
    written = {right.name for right in rights_of(ProcessRole.WORKER, settings) if right.operation is Operation.WRITE}
    assert {"ticks.eu", "ticks.us.low", "ticks"} <= written
