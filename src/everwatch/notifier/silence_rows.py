"""Rows of silences."""

from collections.abc import Collection

import msgspec
from sqlalchemy import Dialect, delete, select

from everwatch.notifier.rows import Rows, chunks, text_of
from everwatch.notifier.silences import AlertSilence
from everwatch.notifier.tables import alert_silences
from everwatch.store.bulk_statements import storable, upsert

_silence = alert_silences.c
_decode = msgspec.json.Decoder(AlertSilence).decode


class SilenceStatements:
    """Statements of ``SilenceRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.put = upsert(alert_silences, dialect)


class SilenceRows(Rows):
    """Silences that are on or ahead, and those that ended a moment ago."""

    _silences: SilenceStatements

    def put_silence(self, silence: AlertSilence) -> None:
        """Store a silence in place of the one of its id. Raises msgspec.ValidationError for one that says nonsense."""
        text = text_of(silence)
        # each pass of judging reads all of them: one that cannot be read would stop every alert
        _decode(text)
        row = silence.silence_id, silence.match.user, silence.ends_at, text
        self._silences.put.run(self._connection, [tuple(map(storable, row))])

    def silences(self, now: int = 0, user_id: str = "") -> list[AlertSilence]:
        """Return silences that end after ``now``, the first to end first; of a user those that name it alone."""
        statement = select(_silence.document).where(_silence.ends_at > now)
        if user_id:
            statement = statement.where(_silence.user_id == user_id)
        rows = self._connection.execute(statement.order_by(_silence.ends_at, _silence.silence_id))
        return [_decode(text) for (text,) in rows]

    def silences_of(self, user_ids: Collection[str], now: int) -> list[AlertSilence]:
        """Return silences that end after ``now`` and may concern monitors of these users, the first to end first."""
        found: list[AlertSilence] = []
        for some in chunks({"", *user_ids}):
            statement = select(_silence.document).where(_silence.ends_at > now, self._is_one_of(_silence.user_id, some))
            found += [_decode(text) for (text,) in self._connection.execute(statement)]
        return sorted(found, key=lambda each: (each.ends_at, each.silence_id))

    def silences_over(self, now: int, most: int) -> list[AlertSilence]:
        """Return silences that are over, locked; those that another notifier works on are left out."""
        rows = self._connection.execute(
            select(_silence.document)
            .where(_silence.ends_at <= now)
            .order_by(_silence.ends_at)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        return [_decode(text) for (text,) in rows]

    def delete_silence(self, silence_id: str) -> None:
        """Forget a silence."""
        self._connection.execute(delete(alert_silences).where(_silence.silence_id == storable(silence_id)))
