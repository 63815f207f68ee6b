"""Storage of the notifier: transactions over its tables, in PostgreSQL or SQLite.

In PostgreSQL the tables lie in the sink's database. SQLite takes one writer at a time, and the sink writes all the
time; so there the notifier has a file of its own beside the sink's: neither waits for the other, and what must not be
lost in a power cut (an attempt that was made) is synced without slowing results down.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.engine import URL

from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.notifier.ack_rows import AckRows, AckStatements
from everwatch.notifier.comment_rows import CommentRows, CommentStatements
from everwatch.notifier.contact_rows import ContactRows, ContactStatements
from everwatch.notifier.delivery_rows import DeliveryRows, DeliveryStatements
from everwatch.notifier.group_rows import GroupRows, GroupStatements
from everwatch.notifier.intake_rows import IntakeRows, IntakeStatements
from everwatch.notifier.outcome_rows import OutcomeRows, OutcomeStatements
from everwatch.notifier.route_rows import RouteRows, RouteStatements
from everwatch.notifier.shared_rows import SharedRows, SharedStatements
from everwatch.notifier.silence_rows import SilenceRows, SilenceStatements
from everwatch.notifier.standing_rows import StandingRows
from everwatch.notifier.subscriber_rows import SubscriberRows, SubscriberStatements
from everwatch.notifier.text_count_rows import TextCountRows, TextCountStatements
from everwatch.store.database import Schema, clear_errors, open_for_reading, open_for_writing, parse_url
from everwatch.store.partition import Partition
from everwatch.store.sqlite import READS_ONLY, file_of

SCHEMA = Schema(Path(__file__).parent / "migrations", "notifier_version", "notifier")
SQLITE_CACHE_KIB = 32_768
"""Of pages: what is under way fits, and a burst adds no more than this to the memory of the notifier."""


class Statements:
    """Statements that are run with many rows, compiled once for a kind of database."""

    def __init__(self, dialect: Dialect) -> None:
        self.intake = IntakeStatements(dialect)
        self.groups = GroupStatements(dialect)
        self.deliveries = DeliveryStatements(dialect)
        self.outcomes = OutcomeStatements(dialect)
        self.shared = SharedStatements(dialect)
        self.acks = AckStatements(dialect)
        self.comments = CommentStatements(dialect)
        self.contacts = ContactStatements(dialect)
        self.silences = SilenceStatements(dialect)
        self.subscribers = SubscriberStatements(dialect)
        self.routes = RouteStatements(dialect)
        self.text_counts = TextCountStatements(dialect)


class Work(
    IntakeRows,
    GroupRows,
    DeliveryRows,
    OutcomeRows,
    SharedRows,
    AckRows,
    CommentRows,
    ContactRows,
    SilenceRows,
    SubscriberRows,
    RouteRows,
    StandingRows,
    TextCountRows,
):
    """One transaction."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection = connection
        self._intake, self._groups, self._deliveries = statements.intake, statements.groups, statements.deliveries
        self._shared, self._acks, self._contacts = statements.shared, statements.acks, statements.contacts
        self._silences, self._subscribers = statements.silences, statements.subscribers
        self._comments, self._routes = statements.comments, statements.routes
        self._outcomes, self._text_counts = statements.outcomes, statements.text_counts


def database_url_of(settings: Settings) -> str:
    """Return the URL of the notifier's database: the sink's, or a file beside it for SQLite. Raises StoreError."""
    url = parse_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        file = file_of(url)
        url = url.set(database=str(file.with_name(f"{file.stem}-notifier{file.suffix}")))
    return url.render_as_string(hide_password=False)


def open_storage(settings: Settings) -> "Storage":
    """The storage as the notifier, and a command that asks it for something, write it. Raises StoreError."""
    url = _named(parse_url(database_url_of(settings)))
    engine = open_for_writing(url.render_as_string(hide_password=False), SCHEMA)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _record: object) -> None:
            # after a power cut an attempt that was made must still be known: some receivers know no repetition
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")

        engine.dispose()
    return Storage(engine)


def open_existing(settings: Settings) -> "Storage":
    """The storage as commands read it. Raises StoreError while no notifier has made it."""
    url = parse_url(database_url_of(settings))
    if url.get_backend_name() == "sqlite" and not file_of(url).exists():
        raise StoreError(f"There is no database of the notifier at {file_of(url)} yet: it is made when one starts.")
    return Storage(open_for_reading(url.render_as_string(hide_password=False), SCHEMA))


class Storage:
    """Opens transactions, each a ``new_work``. Safe to use from one thread at a time."""

    new_work = Work

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._statements = Statements(engine.dialect)

    @contextmanager
    def begin(self) -> Iterator["Work"]:
        """A transaction that writes; committed at the end of the block. Raises Unstorable, StoreBusy or StoreError."""
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            yield self.new_work(connection, self._statements)

    @contextmanager
    def look(self) -> Iterator["Work"]:
        """A transaction that reads."""
        with clear_errors(self.engine.url), self.engine.execution_options(**READS_ONLY).begin() as connection:
            yield self.new_work(connection, self._statements)

    def offsets(self) -> dict[Partition, int]:
        """Return the next offset of every partition."""
        with self.look() as work:
            return work.offsets()

    def forget_offsets(self, partitions: Iterable[Partition]) -> None:
        """Forget where reading of these partitions stood."""
        with self.begin() as work:
            work.forget_offsets(partitions)

    def close(self) -> None:
        """Close the database."""
        self.engine.dispose()


def _named(url: URL) -> URL:
    """The URL with the notifier's name for the server's list of sessions."""
    if url.get_backend_name() != "postgresql" or "application_name" in url.query:
        return url
    return url.update_query_dict({"application_name": "everwatch-notifier"})
