"""Rows of comments on incidents, and of the secret that signs links in messages."""

import msgspec
from sqlalchemy import Dialect, func, select

from everwatch.notifier.ack_links import new_secret
from everwatch.notifier.comments import MOST_COMMENTS, IncidentComment
from everwatch.notifier.rows import Rows, insert_once
from everwatch.notifier.tables import alert_comments, notifier_secrets
from everwatch.store.bulk_statements import storable

_LINKS = "links"
_comment = alert_comments.c


class CommentStatements:
    """Statements of ``CommentRows``, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.put = insert_once(alert_comments, dialect)
        self.put_secret = insert_once(notifier_secrets, dialect)


class CommentRows(Rows):
    """Comments, by the incident that they are on."""

    _comments: CommentStatements

    def put_comment(self, comment: IncidentComment) -> None:
        """Store a comment, unless it is stored already or its incident has as many as are allowed."""
        of_incident = _comment.incident_id == storable(comment.incident_id)
        held = self._connection.execute(select(func.count()).select_from(alert_comments).where(of_incident))
        if held.scalar_one() < MOST_COMMENTS:
            row = tuple(map(storable, msgspec.structs.astuple(comment)))
            self._comments.put.run(self._connection, [row])

    def comments(self, incident_id: str) -> list[IncidentComment]:
        """Return the comments on an incident, the oldest first."""
        rows = self._connection.execute(
            select(*_comment)
            .where(_comment.incident_id == storable(incident_id))
            .order_by(_comment.at, _comment.comment_id)
            .limit(MOST_COMMENTS)
        )
        return [IncidentComment(*row) for row in rows]

    def make_link_secret(self) -> None:
        """Make the secret that signs links, unless there is one."""
        self._comments.put_secret.run(self._connection, [(_LINKS, new_secret())])

    def link_secret(self) -> bytes | None:
        """Return the secret that signs links; None before a notifier has made one."""
        table = notifier_secrets.c
        found = self._connection.execute(select(table.secret).where(table.name == _LINKS)).scalar_one_or_none()
        return None if found is None else bytes.fromhex(found)
