"""Security settings reach every client, Faust's too, and secrets are shown nowhere."""

from pathlib import Path

import faust
import trustme

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings, load_settings
from everwatch.kafka import asyncio_clients, clients
from streams.app import create_app


def _sasl() -> Settings:
    return load_settings(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="ada",
        sasl_password="not to be seen",
    )


def test_librdkafka_clients_get_user_password_and_mechanism() -> None:
    config = clients.librdkafka_settings(_sasl(), "broker:9092")
    assert config["security.protocol"] == "SASL_PLAINTEXT"
    assert config["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (config["sasl.username"], config["sasl.password"]) == ("ada", "not to be seen")


def test_librdkafka_clients_get_certificates(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("me@example.com")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "me.pem")
    issued.private_key_pem.write_to_path(tmp_path / "me.key")
    settings = load_settings(
        security_protocol="SSL",
        ssl_ca_file=tmp_path / "ca.pem",
        ssl_certificate_file=tmp_path / "me.pem",
        ssl_key_file=tmp_path / "me.key",
    )
    config = clients.librdkafka_settings(settings, "broker:9093")
    assert config["ssl.ca.location"] == str(tmp_path / "ca.pem")
    assert config["ssl.certificate.location"] == str(tmp_path / "me.pem")
    assert config["ssl.key.location"] == str(tmp_path / "me.key")


async def test_faust_gets_them_too(tmp_path: Path) -> None:
    app, _ = create_app(_sasl(), "one:9092,two:9092", SettableClock(), tmp_path)
    assert [url.host for url in app.conf.broker] == ["one", "two"]
    credentials = app.conf.broker_credentials
    assert isinstance(credentials, faust.SASLCredentials)
    assert (credentials.username, credentials.password) == ("ada", "not to be seen")
    assert credentials.mechanism.value == "SCRAM-SHA-512"
    assert credentials.protocol.value == "SASL_PLAINTEXT"


def test_the_batch_producer_gets_them_too() -> None:
    given = asyncio_clients.connection_settings(_sasl())
    assert given["security_protocol"] == "SASL_PLAINTEXT"
    assert given["sasl_plain_username"] == "ada"
    assert given["sasl_mechanism"] == "SCRAM-SHA-512"


def test_a_password_is_shown_nowhere() -> None:
    assert "not to be seen" not in repr(_sasl())
