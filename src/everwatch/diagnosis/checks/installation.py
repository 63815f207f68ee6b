"""Checks of the installation here: settings and schemas."""

from collections.abc import Iterator

from everwatch import __version__
from everwatch.diagnosis.finding import Finding, well
from everwatch.diagnosis.system import System
from everwatch.encoding import avro_schemas


def check_settings(system: System) -> Iterator[Finding]:
    """Say which version runs on which data; wrong settings are refused before."""
    yield well("settings", f"everwatch {__version__}, data in {system.settings.data_dir}")


def check_schemas(_: System) -> Iterator[Finding]:
    """Load every schema."""
    yield well("schemas", f"{len([avro_schemas.load(name) for name in avro_schemas.NAMES])} schemas load")
