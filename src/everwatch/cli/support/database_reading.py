"""Readers of the database for commands, and how rows are printed."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from everwatch.cli.support.api_refusals import not_by_api
from everwatch.cli.support.run_parts import run_parts
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError

if TYPE_CHECKING:
    from everwatch.cli.support.api_reading import ApiReader
    from everwatch.store import SqlReader

AfterOption = Annotated[
    str,
    typer.Option(
        "--after",
        metavar="CURSOR",
        help="Continue after a page: the cursor in its last line, with the same filters.",
    ),
]


@contextmanager
def reading(settings: Settings) -> Iterator["SqlReader | ApiReader"]:
    """A reader of the database, or of the API if the settings name one.

    Raises StoreError, ApiError.
    """
    if settings.api_url:
        from everwatch.cli.support.api_reading import api_reader

        with api_reader(settings) as by_api:
            yield by_api
        return
    with database(settings) as reader:
        yield reader


@contextmanager
def database(settings: Settings) -> Iterator["SqlReader"]:
    """The database itself, as far as the sink has come. Raises StoreError, SettingsError where there is only an API."""
    if settings.api_url:
        raise not_by_api("This")
    if (opened := run_parts().open_reader) is not None:
        yield opened(settings)
        return
    from everwatch.store import open_reader  # SQLAlchemy takes a while to import

    with closing(open_reader(settings)) as reader:
        yield reader


def has_database(settings: Settings) -> bool:
    """Tell whether there is a database: one on a server that the settings name, or a file that a sink has made.

    Raises StoreError for a URL that is none.
    """
    if run_parts().open_reader is not None:
        return True
    from everwatch.store import sqlite
    from everwatch.store.database import parse_url

    url = parse_url(settings.database_url)
    return url.get_backend_name() != "sqlite" or sqlite.file_of(url).exists()


def say_next(cursor: str) -> None:
    """Say on stderr how to go on, if there is more."""
    if cursor:
        typer.echo(f"there are more: --after {cursor}", err=True)


def no_user(user_id: str) -> EverwatchError:
    """Return the error for a user that is not in the database."""
    return EverwatchError(f"The database holds no user {user_id!r} (a moment ago, or not yet).")


def print_columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, column below column."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
