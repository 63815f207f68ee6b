"""Answers about the database's tables and the topics, as types."""

import msgspec

from everwatch.api.views import Instant
from everwatch.store.table_status import TableStatus


class TopicView(msgspec.Struct, frozen=True):
    """A topic. ``partitions``: 0 if there is none. ``problem``: what is wrong, with its remedy; "" if all is well.

    ``hidden``: the API may not see it, so whether there is one is not known.
    """

    name: str
    partitions: int
    problem: str
    hidden: bool


class TopicsView(msgspec.Struct, frozen=True):
    """All topics as they were ``at``. ``problems``: one sentence with its remedy for all that have the same fault."""

    at: Instant
    items: list[TopicView]
    problems: list[str]


class DatabaseView(msgspec.Struct, frozen=True):
    """The database as it was ``at``: ``sqlite`` or ``postgresql``, its ``size`` on disk, and each table.

    ``free``: bytes that SQLite uses again before its file grows. ``days``: days of results for which PostgreSQL has
    partitions.
    """

    at: Instant
    kind: str
    size: int
    free: int | None
    days: int | None
    tables: list[TableStatus]
