"""``everwatch db``: what the database holds, and what is deleted next."""

import orjson
import typer
from msgspec import to_builtins
from rich.console import Console
from rich.table import Table

from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, settings_of
from everwatch.cli.support.time_display import time_text
from everwatch.schedule.duration import describe_duration
from everwatch.store.database import shown_url
from everwatch.store.database_status import DatabaseStatus, TableStatus, status_of

app = typer.Typer(no_args_is_help=True, help="Show what the database holds, and what is deleted next.")


@app.callback()
def _db() -> None:
    """Show what the database holds, and what is deleted next."""


@app.command()
def status(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show size, rows and oldest row of each table, for how long rows are kept, and what is deleted next.

    How long is what the settings say here (EVERWATCH_KEEP_…): give this command those of the sink. On PostgreSQL rows
    are the server's estimates; on SQLite they are counted, which takes longer the more there are.

    Examples: `everwatch db status` · `everwatch db status --json | jq .size`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    found = status_of(settings)
    if as_json:
        typer.echo(orjson.dumps(to_builtins(found)).decode())
        return
    table = Table("table", "rows", "size", "oldest", "kept", "deleted next")
    for column in table.columns[1:3]:
        column.justify = "right"
    for each in found.tables:
        table.add_row(each.table, f"{each.rows:,}", _size(each.size), _time(each.oldest), _kept(each), _next(each))
    Console().print(table)
    typer.echo(f"{shown_url(settings.database_url)}: {_whole(found)}")


def _whole(found: DatabaseStatus) -> str:
    said = f"{_size(found.size)} on disk"
    if found.free is not None:
        return f"{said}, of which {_size(found.free)} are used again before the file grows"
    return f"{said}, results of {found.days:,} days; rows are estimates"


def _kept(each: TableStatus) -> str:
    return describe_duration(each.kept) if each.kept else "for good"


def _next(each: TableStatus) -> str:
    return f"{_time(each.next)} {each.next_what}" if each.next is not None else "-"


def _time(instant: int | None) -> str:
    return "-" if instant is None else time_text(instant)


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
