"""Rows from an SQL query, streamed: the columns are those of a CSV file, typed values stay what they are."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from everwatch.core.errors import SettingsError
from everwatch.transfer.import_rows import Columns, Row, RowReading

_AT_ONCE = 5_000
# SQLAlchemy takes :name for a parameter, and there are none
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w)")
_HINT = "write it like postgresql+psycopg://user:password@host/database or sqlite:////folder/app.db"


class QuerySource:
    """A query of a database, as rows."""

    size = 0
    position = 0

    def __init__(self, url: str, sql: str, reading: RowReading) -> None:
        """Raise SettingsError if that is no database URL, or one whose driver is not installed."""
        self._url = _parsed(url)
        self._sql = sql
        self._reading = reading
        with self._clear_errors():
            # no connection stays open from one pass to the next
            self._engine = create_engine(self._url, poolclass=NullPool)

    @property
    def name(self) -> str:
        """Return what the source is called in messages: the database, without user and password."""
        return self._url.database or self._url.host or self._url.drivername

    @property
    def identity(self) -> str:
        """Return the identity of this source; no password is in it."""
        return f"{self._url.render_as_string()} {self._sql}"

    def rows(self) -> Iterator[Row]:
        """Every row, in order, never all of them in memory. Raises SettingsError if the database does not give them."""
        if self._url.get_backend_name() == "sqlite" and not Path(self._url.database or "").is_file():
            # opening it would make it
            raise SettingsError(f"There is no database {self._url.database}.")
        with self._clear_errors(), self._engine.connect() as connection:
            statement = text(_PARAMETER.sub(r"\:", self._sql))
            streaming = connection.execution_options(stream_results=True, yield_per=_AT_ONCE)
            with streaming.execute(statement) as found:
                if not found.returns_rows:
                    raise SettingsError("What --sql says gives no rows: write a select.")
                columns = Columns(list(found.keys()), self._reading, "the query")
                for number, cells in enumerate(found, 1):
                    yield columns.row(number, cells)

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except NoSuchModuleError:
            raise SettingsError(f"There is no database {self._url.drivername!r}: {_HINT}.") from None
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"The driver of {self._url.drivername} is not installed: install the package {error.name}."
            ) from None
        except SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            password = self._url.password
            if password:
                reason = reason.replace(str(password), "***")
            raise SettingsError(f"The database {self.name} does not give the rows: {reason}.") from None


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        # the text may hold a password
        raise SettingsError(f"What --from says is not a database URL: {_HINT}.") from None
