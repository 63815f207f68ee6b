"""Settings: from the environment, refused with one line, and no secret in sight."""

import os
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from msgspec import Meta

from everwatch.core.bounds import REGION_RULE
from everwatch.core.config import SecurityProtocol, Settings, environment_of_callables, load_settings
from everwatch.core.errors import SettingsError
from everwatch.core.output_format import OutputFormat

SECRET = "hunter2-very-secret"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No EVERWATCH_ variable of the developer's own, and no .env file."""
    for name in list(os.environ):
        if name.startswith("EVERWATCH_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refused(**overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_nothing_has_to_be_set() -> None:
    settings = load_settings()
    assert (settings.partitions, settings.sweep_ms, settings.application) == (12, 100, "everwatch")
    assert settings.database_url == f"sqlite:///{settings.data_dir / 'everwatch.db'}"
    assert settings.allow_networks == ()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_PARTITIONS", "32")
    monkeypatch.setenv("EVERWATCH_OUTPUT_FORMAT", "json")
    monkeypatch.setenv("EVERWATCH_TOPIC_PREFIX", "prod.")
    monkeypatch.setenv("EVERWATCH_DATA_DIR", "/srv/everwatch")
    settings = load_settings()
    assert (settings.partitions, settings.output_format) == (32, OutputFormat.JSON)
    assert settings.application == "prod.everwatch"
    assert settings.kafka_folder == Path("/srv/everwatch/kafka")


def test_a_dotenv_file_is_read_and_the_environment_wins_over_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("EVERWATCH_PARTITIONS=16\nEVERWATCH_LOG_LEVEL=DEBUG\n")
    monkeypatch.setenv("EVERWATCH_PARTITIONS", "32")
    settings = load_settings()
    assert (settings.partitions, settings.log_level) == (32, "DEBUG")


def test_a_command_line_option_wins_over_the_environment_and_none_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_PARTITIONS", "32")
    assert load_settings(partitions=4).partitions == 4
    assert load_settings(partitions=None).partitions == 32


def test_networks_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_ALLOW_NETWORKS", "127.0.0.0/8, 10.1.2.3/8 ,::1/128,")
    assert load_settings().allow_networks == (
        IPv4Network("127.0.0.0/8"),
        IPv4Network("10.0.0.0/8"),
        IPv6Network("::1/128"),
    )
    assert load_settings(allow_networks="192.168.0.0/16").allow_networks == (IPv4Network("192.168.0.0/16"),)


def test_a_network_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_ALLOW_NETWORKS", "127.0.0.0/8,localhost")
    assert refused() == "setting EVERWATCH_ALLOW_NETWORKS: 'localhost' does not appear to be an IPv4 or IPv6 network"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PARTITIONS", "many", "Expected int"),
        ("PARTITIONS", "0", "Expected int >= 1"),
        ("SWEEP_MS", "150", "Expected int that's a multiple of 100"),
        ("SESSION_TIMEOUT_MS", "1000", "Expected int >= 6000"),
        ("OUTPUT_FORMAT", "xml", "Expected one of avro, json, confluent"),
        ("COMPRESSION", "rar", "Expected one of none, gzip, snappy, lz4, zstd"),
        ("TOPIC_PREFIX", "a b", "Expected letters, digits, '.', '_' and '-' only"),
        ("REGIONS", "eu,High Tide", REGION_RULE),
        ("REGION", "high", REGION_RULE),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(f"EVERWATCH_{name}", value)
    assert refused() == f"setting EVERWATCH_{name}: {line}"


def test_two_wrong_settings_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_PARTITIONS", "0")
    monkeypatch.setenv("EVERWATCH_SWEEP_MS", "50")
    said = refused()
    assert "EVERWATCH_PARTITIONS" in said
    assert "EVERWATCH_SWEEP_MS" in said


@pytest.mark.parametrize("protocol", [SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL])
def test_sasl_without_a_user_is_refused_with_one_line(
    monkeypatch: pytest.MonkeyPatch, protocol: SecurityProtocol
) -> None:
    monkeypatch.setenv("EVERWATCH_SECURITY_PROTOCOL", protocol.value)
    assert refused() == f"security_protocol {protocol.value} needs sasl_username and sasl_password"


def test_a_certificate_without_its_key_is_refused() -> None:
    assert refused(ssl_certificate_file="client.pem") == "ssl_certificate_file needs ssl_key_file"


@pytest.mark.parametrize("name", ["SASL_PASSWORD", "SSL_KEY_PASSWORD"])
def test_a_secret_is_read_and_never_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"EVERWATCH_{name}", SECRET)
    settings = load_settings()
    assert getattr(settings, name.lower()).get_secret_value() == SECRET
    assert SECRET not in repr(settings) + str(settings) + f"{settings}"


def test_code_of_other_packages_gets_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = (
        "EVERWATCH_SECRETS_KEY", "EVERWATCH_API_ADMIN_TOKEN", "EVERWATCH_API_TOKEN", "EVERWATCH_SASL_PASSWORD",
        "EVERWATCH_SSL_KEY_PASSWORD", "EVERWATCH_SCHEMA_REGISTRY_PASSWORD", "EVERWATCH_PROXY", "EVERWATCH_DATABASE",
        "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "everwatch_sasl_password",
    )  # fmt: skip
    for name in (*secrets, "EVERWATCH_PARTITIONS", "MY_OWN_PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    given = environment_of_callables()
    assert [name for name in secrets if name in given] == []
    # what is meant for it is still there
    assert {"EVERWATCH_PARTITIONS", "MY_OWN_PASSWORD", "PATH"} <= given.keys()


@pytest.mark.parametrize("name", ["SASL_PASSWORD", "SSL_KEY_PASSWORD"])
def test_an_error_about_another_setting_shows_no_secret(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"EVERWATCH_{name}", SECRET)
    monkeypatch.setenv("EVERWATCH_PARTITIONS", "0")
    monkeypatch.setenv("EVERWATCH_SECURITY_PROTOCOL", "SASL_SSL")
    assert SECRET not in refused()


def test_settings_do_not_change_at_run_time() -> None:
    settings = load_settings()
    with pytest.raises(AttributeError, match="immutable"):
        settings.partitions = 9  # type: ignore[misc]


def test_an_empty_plans_file_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_PLANS_FILE", "")
    assert load_settings().plans_file is None
    assert load_settings(plans_file="plans.toml").plans_file == Path("plans.toml")


def test_a_password_in_the_address_of_the_database_is_not_shown() -> None:
    settings = load_settings(database=f"postgresql://ada:{SECRET}@db/everwatch")
    assert SECRET in settings.database_url
    assert SECRET not in f"{settings!r} {settings}"


def test_the_docs_name_every_setting_with_its_default_and_meaning() -> None:
    table = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    rows = {cells[1].strip(" `"): cells[3].strip() for line in table.splitlines() if len(cells := line.split("|")) == 5}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        meaning = next(meta.description for meta in get_args(hint) if isinstance(meta, Meta))
        # the table may say more, such as where to read on
        assert rows.get(f"EVERWATCH_{name.upper()}", "").startswith(meaning.rstrip(".")), name
