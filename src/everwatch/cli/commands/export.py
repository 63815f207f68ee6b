"""``everwatch export``: users and monitors out of the database, as rows that ``everwatch import`` takes."""

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple, cast

import orjson
import typer

from everwatch.api.export_views import ExportQuery
from everwatch.cli.support.database_reading import database, no_user
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import DataDir, ShowSecrets, settings_of
from everwatch.cli.support.terminal_output import bytes_out
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.kinds.execution.config_secrets import config_secrets
from everwatch.transfer.exported_rows import Exported, export_rows, write_rows
from everwatch.transfer.row_files import Format, format_of


class ExportChoice(NamedTuple):
    """Options that choose the exported rows."""

    user: Annotated[str, typer.Option("--user", help="Only this user.")] = ""
    users_only: Annotated[
        bool, typer.Option("--users-only", help="Signups alone, no monitors that were put by command.")
    ] = False
    everything: Annotated[
        bool, typer.Option("--all", help="Include monitors put by command that are over (delayed tasks that have run).")
    ] = False


@with_options(chosen=ExportChoice)
def export(
    form: Annotated[
        Format | None,
        typer.Option("--format", help="csv or jsonl; default: by the output's name, else jsonl."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write, .gz for gzip; default: stdout.", show_default=False),
    ] = None,
    *,
    chosen: ExportChoice,
    secrets: ShowSecrets = False,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable summary, on stderr.")] = False,
) -> None:
    """Export users and monitors as rows: each user as a signup, each monitor put by command in a row of its own.

    Importing them where they came from changes nothing. Secrets in configs are redacted, and rows with a redacted
    secret cannot be imported; --secrets writes them: keep such a file where only you can read it. That a monitor is
    paused is not exported.

    Examples: `everwatch export --secrets > everwatch.jsonl` · `everwatch export --output users.csv.gz --users-only` ·
    `everwatch export --user u-1`
    """
    form = form or (format_of(str(output)) if output else None) or Format.JSONL
    told, (user, users_only, everything) = Exported(), chosen
    settings = settings_of(data_dir)
    with _opened(output) as stream:
        if settings.api_url:
            query = ExportQuery(user=user, users_only=users_only, everything=everything)
            write_rows(_rows_by_api(settings, query, told, secrets=secrets), form, stream)
        else:
            with database(settings) as reader:
                keys = config_secrets(settings) if secrets else None
                rows = export_rows(reader.catalogue(user), told, keys, users_only=users_only, everything=everything)
                write_rows(rows, form, stream)
        if user and not told.users:
            raise no_user(user)
    if as_json:
        said = {"users": told.users, "monitors": told.monitors, "paused": told.paused, "redacted": told.redacted}
        typer.echo(orjson.dumps(said).decode(), err=True)
    elif output is not None:
        typer.echo(f"{told.users} users and {told.monitors} monitors put by command are in {output}", err=True)
    if told.paused and not as_json:
        typer.echo(f"{told.paused} monitors are paused, which an export does not contain", err=True)
    if told.redacted and not as_json:
        typer.echo(f"{told.redacted} configs have secrets, which are redacted: --secrets writes them", err=True)


def _rows_by_api(settings: Settings, query: ExportQuery, told: Exported, *, secrets: bool) -> Iterator[dict[str, Any]]:
    """Rows from the API, counted in ``told``. Raises ApiError, SettingsError for a token that may not see secrets."""
    from everwatch.cli.support.api_connection import api_client
    from everwatch.cli.support.api_reading import ApiReader

    with api_client(settings) as client:
        is_shown = ApiReader(client).shows_secrets()
        if secrets and not is_shown:
            raise SettingsError("The token may not see secrets: make one with 'everwatch api-token create --secrets'.")
        if is_shown and not secrets:
            raise SettingsError("The token shows secrets: say --secrets, or take a token without them.")
        for page in client.export(query):
            told.paused += page.paused
            told.redacted += page.redacted
            for row in page.rows:
                is_monitor = "monitor" in row
                told.users += not is_monitor
                told.monitors += is_monitor
                yield row


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """The stream to write to. A file appears once it is complete, readable by its owner alone."""
    if output is None:
        out = bytes_out()
        yield out
        out.flush()
        return
    partial = output.with_name(f"{output.name}.partial")
    try:
        with ExitStack() as stack:
            partial.unlink(missing_ok=True)
            partial.touch(mode=0o600)
            stream: BinaryIO = stack.enter_context(partial.open("wb"))
            if output.suffix == ".gz":
                stream = cast(BinaryIO, stack.enter_context(gzip.GzipFile(output.name, "wb", 6, stream)))
            yield stream
        partial.replace(output)
    except OSError as error:
        raise EverwatchError(f"The file {output} cannot be written: {error.strerror}.") from None
    finally:
        partial.unlink(missing_ok=True)
