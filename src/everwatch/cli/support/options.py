"""Options that several commands share, and what they say: settings, a broker, JSON, durations, instants, pairs."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import orjson
import typer

from everwatch.cli.support import global_options
from everwatch.cli.support.api_refusals import command_not_by_api, not_by_api
from everwatch.cli.support.global_options import CommandReach
from everwatch.cli.support.run_parts import run_clients
from everwatch.cli.support.time_display import print_in_zone_of
from everwatch.core.clock import SystemClock
from everwatch.core.config import SecurityProtocol, Settings, given_settings, load_settings
from everwatch.core.errors import SettingsError
from everwatch.core.output_format import OutputFormat
from everwatch.core.private_files import make_private_data_folder
from everwatch.kafka.embedded import remembered_address
from everwatch.kafka.process_rights import ProcessRole, needed_to_start
from everwatch.observability.logs import set_up_logs
from everwatch.schedule.duration import parse_duration_ms
from everwatch.schedule.instant import Bare, parse_moment_ms

if TYPE_CHECKING:
    from everwatch.kafka.admin_client import Admin
    from everwatch.kafka.clients import Clients
    from everwatch.plans.plan import Plans

_USER = typer.Argument(metavar="USER", help="The user's id.", show_default=False)
UserArgument = Annotated[str, _USER]
OptionalUser = Annotated[str | None, _USER]
MonitorArgument = Annotated[str, typer.Argument(metavar="MONITOR", help="The monitor's id.", show_default=False)]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of all local state. [env: EVERWATCH_DATA_DIR]", show_default=False),
]
Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        help="Kafka to use instead of the embedded one of this data folder. [env: EVERWATCH_BOOTSTRAP_SERVERS]",
        show_default=False,
    ),
]
ShowSecrets = Annotated[
    bool, typer.Option("--secrets", help="Show secrets in configs, which are redacted otherwise; takes the keys.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Config = Annotated[
    str | None, typer.Option("--config", help="The kind's config, JSON or @FILE.", metavar="JSON", show_default=False)
]
Payload = Annotated[
    str | None,
    typer.Option("--payload", help="Payload of each run, JSON or @FILE.", metavar="JSON", show_default=False),
]
PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", help="Timeout, retries, …, JSON or @FILE.", metavar="JSON", show_default=False),
]

NameOption = Annotated[str | None, typer.Option("--name", help="Display name.", show_default=False)]
LabelsOption = Annotated[
    list[str] | None, typer.Option("--label", help="KEY=VALUE, to find it by; repeatable.", show_default=False)
]

log = logging.getLogger(__name__)


class CommonOptions(NamedTuple):
    """Options of a command that reads or writes Kafka: which one, and how the output is written."""

    data_dir: DataDir = None
    bootstrap_servers: Bootstrap = None
    as_json: AsJson = False


class LocalOptions(NamedTuple):
    """Options of a command that takes the database: which one, and how the output is written."""

    data_dir: DataDir = None
    as_json: AsJson = False


class DocumentOptions(NamedTuple):
    """Options of a monitor that are JSON documents."""

    config: Config = None
    payload: Payload = None
    policy: PolicyOption = None


class MonitorArguments(NamedTuple):
    """The arguments that name a monitor."""

    user: UserArgument
    monitor: MonitorArgument


class NamingOptions(NamedTuple):
    """Options by which people name a monitor and find it."""

    name: NameOption = None
    label: LabelsOption = None


DEFAULT_ADDRESS = "127.0.0.1:9092"
STARTING_WITHIN_S = 30.0
"""For so long a process that starts waits for an answer of a broker, which may be starting itself."""


def settings_of(data_dir: Path | None = None, bootstrap_servers: str | None = None, **more: object) -> Settings:
    """Settings from the environment and these options, with logs set up. Raises SettingsError."""
    settings = load_settings(
        data_dir=data_dir,
        bootstrap_servers=bootstrap_servers,
        timezone=global_options.TIMEZONE.get(),
        api_token=global_options.TOKEN.get(),
        **_way_in(bootstrap_servers),
        **more,
    )
    name, reach = global_options.COMMAND.get()
    if settings.api_url and reach is CommandReach.DIRECT:
        raise command_not_by_api(name)
    set_up_logs(settings, name)
    print_in_zone_of(settings)
    if settings.schema_registry_url:
        from everwatch.kafka.schema_registry import use_registry  # importing fastavro takes a while

        use_registry(settings, SystemClock())
    return settings


def _way_in(bootstrap_servers: str | None) -> dict[str, str | None]:
    """The setting of the API's address that the options mean, over that of the environment. Raises SettingsError."""
    api = global_options.API.get()
    name, reach = global_options.COMMAND.get()
    if reach is CommandReach.LOCAL:
        if api is not None:
            raise SettingsError(f"'everwatch {name}' works on what is here, not through an API: omit --api.")
        return {"api_url": ""}
    if bootstrap_servers is None:
        return {"api_url": api}
    if api is not None:
        raise SettingsError("Give --api or --bootstrap-servers, not both: one command goes one way.")
    # what stands on the command line wins over the environment
    return {"api_url": ""}


def prepare_data_folder(settings: Settings) -> None:
    """Make the data folder, or close one that is there to other users; warns of one that stays open to them.

    Raises SettingsError where it cannot be used.
    """
    try:
        warning = make_private_data_folder(settings.data_dir)
    except OSError as error:
        raise SettingsError(f"The data folder {settings.data_dir} cannot be used: {error.strerror}.") from None
    if warning:
        log.warning("%s", warning)


def broker_of(settings: Settings) -> str:
    """The Kafka to talk to: as configured, else where the embedded one of this data folder was started last.

    Raises SettingsError where everything goes through the API.
    """
    if settings.api_url:
        raise not_by_api("This")
    return settings.bootstrap_servers or remembered_address(settings.kafka_folder) or DEFAULT_ADDRESS


def clients_of(settings: Settings) -> "Clients":
    """Return the clients of the Kafka to talk to. Imports them: a command through the API needs none."""
    if (clients := run_clients(settings)) is not None:
        return clients
    from everwatch.kafka.clients import KafkaClients

    return KafkaClients(settings, broker_of(settings))


def fitted(settings: Settings, admin: "Admin", *, timeout_s: float = 10) -> Settings:
    """Return the settings with the topics' partition count where none is set; it logs a line if that is another one.

    Everything that counts partitions begins with this: the default changes with versions, the topics stay.
    Raises BrokerUnavailable.
    """
    if is_count_given():
        return settings
    from everwatch.kafka.topic_administration import with_count_of_topics

    found = with_count_of_topics(admin, settings, timeout_s=timeout_s)
    _say_count(settings, found, "the topics have")
    return found


def fitted_to_backup(settings: Settings, partitions: int) -> Settings:
    """Return the settings with the partition count of a backup where none is set; it logs a line as ``fitted``."""
    if is_count_given():
        return settings
    found = msgspec.structs.replace(settings, partitions=partitions)
    _say_count(settings, found, "the backup has")
    return found


def is_count_given() -> bool:
    """Tell whether the environment or the ``.env`` file sets the partition count."""
    return "partitions" in given_settings()


def _say_count(settings: Settings, found: Settings, origin: str) -> None:
    if found.partitions != settings.partitions:
        log.info(
            "EVERWATCH_PARTITIONS is not set (default: %d), and %s %d partitions: going on with %d",
            settings.partitions,
            origin,
            found.partitions,
            found.partitions,
        )


def ready_broker(settings: Settings, process: ProcessRole | None = None) -> tuple[Settings, str]:
    """Return the settings, ``fitted``, and the Kafka to talk to, once topics are made and ``process`` has its rights.

    Raises BrokerUnavailable, TopicMismatch, AccessError.
    """
    from everwatch.kafka.permission_check import expect_rights
    from everwatch.kafka.topic_administration import ensure_topics

    bootstrap = broker_of(settings)
    admin = clients_of(settings).admin()
    settings = fitted(settings, admin, timeout_s=STARTING_WITHIN_S)
    ensure_topics(admin, settings)
    if process is not None and settings.output_format is OutputFormat.CONFLUENT:
        from everwatch.kafka.schema_registry import write_by_registry

        write_by_registry(settings)
    if process is not None and settings.security_protocol is not SecurityProtocol.PLAINTEXT:
        expect_rights(admin, needed_to_start(process, settings))
    return settings, bootstrap


def plans_of(settings: Settings) -> "Plans | None":
    """The plans of the file that the settings name, as a worker with them has them; None without one.

    Raises SettingsError if the file is wrong.
    """
    if settings.plans_file is None:
        return None
    from everwatch.plans.plans_file import read_plans

    return read_plans(settings.plans_file)[0]


def text_or_file(text: str) -> str | bytes:
    """Return the text of an option, or the content of the file if it is @FILE. Raises OSError."""
    return Path(text[1:]).read_bytes() if text.startswith("@") else text


def json_of(option: str, text: str | None) -> dict[str, Any]:
    """Parse an option that takes JSON, or @FILE, as a field of its name; empty if it is not given.

    Raises SettingsError.
    """
    if text is None:
        return {}
    try:
        return {option.removeprefix("--"): orjson.loads(text_or_file(text))}
    except OSError as error:
        raise SettingsError(f"The file {text[1:]} of {option} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise SettingsError(f"{option} is not valid JSON: {error}.") from None


def documents_of(options: DocumentOptions) -> dict[str, Any]:
    """Parse the documents that are given, by their fields of a monitor. Raises SettingsError."""
    return (
        json_of("--config", options.config)
        | json_of("--payload", options.payload)
        | json_of("--policy", options.policy)
    )


def duration_of(option: str, text: str) -> int:
    """Milliseconds of a duration that an option gives. Raises SettingsError."""
    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}.") from None


def instant_of(option: str, text: str, now: int, bare: Bare) -> int:
    """Milliseconds since the epoch of an instant that an option gives; ``bare``: what "1h" means for it.

    Raises SettingsError.
    """
    try:
        return parse_moment_ms(text, now, bare)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}.") from None


def pairs_of(option: str, shape: str, items: Iterable[str], *, empty: bool = False) -> dict[str, str]:
    """Parse a repeatable option of this shape, such as NAME=VALUE; ``empty``: nothing may follow the =.

    Raises SettingsError.
    """
    pairs = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not (name and equals and (value or empty)):
            raise SettingsError(f"{option} wants {shape}, not {item!r}.")
        pairs[name] = value
    return pairs
