"""Pages of dead letters and replies, the latest first, and how many dead letters there are of each kind."""

from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select

from everwatch.model import Reply
from everwatch.store.letter_rows import asked_of
from everwatch.store.letters import LetterPlace, LetterSelection, lower
from everwatch.store.queries.events import equal, latest_first, within
from everwatch.store.selections import When
from everwatch.store.sql_schema import dead_letters, replies

ReplyPlace = tuple[int, str, str, str]
"""Instant of the answer (ms), the id and kind of the input, and the outcome."""


def letters_page(
    which: LetterSelection, when: When, after: LetterPlace | None, limit: int, dialect: str
) -> Select[*tuple[Any, ...]]:
    """The latest dead letters behind a place, with the columns of ``dead_letters``."""
    c = dead_letters.c
    columns: list[ColumnElement[Any]] = [c.refused_at, c.partition, c.letter_offset]
    return latest_first(select(dead_letters), columns, _wanted(which, when, dialect), after, limit)


def letter_at(partition: int, offset: int) -> Select[*tuple[Any, ...]]:
    """The newest dead letter at a place, with the columns of ``dead_letters``."""
    c = dead_letters.c
    is_there = (c.partition == partition, c.letter_offset == offset)
    return select(dead_letters).where(*is_there).order_by(c.refused_at.desc()).limit(1)


def counted_letters(which: LetterSelection, when: When, dialect: str) -> Select[*tuple[Any, ...]]:
    """Source, code and kind of reason, how many letters have them, and when the newest was refused."""
    c = dead_letters.c
    kind = (c.source_topic, c.code, c.alike)
    # of a window the index of instants, which has all of these
    wanted = [c.refused_at >= when.since, *_wanted(which, when, dialect)]
    return select(*kind, func.count(), func.max(c.refused_at)).where(*wanted).group_by(*kind)


def replies_page(
    user_id: str, asked_id: str, when: When, after: ReplyPlace | None, limit: int
) -> Select[*tuple[Any, ...]]:
    """The latest replies to a user's inputs behind a place, with the columns of ``replies``."""
    c = replies.c
    wanted = [c.user_id == user_id, *equal([(c.asked_id, asked_id)]), *within(c.at, when)]
    return latest_first(select(replies), [c.at, c.asked_id, c.asked, c.answer], wanted, after, limit)


def place_of_reply(reply: Reply) -> ReplyPlace:
    """Return where a reply stands in a list."""
    return reply.at, *asked_of(reply), reply.answer.value


def _wanted(which: LetterSelection, when: When, dialect: str) -> list[ColumnElement[bool]]:
    c = dead_letters.c
    values = (
        (c.user_id, which.user_id),
        (c.source_topic, which.source_topic),
        (c.code, which.code),
        (c.alike, which.alike),
    )
    wanted = [*equal(values), *within(c.refused_at, when)]
    if which.text:
        on_postgresql = dialect == "postgresql"
        find, reason = (func.strpos, c.reason.collate("C")) if on_postgresql else (func.instr, c.reason)
        wanted.append(find(func.lower(reason), lower(which.text)) > literal_column("0"))
    return wanted
