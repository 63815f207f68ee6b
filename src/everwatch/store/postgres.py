"""PostgreSQL: how it is connected to, and one clear sentence for each fault."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from everwatch.core.errors import EverwatchError, StoreError
from everwatch.store.bulk_statements import storable
from everwatch.store.interface import StoreBusy, Unstorable

OLDEST_VERSION = 15
_DEFAULTS = {
    "connect_timeout": "5",
    # a server that has gone without a word (its machine lost power, a network was cut) is given up after about 20 s
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
_WRITER_SETTINGS = {
    # a sink that is stopped (SIGSTOP, a frozen machine) holds its partitions' offsets no longer than this
    "idle_in_transaction_session_timeout": "60s",
    "statement_timeout": "300s",
    "lock_timeout": "10s",
    # compiling costs 200 ms where the planner takes a page for a walk over all; no statement here gains as much
    "jit": "off",
}
# classes of SQLSTATE: connection, rollback of a transaction, resources (disk full, too many connections), object in
# use, intervention by an operator; a standby that has not been promoted yet; and a transaction that the server ended
# because this process stood still in it
_PASSING = ("08", "40", "53", "55", "57", "25006", "25P03", "25P04")
# before there is a session libpq gives no SQLSTATE, only the server's words; waiting mends no other FATAL than these
_WORDS_OF_PASSING = re.compile(
    r"starting up|shutting down|recovery mode|not yet accepting|too many (clients|connections)"
    r"|remaining connection slots|read-only|hot standby"
)
_SUPERFLUOUS = re.compile(r"^(connection failed: )?(connection to server .*? failed: )?(FATAL|ERROR): +")


def new_writer(url: URL) -> Engine:
    """Return an engine that writes."""
    return _new_engine(url, "everwatch-sink", _WRITER_SETTINGS)


def new_reader(url: URL) -> Engine:
    """Return an engine on which nothing can be written."""
    # a command that follows results keeps a connection for long, and the server may have been restarted meanwhile
    engine = _new_engine(url, "everwatch", {}, pre_ping=True)
    event.listen(engine, "connect", _set_up_reader)
    # not by a setting of the session: target_session_attrs=read-write would then find no server
    return engine.execution_options(postgresql_readonly=True)


class _AnyText(StrDumperUnknown):
    """Text of a filter or a cursor: text with a NUL is looked for as it was stored."""

    def dump(self, obj: str) -> bytes:
        # half of a surrogate pair is for the server to refuse, with a sentence
        encoded: bytes = storable(obj).encode(self._encoding, "surrogatepass")
        return encoded


def _set_up_reader(connection: psycopg.Connection[Any], _: object) -> None:
    connection.adapters.register_dumper(str, _AnyText)
    # by a statement and not when connecting, which a reader's connection pooler may not take; see _WRITER_SETTINGS
    connection.execute("SET jit = off")
    connection.commit()


@contextmanager
def sole_writer(_url: URL, _process: str) -> Iterator[None]:
    """Hold nothing: several processes share the work."""
    yield


def is_locked(url: URL) -> bool:
    """Tell whether a sink waits for a lock that another session holds. Raises StoreError."""
    engine = new_reader(url)
    try:
        with engine.connect() as connection:
            waiting = text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'everwatch-sink' AND wait_event_type = 'Lock'"
                " AND now() - query_start > interval '3 s'"
            )
            return bool(connection.execute(waiting).scalar_one())
    finally:
        engine.dispose()


def translate(error: Exception, url: URL) -> EverwatchError | None:
    """Return what an error of the driver means; None for an error that is not the driver's."""
    if not isinstance(error, (SQLAlchemyError, psycopg.Error)):
        return None
    cause = getattr(error, "orig", None) or error
    said = _SUPERFLUOUS.sub("", str(cause).strip().partition("\n")[0]).rstrip(".")
    if isinstance(cause, (psycopg.DataError, psycopg.IntegrityError)):
        return Unstorable(f"the database refuses it: {said}")
    state = getattr(cause, "sqlstate", None) or ""
    if state == "55P03":
        return StoreBusy(f"The database {described(url)} is locked by another session.")
    if state.startswith(_PASSING) or (
        isinstance(cause, psycopg.OperationalError) and not state and _passes(str(cause))
    ):
        return StoreBusy(f"The database {described(url)} cannot be used now: {said}.")
    if state == "42501":
        said = f"{said}: grant the right to the user of EVERWATCH_DATABASE"
    return StoreError(f"The database {described(url)} failed: {said}.")


def described(url: URL) -> str:
    """Return which database a URL means, without its user and password."""
    hosts = url.query.get("host", url.host or "localhost")
    host = hosts if isinstance(hosts, str) else ",".join(hosts)
    return f"{url.database or url.username or ''} on {host}{f':{url.port}' if url.port else ''}"


def _passes(said: str) -> bool:
    return "FATAL" not in said or _WORDS_OF_PASSING.search(said) is not None


def _new_engine(url: URL, name: str, settings: dict[str, str], *, pre_ping: bool = False) -> Engine:
    given = {key: value for key, value in url.query.items() if key in ("options", *_DEFAULTS, "application_name")}
    options = " ".join([*(f"-c {key}={value}" for key, value in settings.items()), str(given.get("options", ""))])
    arguments = {"application_name": name} | _DEFAULTS | given | {"options": options.strip()}
    return create_engine(url, connect_args=arguments, pool_size=2, max_overflow=4, pool_pre_ping=pre_ping)
