"""Options that several commands share, and how they become settings."""

from pathlib import Path
from typing import Annotated

import typer

from everwatch.config import Settings, load_settings
from everwatch.kafka.embedded import remembered_address
from everwatch.logs import set_up_logs

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
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

DEFAULT_ADDRESS = "127.0.0.1:9092"


def settings_of(data_dir: Path | None = None, bootstrap_servers: str | None = None, **more: object) -> Settings:
    """Settings from the environment and these options, with logs set up. Raises SettingsError."""
    settings = load_settings(data_dir=data_dir, bootstrap_servers=bootstrap_servers, **more)
    set_up_logs(settings)
    return settings


def broker_of(settings: Settings) -> str:
    """The Kafka to talk to: as configured, else where the embedded one of this data folder was started last."""
    return settings.bootstrap_servers or remembered_address(settings.kafka_folder) or DEFAULT_ADDRESS
