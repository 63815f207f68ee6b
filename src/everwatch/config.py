"""Settings: the only module that reads the environment.

Every setting is an environment variable ``EVERWATCH_<NAME>`` (upper case) or a line of a ``.env`` file in the
working folder; command-line options win over both.
"""

import ipaddress
import os
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from everwatch.errors import SettingsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
TopicName = Annotated[str, Field(max_length=249, pattern=r"^[A-Za-z0-9._-]+$")]


class OutputFormat(StrEnum):
    """How results and transitions are written."""

    AVRO = "avro"
    JSON = "json"


class SecurityProtocol(StrEnum):
    """How clients talk to the brokers."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(StrEnum):
    """How clients prove who they are."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class LogFormat(StrEnum):
    """How log lines are written: for people or for a log collector."""

    TEXT = "text"
    JSON = "json"


class Settings(BaseSettings):
    """Everything that can be set, with sensible defaults. Frozen: nothing changes a setting at run time."""

    model_config = SettingsConfigDict(
        env_prefix="EVERWATCH_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # where things are
    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("everwatch"),
        description="Folder of all local state: the embedded Kafka's data, RocksDB tables, the SQLite database.",
    )
    cache_dir: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("everwatch"),
        description="Folder of what can be fetched again: the embedded Kafka's jars.",
    )
    database: str = Field(
        default="",
        repr=False,  # it may hold a password
        description="SQLAlchemy URL of the database; empty: SQLite at <data_dir>/everwatch.db.",
    )

    # Kafka
    bootstrap_servers: str = Field(
        default="", description="host:port[,host:port…] of Kafka; empty: the embedded one of this data folder."
    )
    security_protocol: SecurityProtocol = Field(default=SecurityProtocol.PLAINTEXT, description="Transport security.")
    sasl_mechanism: SaslMechanism = Field(default=SaslMechanism.PLAIN, description="SASL mechanism.")
    sasl_username: str = Field(default="", description="SASL user name.")
    sasl_password: SecretStr = Field(default=SecretStr(""), description="SASL password.")
    ssl_ca_file: Path | None = Field(default=None, description="PEM file of the CA that signed the brokers.")
    ssl_certificate_file: Path | None = Field(default=None, description="PEM file of the client's certificate.")
    ssl_key_file: Path | None = Field(default=None, description="PEM file of the client's private key.")
    ssl_key_password: SecretStr = Field(default=SecretStr(""), description="Password of the private key.")
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$", description="Put before every topic's name.")
    partitions: int = Field(default=8, ge=1, le=10_000, description="Partition count of every topic.")
    replication_factor: int = Field(default=1, ge=1, le=10, description="Replicas of every partition.")
    results_retention_hours: int = Field(
        default=168, ge=1, description="How long results and transitions stay on their topics."
    )
    compression: str = Field(
        default="lz4", pattern="^(none|gzip|snappy|lz4|zstd)$", description="Compression of what is produced."
    )
    output_format: OutputFormat = Field(default=OutputFormat.AVRO, description="Encoding of results and transitions.")
    session_timeout_ms: int = Field(
        default=8_000, ge=6_000, le=300_000, description="A worker or executor unheard of for so long loses its work."
    )

    # embedded Kafka
    kafka_port: int = Field(
        default=0, ge=0, le=65_535, description="Port of the embedded Kafka; 0: 9092, or a free one, remembered."
    )
    kafka_heap_mb: int = Field(default=512, ge=128, description="Heap of the embedded Kafka, MiB.")
    maven_repository: str = Field(
        default="", description="Base URL of the Maven repository that jars come from; empty: Maven Central."
    )

    # worker
    app_id: str = Field(
        default="everwatch", pattern=r"^[A-Za-z0-9._-]+$", description="Name of the Faust app and its consumer group."
    )
    worker_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="Name of this worker and of its tables' folder; two workers of one data folder need two names.",
    )
    standby_replicas: int = Field(default=1, ge=0, le=5, description="Warm copies of each table partition.")
    sweep_ms: int = Field(
        default=100, ge=100, le=10_000, multiple_of=100, description="How often due ticks are looked for, ms."
    )
    tasks_kept_s: int = Field(
        default=3_600,
        ge=60,
        le=30 * 86_400,
        description="How long a worker keeps delayed tasks that are over, s; the database keeps them for good.",
    )
    plans_file: Path | None = Field(
        default=None, description="TOML file of plans: their monitors, from templates, and their quotas; empty: none."
    )

    # executor
    max_in_flight: int = Field(default=500, ge=1, le=100_000, description="Checks running at once in one executor.")
    target_in_flight: int = Field(
        default=20, ge=0, le=100_000, description="Checks of one executor against one host at once; 0: no limit."
    )
    target_per_s: int = Field(
        default=100, ge=0, le=100_000, description="Checks of one executor against one host in a second; 0: no limit."
    )
    allow_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(), description="Networks that checks may reach although they are private, e.g. 127.0.0.0/8,10.0.0.0/8."
    )
    python_processes: int = Field(
        default=4, ge=1, le=1_000, description="Processes of one executor for callables of the kind python, at most."
    )
    python_memory_mb: int = Field(
        default=512, ge=0, description="Memory that each of these may take, MiB; 0: no limit."
    )

    publish_topics: Annotated[tuple[TopicName, ...], NoDecode] = Field(
        default=(), description="Topics that the kind publish may write to, as Kafka knows them: orders,reminders."
    )

    # metrics
    metrics_port: int = Field(
        default=0, ge=0, le=65_535, description="Port on which a worker serves Prometheus metrics; 0: none."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address that the metrics port is bound to.")

    # logs
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least level logged.")
    log_format: LogFormat = Field(default=LogFormat.TEXT, description="Log lines as text or as JSON.")

    @field_validator("allow_networks", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip())
        return value

    @field_validator("plans_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("publish_topics", mode="before")
    @classmethod
    def _split_topics(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _sasl_needs_a_user(self) -> Self:
        if self.security_protocol.value.startswith("SASL") and not (
            self.sasl_username and self.sasl_password.get_secret_value()
        ):
            raise ValueError(f"security_protocol {self.security_protocol.value} needs sasl_username and sasl_password")
        if self.ssl_certificate_file and not self.ssl_key_file:
            raise ValueError("ssl_certificate_file needs ssl_key_file")
        return self

    @property
    def application(self) -> str:
        """What consumer groups and the changelog are named after: topic prefix and app id."""
        return f"{self.topic_prefix}{self.app_id}"

    @property
    def kafka_folder(self) -> Path:
        """Folder of the embedded Kafka."""
        return self.data_dir / "kafka"

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database or f"sqlite:///{self.data_dir / 'everwatch.db'}"

    @property
    def instance(self) -> str:
        """A name for this process that an operator recognises: host and process id."""
        return f"{socket.gethostname()}-{os.getpid()}"


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, with ``overrides`` (command-line options) on top; ``None`` overrides nothing.

    Raises SettingsError with one line for each wrong setting.
    """
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [_explain(item["loc"], item["msg"]) for item in error.errors(include_url=False, include_input=False)]
        raise SettingsError("; ".join(lines)) from None


def _explain(location: tuple[int | str, ...], message: str) -> str:
    if not location:
        return message.removeprefix("Value error, ")
    return f"setting EVERWATCH_{str(location[0]).upper()}: {message.removeprefix('Value error, ')}"


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that this one starts, with ``variables`` on top."""
    return dict(os.environ) | dict(variables)


def java_environment() -> tuple[str | None, str | None]:
    """``JAVA_HOME`` and ``PATH``, where a Java may be found."""
    return os.environ.get("JAVA_HOME"), os.environ.get("PATH")
