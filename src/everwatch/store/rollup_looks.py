"""Old roll-ups of users whose plans keep them for another time, found a bite at a time.

Roll-ups of all monitors share their instants, so a bite by time alone would be as large as a day. A bite is some
monitors of an instant instead, in the order of the index by instant, user and monitor.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, Table, select, tuple_

from everwatch.store.bulk_statements import Row
from everwatch.store.facts import facts, raise_fact
from everwatch.store.plan_keeping import Look
from everwatch.store.sql_schema import users

# users that are asked for in one statement; SQLite takes at most 32,766 parameters
_AT_ONCE = 1_000


class RollupLook:
    """Looks once at each roll-up of a table that is old enough, in the order of instants, users and monitors.

    How far it is within an instant is forgotten when the process ends: the instant is looked at again then.
    """

    def __init__(self, table: Table, look: Look) -> None:
        self._table = table
        self._look = look
        self._after: tuple[int, str, str] = (0, "", "")
        self._reached = self._after

    def bite(self, connection: Connection, until: int, most: int) -> tuple[int, list[Row]]:
        """Look at up to ``most`` roll-ups from before ``until`` (ms), in a transaction of another's.

        Returns how many were looked at, and the keys (user, monitor and instant) of those that are too old.
        """
        c = self._table.c
        columns = (c.at, c.user_id, c.monitor_id)
        known = facts(connection).get(self._look.fact, 0)
        after = self._after if self._after[0] == known else (known, "", "")
        behind = select(*columns).where(c.at >= after[0], tuple_(*columns) > tuple_(*after), c.at < until)
        found = [
            (row.at, row.user_id, row.monitor_id) for row in connection.execute(behind.order_by(*columns).limit(most))
        ]
        if len(found) < most:
            raise_fact(connection, self._look.fact, until)
        else:
            self._reached = found[-1]
            raise_fact(connection, self._look.fact, self._reached[0])
        plans = _plans_of(connection, {user_id for _, user_id, _ in found})
        old = [
            (user_id, monitor_id, at)
            for at, user_id, monitor_id in found
            if not self._look.spares(plans.get(user_id, ""))
        ]
        return len(found), sorted(old)

    def committed(self) -> None:
        """Go on behind the last bite: its transaction is committed."""
        self._after = self._reached


def _plans_of(connection: Connection, user_ids: Iterable[str]) -> dict[str, str]:
    """Return the plan of each user that there is."""
    wanted = sorted(user_ids)
    found: dict[str, str] = {}
    for begin in range(0, len(wanted), _AT_ONCE):
        some = wanted[begin : begin + _AT_ONCE]
        rows = connection.execute(select(users.c.user_id, users.c.plan).where(users.c.user_id.in_(some)))
        found.update((row.user_id, row.plan) for row in rows)
    return found
