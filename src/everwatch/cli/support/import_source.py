"""Sources of an import: the options that name one, and the source that they mean."""

import os
import sys
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, NamedTuple

import orjson
import typer

from everwatch.cli.support.options import json_of, pairs_of, text_or_file
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.transfer import healthchecks, uptime_kuma
from everwatch.transfer.foreign_source import ForeignSource
from everwatch.transfer.import_pass import RowSource
from everwatch.transfer.import_rows import RowReading
from everwatch.transfer.query_source import QuerySource
from everwatch.transfer.row_files import STDIN, FileSource, Format, format_of


class ImportFormat(StrEnum):
    """Format of a file: rows, or an export of another product."""

    CSV = Format.CSV
    JSONL = Format.JSONL
    UPTIME_KUMA = "uptime-kuma"
    HEALTHCHECKS = "healthchecks"


FOREIGN = {ImportFormat.UPTIME_KUMA: uptime_kuma.monitors_of, ImportFormat.HEALTHCHECKS: healthchecks.monitors_of}

File = Annotated[
    str | None, typer.Argument(metavar="FILE", help="CSV or JSON lines, also .gz; - is stdin.", show_default=False)
]
Sql = Annotated[str | None, typer.Option("--sql", help="A select, instead of FILE.", show_default=False)]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="URL", help="SQLAlchemy URL for --sql, or @FILE that holds it.", show_default=False),
]
Form = Annotated[
    ImportFormat | None,
    typer.Option("--format", help="Format of FILE; default: csv or jsonl, by its name."),
]
OfUser = Annotated[
    str,
    typer.Option("--user", help="User that the monitors of another product's export belong to.", show_default=False),
]
Renamed = Annotated[
    list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="Field that a column holds; repeatable.")
]
Ignored = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="Leave a column out; repeatable.")
]
DefaultPlan = Annotated[str, typer.Option("--plan", help="Plan of users whose row names none.", show_default=False)]
DefaultMonitors = Annotated[
    str | None,
    typer.Option("--monitors", metavar="JSON", help="Monitors of users whose row names none, JSON list or @FILE."),
]
CsvEncoding = Annotated[str, typer.Option("--encoding", help="Encoding of a CSV file.")]
CsvDelimiter = Annotated[str, typer.Option("--delimiter", help="Delimiter of a CSV file.")]


class SourceOptions(NamedTuple):
    """Options that name a source and say how its rows are read."""

    file: File = None
    sql: Sql = None
    from_: From = None
    form: Form = None
    user: OfUser = ""
    renamed: Renamed = None
    ignored: Ignored = None
    plan: DefaultPlan = ""
    monitors: DefaultMonitors = None
    encoding: CsvEncoding = "utf-8"
    delimiter: CsvDelimiter = ","


def source_of(options: SourceOptions, settings: Settings) -> tuple[RowSource, str]:
    """Return the source and the name of its state. Raises SettingsError for options that do not go together."""
    if len(options.delimiter) != 1:
        raise SettingsError(f"--delimiter wants one character, not {options.delimiter!r}.")
    defaults = json_of("--monitors", options.monitors)
    reading = RowReading(
        pairs_of("--map", "COLUMN=FIELD", options.renamed or []),
        frozenset(options.ignored or []),
        options.plan,
        orjson.dumps(defaults["monitors"]) if defaults else b"",
    )
    if options.sql is not None and options.from_ is not None and options.file is None:
        query = QuerySource(_url(options.from_), options.sql, reading)
        return query, _name_of("sql", query.identity, settings)
    if options.file is not None and options.sql is None and options.from_ is None:
        return _file_source(options, options.file, reading), _name_of_file(options.file, settings)
    raise SettingsError("Give either FILE, or --sql with --from (see 'everwatch import --help').")


def _file_source(options: SourceOptions, file: str, reading: RowReading) -> RowSource:
    convert = FOREIGN.get(options.form) if options.form else None
    rows = None if convert else Format(options.form) if options.form else format_of(file)
    if convert is None and rows is None:
        raise SettingsError(f"What {file} holds does not show in its name: say --format csv or --format jsonl.")
    stdin = sys.stdin.buffer if file == STDIN else None
    opened = FileSource(file, rows, reading, options.encoding, options.delimiter, stdin)
    if bool(options.user) != (convert is not None):
        raise SettingsError("--user USER says whose monitors an export of another product are, and goes with one.")
    if convert is None:
        return opened
    if options.monitors is not None or options.renamed or options.ignored:
        raise SettingsError("--map, --ignore and --monitors are for rows, and this is an export: omit them.")
    return ForeignSource(opened, convert, options.user, options.plan)


def _name_of_file(file: str, settings: Settings) -> str:
    if file == STDIN:
        return _name_of("stdin", STDIN, settings)
    return _name_of(Path(file).name.partition(".")[0], os.path.realpath(file), settings)


def _url(text: str) -> str:
    try:
        said = text_or_file(text)
        return said if isinstance(said, str) else said.decode().strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"The file {text[1:]} of --from cannot be read.") from None


def _name_of(stem: str, identity: str, settings: Settings) -> str:
    """A name for the state of a source: the same each time, another one for other topics or another Kafka.

    The data folder that the state is in stands for the embedded Kafka; the order of servers does not matter.
    """
    servers = ",".join(sorted(server.strip() for server in settings.bootstrap_servers.split(",")))
    told = f"{settings.topic_prefix}\0{servers}\0{identity}".encode()
    return f"{stem}-{blake2b(told, digest_size=6).hexdigest()}"
