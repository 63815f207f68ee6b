"""Settings: the only module that reads the environment.

Every setting is an environment variable ``EVERWATCH_<NAME>`` (upper case) or a line of a ``.env`` file in the
working folder; command-line options win over both.

All in one file: a setting is one line of one struct, and a reader looks for it here. How text becomes a value is in
``setting_conversion``.
"""

import os
import socket
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Meta

from everwatch.core.bounds import MOST_REGIONS, REGION_OR_NONE, REGION_RULE, RULE, RegionName
from everwatch.core.encryption import keys_of
from everwatch.core.errors import SettingsError
from everwatch.core.output_format import OutputFormat
from everwatch.core.safe_urls import is_safe_url
from everwatch.core.setting_conversion import Network, converted

Address = Annotated[str, Meta(max_length=300, pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$")]
_NAME = {RULE: "Expected letters, digits, '.', '_' and '-' only"}
TopicName = Annotated[str, Meta(max_length=249, pattern=r"^[A-Za-z0-9._-]+$", extra=_NAME)]
Origin = Annotated[str, Meta(max_length=300, pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")]
OidcScope = Annotated[str, Meta(max_length=200, pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+\Z")]
OidcRole = Annotated[str, Meta(max_length=300, pattern=r"^.+=(viewer|operator|admin)\Z")]
_PREFIX = "EVERWATCH_"
_SHORTEST_ADMIN_TOKEN = 32
_SAFE_URL = "Expected an https address without a user or a fragment (http only on this machine)"
_DOTENV = Path(".env")
MOST_DAYS = 36_500
"""For how long something that ages may be kept, other than for good."""


class SecurityProtocol(StrEnum):
    """Security protocol between clients and brokers."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(StrEnum):
    """SASL mechanism of clients."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class LogFormat(StrEnum):
    """Format of log lines: for people or for a log collector."""

    TEXT = "text"
    JSON = "json"


class Secret:
    """A value that is not shown: not by ``repr``, ``str`` or a format, and so in no log line and no traceback."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')" if self._value else "Secret('')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def _user_folder(function: str) -> Path:
    """The folder of this user that ``platformdirs`` names; most processes have their folder set and ask for none."""
    import platformdirs

    folder: Path = getattr(platformdirs, function)("everwatch")
    return folder


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set, with sensible defaults. Frozen: nothing changes a setting at run time.

    Made from the environment by ``load_settings``, which validates; the constructor takes values as they are.
    """

    # where things are
    data_dir: Annotated[
        Path,
        Meta(description="Folder of all local state: the embedded Kafka's data, RocksDB tables, the SQLite database."),
    ] = msgspec.field(default_factory=lambda: _user_folder("user_data_path"))
    cache_dir: Annotated[Path, Meta(description="Folder of what can be fetched again: the embedded Kafka's jars.")] = (
        msgspec.field(default_factory=lambda: _user_folder("user_cache_path"))
    )
    database: Annotated[
        str,
        Meta(
            description="URL of the database, sqlite:////folder/file or postgresql://user:password@host/name;"
            " empty: SQLite at <data_dir>/everwatch.db."
        ),
    ] = ""

    keep_results_days: Annotated[
        int, Meta(ge=0, le=36_500, description="Days for which the database keeps results; 0: for good.")
    ] = 30
    keep_every_result_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36_500,
            description="Days for which the database keeps all results; older ones only if they are changes and"
            " failures, and the first and last of a day. 0: all, for EVERWATCH_KEEP_RESULTS_DAYS.",
        ),
    ] = 0
    keep_results_until_archived: Annotated[
        bool,
        Meta(description="Keep results, however old, until `everwatch db archive` has written them: true or false."),
    ] = False
    keep_transitions_days: Annotated[
        int, Meta(ge=0, le=36_500, description="Days for which the database keeps transitions; 0: for good.")
    ] = 400
    keep_history_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36_500,
            description="Days for which the database keeps when monitors were active and how, after that ended;"
            " 0: for good. Not less than EVERWATCH_KEEP_RESULTS_DAYS.",
        ),
    ] = 400
    keep_tasks_days: Annotated[
        int,
        Meta(ge=0, le=36_500, description="Days for which the database keeps tasks that are over; 0: for good."),
    ] = 400
    keep_dead_letters_days: Annotated[
        int, Meta(ge=0, le=36_500, description="Days for which the database keeps dead letters; 0: for good.")
    ] = 90
    keep_replies_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36_500,
            description="Days for which the database keeps replies to commands, signups and signals; 0: for good.",
        ),
    ] = 30
    keep_audit_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36_500,
            description="Days for which the database keeps the audit log (who changed what over HTTP); 0: for good.",
        ),
    ] = 400
    keep_hourly_rollups_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36_500,
            description="Days for which the database keeps a roll-up of each monitor and hour, which then become one of"
            " the day; 0: for good.",
        ),
    ] = 30
    keep_daily_rollups_days: Annotated[
        int,
        Meta(ge=0, le=36_500, description="Days for which the database keeps roll-ups of days; 0: for good."),
    ] = 800

    # Kafka
    bootstrap_servers: Annotated[
        str, Meta(description="host:port[,host:port…] of Kafka; empty: the embedded one of this data folder.")
    ] = ""
    security_protocol: Annotated[SecurityProtocol, Meta(description="Transport security.")] = SecurityProtocol.PLAINTEXT
    sasl_mechanism: Annotated[SaslMechanism, Meta(description="SASL mechanism.")] = SaslMechanism.PLAIN
    sasl_username: Annotated[str, Meta(description="SASL user name.")] = ""
    sasl_password: Annotated[Secret, Meta(description="SASL password.")] = Secret("")
    ssl_ca_file: Annotated[Path | None, Meta(description="PEM file of the CA that signed the brokers.")] = None
    ssl_certificate_file: Annotated[Path | None, Meta(description="PEM file of the client's certificate.")] = None
    ssl_key_file: Annotated[Path | None, Meta(description="PEM file of the client's private key.")] = None
    ssl_key_password: Annotated[Secret, Meta(description="Password of the private key.")] = Secret("")
    topic_prefix: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9._-]*$", extra=_NAME, description="Put before every topic's name.")
    ] = ""
    partitions: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Partition count of every topic; if not set and topics exist, their count.",
        ),
    ] = 12
    replication_factor: Annotated[int, Meta(ge=1, le=10, description="Replicas of every partition.")] = 1
    results_retention_hours: Annotated[
        int, Meta(ge=1, description="How long results and transitions stay on their topics.")
    ] = 168
    compression: Annotated[
        str,
        Meta(
            pattern="^(none|gzip|snappy|lz4|zstd)$",
            extra={RULE: "Expected one of none, gzip, snappy, lz4, zstd"},
            description="Compression of what is produced.",
        ),
    ] = "lz4"
    output_format: Annotated[OutputFormat, Meta(description="Encoding of results and transitions.")] = OutputFormat.AVRO
    schema_registry_url: Annotated[
        str,
        Meta(
            max_length=2_000,
            pattern=r"^(https?://[^@/]+(/[^@]*)?)?$",
            description="Address of a schema registry that speaks Confluent's API, several comma-separated: inputs and"
            " outputs may be in Confluent wire format; empty: none.",
        ),
    ] = ""
    schema_registry_user: Annotated[str, Meta(description="User name for the schema registry (basic auth).")] = ""
    schema_registry_password: Annotated[Secret, Meta(description="Password for the schema registry.")] = Secret("")
    schema_registry_ca_file: Annotated[
        Path | None, Meta(description="PEM file of the CA that signed the schema registry's certificate.")
    ] = None
    schema_registry_certificate_file: Annotated[
        Path | None, Meta(description="PEM file of the client's certificate for the schema registry.")
    ] = None
    schema_registry_key_file: Annotated[
        Path | None, Meta(description="PEM file of the client's private key for the schema registry.")
    ] = None
    session_timeout_ms: Annotated[
        int, Meta(ge=6_000, le=300_000, description="Consumer-group session timeout; then partitions are reassigned.")
    ] = 8_000

    # embedded Kafka
    kafka_port: Annotated[
        int, Meta(ge=0, le=65_535, description="Port of the embedded Kafka; 0: 9092, or a free one, remembered.")
    ] = 0
    kafka_heap_mb: Annotated[int, Meta(ge=128, description="Heap of the embedded Kafka, MiB.")] = 512
    maven_repository: Annotated[
        str, Meta(description="Base URL of the Maven repository that jars come from; empty: Maven Central.")
    ] = ""

    # worker
    app_id: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9._-]+$", extra=_NAME, description="Name of the Faust app and its consumer group."),
    ] = "everwatch"
    worker_id: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]*$",
            extra=_NAME,
            description="Name of this worker and of its tables' folder; two workers of one data folder need two names.",
        ),
    ] = ""
    standby_replicas: Annotated[int, Meta(ge=0, le=5, description="Warm copies of each table partition.")] = 1
    sweep_ms: Annotated[
        int, Meta(ge=100, le=10_000, multiple_of=100, description="How often due ticks are looked for, ms.")
    ] = 100
    first_check_within_s: Annotated[
        int,
        Meta(
            ge=-1,
            le=3_600,
            description="Seconds within which a new, changed or resumed http, tcp, dns or tls monitor is first checked;"
            " 0: at once, -1: when its schedule says.",
        ),
    ] = 5
    tasks_kept_s: Annotated[
        int,
        Meta(
            ge=60,
            le=30 * 86_400,
            description="How long a worker keeps delayed tasks that are over, s; the database keeps them for longer.",
        ),
    ] = 3_600
    plans_file: Annotated[
        Path | None,
        Meta(
            description="TOML file of plans: their monitors, from templates, their quotas, and for how long the"
            " database keeps what is theirs; empty: none."
        ),
    ] = None

    # regions
    regions: Annotated[
        tuple[RegionName, ...],
        Meta(
            description="Names of the regions that monitors may name, comma-separated: each has topics of ticks and"
            " executors of its own; empty: none. Every process needs the same ones."
        ),
    ] = ()
    region: Annotated[
        str,
        Meta(
            pattern=REGION_OR_NONE,
            extra={RULE: REGION_RULE},
            description="Region of this executor, one of EVERWATCH_REGIONS: it runs the ticks of that region alone;"
            " empty: those of monitors without regions.",
        ),
    ] = ""

    # secrets
    secrets_key: Annotated[
        Secret,
        Meta(
            description="Keys that encrypt secrets in stored configs, comma-separated: the first encrypts, all decrypt;"
            " empty: stored as they are. Workers and executors need the same ones."
        ),
    ] = Secret("")

    # executor
    max_in_flight: Annotated[int, Meta(ge=1, le=100_000, description="Checks running at once in one executor.")] = 500
    target_in_flight: Annotated[
        int, Meta(ge=0, le=100_000, description="Checks of one executor against one host at once; 0: no limit.")
    ] = 20
    target_per_s: Annotated[
        int, Meta(ge=0, le=100_000, description="Checks of one executor against one host in a second; 0: no limit.")
    ] = 100
    allow_networks: Annotated[
        tuple[Network, ...],
        Meta(description="Networks that checks may reach although they are private, e.g. 127.0.0.0/8,10.0.0.0/8."),
    ] = ()
    blocked_addresses: Annotated[
        tuple[Address, ...],
        Meta(
            description="Addresses (host:port) that a network policy keeps from this machine, e.g. 169.254.169.254:80;"
            " `everwatch doctor` tries whether it does."
        ),
    ] = ()
    ca_file: Annotated[
        Path | None,
        Meta(
            description="PEM file of the authorities that checks trust, and the HTTP API for keys and identity"
            " providers; empty: those that OpenSSL knows."
        ),
    ] = None
    proxy: Annotated[
        Secret,
        Meta(description="HTTP proxy for http and webhook, http://[user:password@]host:port; empty: none."),
    ] = Secret("")
    proxy_except: Annotated[
        tuple[Network, ...], Meta(description="Networks that are reached without the proxy, e.g. 10.0.0.0/8.")
    ] = ()
    python_processes: Annotated[
        int, Meta(ge=1, le=1_000, description="Processes of one executor for callables of the kind python, at most.")
    ] = 4
    python_memory_mb: Annotated[
        int, Meta(ge=0, description="Memory that each of these may take, MiB; 0: no limit.")
    ] = 512
    python_output_kb: Annotated[
        int, Meta(ge=0, le=1_048_576, description="How much of what one run of a callable writes is kept, KiB.")
    ] = 64
    python_output_kb_per_min: Annotated[
        int,
        Meta(ge=0, le=1_048_576, description="How much is kept in a minute of what all runs of a callable write, KiB."),
    ] = 1_024

    publish_topics: Annotated[
        tuple[TopicName, ...],
        Meta(description="Topics that the kind publish may write to, as Kafka knows them: orders,reminders."),
    ] = ()

    api_jwks_file: Annotated[
        Path | None,
        Meta(
            description="File of public keys (JWKS) with which the product signs JWTs of its end users, whose 'sub' is"
            " the user's id; empty: no JWT is accepted."
        ),
    ] = None
    api_jwks_url: Annotated[
        str,
        Meta(
            max_length=2_000,
            description="Address of such keys, in place of the file: https, or http on this machine. It is fetched"
            " every five minutes, and for a JWT with an unknown key; empty: none.",
        ),
    ] = ""
    api_jwt_issuer: Annotated[str, Meta(max_length=256, description="The 'iss' of end users' JWTs.")] = ""
    api_jwt_audience: Annotated[str, Meta(max_length=256, description="The 'aud' of end users' JWTs.")] = ""
    api_jwt_role: Annotated[
        Literal["viewer", "operator"],
        Meta(description="Role of end users with a JWT: viewer, or operator, who may also change what is theirs."),
    ] = "viewer"
    api_public_url: Annotated[
        str,
        Meta(
            max_length=300,
            pattern=r"^(https?://[A-Za-z0-9.:\[\]-]+)?\Z",
            description="Where browsers reach the HTTP API, without a path, e.g. https://everwatch.example; login links"
            " begin with it, and an identity provider leads back to it.",
        ),
    ] = ""
    oidc_issuer: Annotated[
        str,
        Meta(
            max_length=2_000,
            description="Identity provider (OpenID Connect) by which people log in to the console, as its discovery"
            " document names itself; empty: none.",
        ),
    ] = ""
    oidc_client_id: Annotated[str, Meta(max_length=500, description="Id of this client at the provider.")] = ""
    oidc_client_secret: Annotated[
        Secret, Meta(description="Secret of this client; empty: it is public and proves itself by PKCE alone.")
    ] = Secret("")
    oidc_scopes: Annotated[
        tuple[OidcScope, ...], Meta(description="Scopes that are asked for; some providers want one for groups.")
    ] = ("openid", "profile", "email")
    oidc_roles_claim: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=300,
            description="Claim with a person's groups, in the ID token or else in the user info; a dot leads into an"
            " object, e.g. realm_access.roles.",
        ),
    ] = "groups"
    oidc_roles: Annotated[
        tuple[OidcRole, ...],
        Meta(
            description="Role of each group, the highest counts: admins=admin,sre=operator,*=viewer, where * is"
            " any group. A person without a role is refused."
        ),
    ] = ()
    oidc_name: Annotated[
        str, Meta(min_length=1, max_length=64, description="What the console's page calls the provider.")
    ] = "single sign-on"
    oidc_session_min: Annotated[
        int,
        Meta(
            ge=5,
            le=10_080,
            description="Minutes for which a session is valid that was begun by the provider; it is not asked in"
            " between.",
        ),
    ] = 720
    status_file: Annotated[
        Path | None,
        Meta(
            description="TOML file of operators' status pages, which the HTTP API serves and the notifier sends news"
            " of; empty: none."
        ),
    ] = None

    # notifier
    notify_file: Annotated[
        Path | None,
        Meta(description="TOML file of notification rules: which alerts go to whom, and how; empty: no alert is sent."),
    ] = None
    notifier_in_flight: Annotated[
        int, Meta(ge=1, le=10_000, description="Messages that one notifier sends at once.")
    ] = 200
    notifier_per_receiver: Annotated[
        int, Meta(ge=1, le=1_000, description="Messages that one notifier sends to one server at once.")
    ] = 10
    keep_deliveries_days: Annotated[
        int,
        Meta(ge=0, le=36_500, description="Days for which the notifier keeps what it sent, and why; 0: for good."),
    ] = 30

    # metrics
    metrics_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65_535,
            description="Port of /metrics, /healthz and /readyz of a process; 0: none.",
        ),
    ] = 0
    metrics_host: Annotated[str, Meta(description="Address that the metrics port is bound to.")] = "127.0.0.1"
    metrics_socket: Annotated[
        Path | None,
        Meta(description="Unix socket that serves the same to processes of this user; empty: none."),
    ] = None

    # HTTP API
    api_url: Annotated[
        str,
        Meta(
            max_length=2_000,
            description="Address of an HTTP API that commands for people go through, in place of Kafka and the"
            " database; empty: none.",
        ),
    ] = ""
    api_token: Annotated[Secret, Meta(description="Token for that API.")] = Secret("")
    api_host: Annotated[
        str,
        Meta(min_length=1, description="Address that the HTTP API listens on; one that others reach needs a token."),
    ] = "127.0.0.1"
    api_port: Annotated[
        int, Meta(ge=0, le=65_535, description="Port of the HTTP API; 0: a free one, which it prints.")
    ] = 8470
    api_admin_token: Annotated[
        Secret,
        Meta(
            description="A token that an administrator may use beside those of 'everwatch api-token', at least 32"
            " characters; empty: none."
        ),
    ] = Secret("")
    api_origins: Annotated[
        tuple[Origin, ...],
        Meta(description="Web origins whose pages may use the HTTP API, e.g. https://app.example; empty: none."),
    ] = ()
    api_trusted_proxies: Annotated[
        tuple[Network, ...],
        Meta(
            description="Networks of the reverse proxies in front of the HTTP API, e.g. 10.0.0.0/8: a client's address"
            " is what their X-Forwarded-For says, and they say by X-Forwarded-Proto whether it was asked by HTTPS."
            " Empty: the address of the connection, and HTTP."
        ),
    ] = ()

    api_requests_per_min: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000_000,
            description="Requests of one token that an API process takes in a minute; 0: no limit. Pings do not count.",
        ),
    ] = 60_000

    # backup
    backup_dir: Annotated[
        Path | None,
        Meta(
            description="Folder that `everwatch backup` without an argument makes backups in, each in a folder of its"
            " own; the API's metrics and `everwatch doctor` show the age of the newest. Empty: none."
        ),
    ] = None

    # what commands print
    timezone: Annotated[
        str,
        Meta(
            description="IANA time zone in which commands print instants, e.g. Europe/Berlin; empty: the one that TZ"
            " names, else UTC."
        ),
    ] = ""

    # logs
    log_level: Annotated[
        str,
        Meta(
            pattern="^(DEBUG|INFO|WARNING|ERROR)$",
            extra={RULE: "Expected one of DEBUG, INFO, WARNING, ERROR"},
            description="Minimum log level.",
        ),
    ] = "INFO"
    log_format: Annotated[LogFormat, Meta(description="Log lines as text or as JSON.")] = LogFormat.TEXT

    def __repr__(self) -> str:
        # the database's URL may hold a password
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "database")
        return f"Settings({', '.join(shown)})"

    @property
    def application(self) -> str:
        """Return what consumer groups and the changelog are named after: topic prefix and app id."""
        return f"{self.topic_prefix}{self.app_id}"

    @property
    def all_regions(self) -> tuple[str, ...]:
        """Regions whose ticks have topics: those of the setting, and the process's own, each once."""
        return tuple(dict.fromkeys((*self.regions, *((self.region,) if self.region else ()))))

    @property
    def kafka_folder(self) -> Path:
        """Folder of the embedded Kafka."""
        return self.data_dir / "kafka"

    @property
    def database_url(self) -> str:
        """URL of the database."""
        return self.database or f"sqlite:///{self.data_dir / 'everwatch.db'}"

    @property
    def system_timezone(self) -> str:
        """Return what ``TZ`` says; empty if it is not set."""
        return os.environ.get("TZ", "")

    @property
    def secrets_keys(self) -> tuple[str, ...]:
        """The keys that encrypt secrets, the first one for new ones; none: secrets are stored as they are."""
        return keys_of(self.secrets_key.get_secret_value())

    @property
    def instance(self) -> str:
        """A name for this process that an operator recognises: host and process id."""
        return f"{socket.gethostname()}-{os.getpid()}"


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, with ``overrides`` (command-line options) on top; ``None`` overrides nothing.

    Raises SettingsError with one line for each wrong setting.
    """
    types = _types()
    given: dict[str, object] = {name: text for name, text in _environment().items() if name in types}
    given |= {name: value for name, value in overrides.items() if value is not None}
    values, wrong = {}, []
    for name, value in given.items():
        try:
            values[name] = converted(types[name], value)
        except ValueError as error:
            wrong.append(f"setting {_PREFIX}{name.upper()}: {error}")
    if not wrong:
        settings = Settings(**values)
        wrong = _contradictions(settings)
    if wrong:
        raise SettingsError("; ".join(wrong))
    return settings


def given_settings() -> frozenset[str]:
    """Names of the settings that the environment or the ``.env`` file gives."""
    return frozenset(_environment()) & frozenset(_types())


def _environment() -> dict[str, str]:
    """Return what the ``.env`` file and, over it, the environment give, by the settings' names."""
    given: dict[str, str | None] = {}
    if _DOTENV.is_file():
        from dotenv import dotenv_values  # only where there is such a file: imports are a command's start

        given |= dotenv_values(_DOTENV)
    given |= os.environ
    found = {name.upper(): value for name, value in given.items() if value is not None}
    return {name.removeprefix(_PREFIX).lower(): value for name, value in found.items() if name.startswith(_PREFIX)}


@cache
def _types() -> dict[str, Any]:
    """The type of each setting, with its bounds."""
    return get_type_hints(Settings, include_extras=True)


def _contradictions(settings: Settings) -> list[str]:
    """Return what two settings together, or keys, get wrong, a line each."""
    wrong = []
    protocol = settings.security_protocol.value
    if protocol.startswith("SASL") and not (settings.sasl_username and settings.sasl_password.get_secret_value()):
        wrong.append(f"security_protocol {protocol} needs sasl_username and sasl_password")
    if settings.ssl_certificate_file and not settings.ssl_key_file:
        wrong.append("ssl_certificate_file needs ssl_key_file")
    if settings.schema_registry_certificate_file and not settings.schema_registry_key_file:
        wrong.append("schema_registry_certificate_file needs schema_registry_key_file")
    if settings.output_format is OutputFormat.CONFLUENT and not settings.schema_registry_url:
        wrong.append("output_format confluent needs schema_registry_url")
    try:
        keys_of(settings.secrets_key.get_secret_value())
    except ValueError as error:
        wrong.append(f"setting {_PREFIX}SECRETS_KEY: {error}")
    wrong += _wrong_logins(settings)
    if 0 < len(settings.api_admin_token.get_secret_value()) < _SHORTEST_ADMIN_TOKEN:
        wrong.append(f"setting {_PREFIX}API_ADMIN_TOKEN: it must have at least {_SHORTEST_ADMIN_TOKEN} characters")
    # an audit would take results for too many whose monitors it knows nothing of
    if settings.keep_history_days and not 0 < settings.keep_results_days <= settings.keep_history_days:
        wrong.append("keep_history_days must not be less than keep_results_days (0: for good)")
    if settings.region and settings.regions and settings.region not in settings.regions:
        wrong.append(
            f"setting {_PREFIX}REGION: {settings.region} is not in {_PREFIX}REGIONS={','.join(settings.regions)}"
        )
    if len(settings.all_regions) > MOST_REGIONS:
        wrong.append(f"setting {_PREFIX}REGIONS: Expected at most {MOST_REGIONS} names")
    return wrong


def _wrong_logins(settings: Settings) -> list[str]:
    """Return what settings about the identity provider and tokens of end users get wrong, a line each."""
    wrong = []
    if settings.oidc_issuer:
        needed = ("oidc_client_id", "oidc_roles", "api_public_url")
        missing = [name for name in needed if not getattr(settings, name)]
        if missing:
            wrong.append(f"oidc_issuer needs {', '.join(missing)}")
        if not is_safe_url(settings.oidc_issuer) or "?" in settings.oidc_issuer:
            wrong.append(f"setting {_PREFIX}OIDC_ISSUER: {_SAFE_URL}")
        if settings.api_public_url and not is_safe_url(settings.api_public_url):
            wrong.append(f"setting {_PREFIX}API_PUBLIC_URL: {_SAFE_URL}")
        if "openid" not in settings.oidc_scopes:
            wrong.append(f"setting {_PREFIX}OIDC_SCOPES: Expected openid among them")
    if settings.api_jwks_url and not is_safe_url(settings.api_jwks_url):
        wrong.append(f"setting {_PREFIX}API_JWKS_URL: {_SAFE_URL}")
    if settings.api_jwks_url and settings.api_jwks_file is not None:
        wrong.append("api_jwks_url and api_jwks_file are two places for the same keys: give one")
    has_keys = settings.api_jwks_url or settings.api_jwks_file is not None
    if has_keys and not (settings.api_jwt_issuer and settings.api_jwt_audience):
        wrong.append(
            "api_jwks_file and api_jwks_url need api_jwt_issuer and api_jwt_audience: a token that the product made"
            f" for somebody else must not be taken here ({_PREFIX}API_JWT_ISSUER, {_PREFIX}API_JWT_AUDIENCE)"
        )
    return wrong


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that this one starts, with ``variables`` on top."""
    return dict(os.environ) | dict(variables)


def environment_of_callables() -> dict[str, str]:
    """The environment for code of other packages: without what gives access to users, Kafka, databases and others.

    Held back: every setting that is a secret, the database's URL (which may hold a password), and variables of
    OpenTelemetry (whose headers hold tokens).
    """
    secrets = {name for name, hint in _types().items() if Secret in (hint, *get_args(hint))}
    held_back = {f"{_PREFIX}{name.upper()}" for name in secrets | {"database"}}
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in held_back and not name.upper().startswith("OTEL_")
    }


class OpenTelemetry(NamedTuple):
    """Settings of OpenTelemetry's standard variables that Everwatch reads; the SDK reads the others."""

    metrics: bool
    traces: bool
    metrics_every_s: float


def open_telemetry() -> OpenTelemetry:
    """Return the signals to export: none unless an endpoint is named. Raises SettingsError."""
    given = {name: value.strip() for name, value in os.environ.items() if name.startswith("OTEL_")}
    is_off = given.get("OTEL_SDK_DISABLED", "").lower() == "true"

    def wants(signal: str) -> bool:
        def given_for(name: str) -> str:
            return given.get(f"OTEL_EXPORTER_OTLP_{signal}_{name}") or given.get(f"OTEL_EXPORTER_OTLP_{name}", "")

        is_wanted = not is_off and given_for("ENDPOINT") and given.get(f"OTEL_{signal}_EXPORTER", "") in ("", "otlp")
        if is_wanted and given_for("PROTOCOL") not in ("", "http/protobuf"):
            raise SettingsError("setting OTEL_EXPORTER_OTLP_PROTOCOL: Expected http/protobuf, which alone is spoken")
        return bool(is_wanted)

    every_ms = given.get("OTEL_METRIC_EXPORT_INTERVAL") or "60000"
    if not every_ms.isdecimal() or int(every_ms) == 0:
        raise SettingsError("setting OTEL_METRIC_EXPORT_INTERVAL: Expected a number of milliseconds, 1 or more")
    return OpenTelemetry(wants("METRICS"), wants("TRACES"), int(every_ms) / 1000)


def java_environment() -> tuple[str | None, str | None]:
    """``JAVA_HOME`` and ``PATH``, where a Java may be found."""
    return os.environ.get("JAVA_HOME"), os.environ.get("PATH")
