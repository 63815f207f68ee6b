"""Rows of acknowledged and snoozed incidents."""

from collections.abc import Collection

from sqlalchemy import Dialect, delete, select

from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.rows import Rows, chunks
from everwatch.notifier.tables import alert_acks
from everwatch.store.bulk_statements import storable, upsert

_ack = alert_acks.c


class AckStatements:
    """Statements of ``AckRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.put = upsert(alert_acks, dialect)


class AckRows(Rows):
    """Acknowledgements, by the incident that they are for."""

    _acks: AckStatements

    def acks(self, incident_ids: Collection[str]) -> dict[str, Acknowledgement]:
        """Return those of these incidents that were acknowledged."""
        found: dict[str, Acknowledgement] = {}
        for some in chunks(incident_ids):
            for row in self._connection.execute(select(*_ack).where(self._is_one_of(_ack.incident_id, some))):
                found[row[0]] = Acknowledgement(*row)
        return found

    def put_ack(self, ack: Acknowledgement) -> None:
        """Store an acknowledgement in place of the one before."""
        row = ack.incident_id, ack.user_id, ack.monitor_id, ack.acked_at, ack.acked_by, ack.snoozed_until
        self._acks.put.run(self._connection, [tuple(map(storable, row))])

    def snoozes_over(self, now: int, most: int) -> list[Acknowledgement]:
        """Return snoozes that are over, locked; those that another notifier works on are left out."""
        rows = self._connection.execute(
            select(*_ack)
            .where(_ack.snoozed_until > 0, _ack.snoozed_until <= now)
            .order_by(_ack.snoozed_until)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        return [Acknowledgement(*row) for row in rows]

    def delete_acks(self, incident_ids: Collection[str]) -> None:
        """Forget that these incidents were acknowledged."""
        for some in chunks(incident_ids):
            self._connection.execute(delete(alert_acks).where(self._is_one_of(_ack.incident_id, some)))
