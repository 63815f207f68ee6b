"""Rows that count the text messages of a day: each is paid for, so there are limits."""

from collections.abc import Collection, Mapping

from sqlalchemy import Dialect, delete, select

from everwatch.notifier.rows import Rows, insert_once
from everwatch.notifier.tables import text_counts
from everwatch.store.bulk_statements import upsert

OF_USERS = ""
"""The receiver under which all messages to users are counted; it comes before all others."""

_count = text_counts.c


class TextCountStatements:
    """Statements of ``TextCountRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.seed = insert_once(text_counts, dialect)
        self.put = upsert(text_counts, dialect)


class TextCountRows(Rows):
    """Numbers of text messages of a day, by receiver."""

    _text_counts: TextCountStatements

    def text_counts(self, day: int, receivers: Collection[str]) -> dict[str, int]:
        """Return the numbers of these receivers and of all users, which no other notifier changes until the commit.

        That of all users is locked first, so that no two wait for each other.
        """
        wanted = sorted({OF_USERS, *receivers})
        self._text_counts.seed.run(self._connection, [(day, receiver, 0) for receiver in wanted])
        rows = self._connection.execute(
            select(_count.receiver, _count.messages)
            .where(_count.day == day, self._is_one_of(_count.receiver, wanted))
            .order_by(_count.receiver)
            .with_for_update()
        )
        return {each.receiver: each.messages for each in rows}

    def put_text_counts(self, day: int, counts: Mapping[str, int]) -> None:
        """Store numbers."""
        self._text_counts.put.run(self._connection, [(day, receiver, n) for receiver, n in counts.items()])

    def trim_text_counts(self, before: int) -> None:
        """Forget the days before one."""
        self._connection.execute(delete(text_counts).where(_count.day < before))
