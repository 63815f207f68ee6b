"""Rows of outcomes that are not on the topic ``notifications`` yet."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Dialect, bindparam, delete, select, update

from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.notification_records import (
    NotificationRecord,
    encode_notification,
    key_of,
    notified_alerts,
)
from everwatch.notifier.rows import Rows, chunks
from everwatch.notifier.tables import unpublished_outcomes
from everwatch.store.bulk_statements import Bulk, insert_into

_outcome = unpublished_outcomes.c
_COLUMNS = ["at", "taken_until", "user_id", "record_key", "document"]


class SettledDelivery(NamedTuple):
    """A message's state after a transaction, and the reason; ``due_at``: when the next attempt is due."""

    delivery: Delivery
    state: str
    reason: str
    due_at: int = 0


class UnpublishedOutcome(NamedTuple):
    """An outcome that waits for its topic: its number, and the record's key and value."""

    seq: int
    key: bytes
    value: bytes


class OutcomeStatements:
    """Statements of ``OutcomeRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        insert = insert_into(unpublished_outcomes, dialect).values({name: bindparam(name) for name in _COLUMNS})
        self.put = Bulk(insert, _COLUMNS, dialect)


class OutcomeRows(Rows):
    """Outcomes, from the transaction that stores one until the broker has it."""

    _outcomes: OutcomeStatements

    def put_outcomes(self, settled: Iterable[SettledDelivery], now: int) -> None:
        """Store outcomes, in the transaction that settles their messages."""
        records = (_record(each, now) for each in settled)
        rows = [(now, 0, record.user_id, key_of(record), encode_notification(record).decode()) for record in records]
        self._outcomes.put.run(self._connection, rows)

    def has_outcomes(self, now: int) -> bool:
        """Tell whether any outcome waits that no other notifier has taken."""
        waiting = select(_outcome.seq).where(_outcome.taken_until <= now).limit(1)
        return self._connection.execute(waiting).first() is not None

    def take_outcomes(self, now: int, until: int, most: int) -> list[UnpublishedOutcome]:
        """Return the oldest outcomes that wait; no other notifier takes them before ``until``."""
        rows = self._connection.execute(
            select(_outcome.seq, _outcome.record_key, _outcome.document)
            .where(_outcome.taken_until <= now)
            .order_by(_outcome.seq)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        found = [UnpublishedOutcome(seq, key.encode(), text.encode()) for seq, key, text in rows]
        if self._connection.dialect.name != "sqlite":
            # there no other notifier runs
            for some in chunks([each.seq for each in found]):
                taken = update(unpublished_outcomes).where(_outcome.seq.in_(some)).values(taken_until=until)
                self._connection.execute(taken)
        return found

    def delete_outcomes(self, published: Collection[int]) -> None:
        """Forget outcomes, by their numbers: the broker has them."""
        for some in chunks(sorted(published)):
            self._connection.execute(delete(unpublished_outcomes).where(_outcome.seq.in_(some)))

    def trim_outcomes(self, before: int) -> None:
        """Forget outcomes from before an instant that the broker never took."""
        self._connection.execute(delete(unpublished_outcomes).where(_outcome.at < before))


def _record(settled: SettledDelivery, now: int) -> NotificationRecord:
    delivery, state, reason, due_at = settled
    return NotificationRecord(
        delivery.delivery_id,
        delivery.attempt,
        state,
        now,
        delivery.created_at,
        due_at,
        delivery.route,
        delivery.sender,
        delivery.target,
        delivery.user_id,
        reason,
        notified_alerts(delivery.message),
        delivery.message.is_test,
    )
