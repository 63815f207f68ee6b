"""Counters of monitors by state, kind and plan, and of users by plan, kept up by each batch.

The changes of a batch are worked out from the stored rows, so a record that comes again changes nothing, and written
once for each class at the end of the transaction: there are few classes, and a row that is updated for every monitor
would be slower than all else. Counts are kept for each partition, so that sinks of others do not wait for each other.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, select

from everwatch.model import Monitor, User
from everwatch.store.bulk_statements import Bulk, Row, insert_into, storable
from everwatch.store.keyed import rows_of_keys
from everwatch.store.sink_batch import CatalogueEntry, Received
from everwatch.store.sql_schema import monitor_counts, user_counts
from everwatch.store.stored_values import CatalogueCounts, MonitorCount


class Class(NamedTuple):
    """Key of a counter of monitors."""

    partition: int
    state: str
    kind: str
    plan: str


class Known(NamedTuple):
    """The stored fields of a monitor that counters need."""

    counted: Class
    name: str
    target: str
    version: int


class Tally:
    """Changes of the counters by one batch."""

    def __init__(self) -> None:
        self.monitors: Counter[Class] = Counter()
        self.users: Counter[tuple[int, str]] = Counter()


class Stored:
    """Stored users and monitors that entries are about, as they were before these entries.

    The plans of users are those that the entries put.
    """

    def __init__(self, plans: dict[str, str], monitors: dict[tuple[str, str], Known]) -> None:
        self._plans = plans
        self.monitors = monitors

    def plan_of(self, user_id: str) -> str:
        """The plan of a user; "" if there is no such user."""
        return self._plans.get(user_id, "")


class Counters:
    """Counts in transactions of others."""

    def __init__(self, dialect: Dialect) -> None:
        self._add_monitors = _adding(monitor_counts, "monitors", dialect)
        self._add_users = _adding(user_counts, "users", dialect)

    def take(self, connection: Connection, wave: Iterable[Received[CatalogueEntry]], tally: Tally) -> Stored:
        """Count what entries will change that do not depend on each other; call it before they are stored.

        Monitors of users whose plan changes get the new one.
        """
        put_users: dict[str, tuple[int, str]] = {}
        put_monitors: dict[tuple[str, str], tuple[int, Monitor]] = {}
        gone_users: list[str] = []
        gone_monitors: list[tuple[str, str]] = []
        for received in wave:
            entry, partition = received.value, received.source.number
            if isinstance(entry.value, User):
                put_users[entry.user_id] = partition, entry.value.plan
            elif isinstance(entry.value, Monitor):
                put_monitors[entry.user_id, entry.monitor_id] = partition, entry.value
            elif entry.monitor_id:
                gone_monitors.append((entry.user_id, entry.monitor_id))
            else:
                gone_users.append(entry.user_id)
        owners = {user_id for user_id, _ in put_monitors}
        held = dict(_users(connection, sorted({*put_users, *gone_users, *owners})))
        for user_id in (*put_users, *gone_users):
            if user_id in held:
                tally.users[held[user_id]] -= 1
        tally.users.update(put_users.values())
        for counted, number in _of_users(connection, gone_users):
            tally.monitors[counted] -= number
        changed = {user_id: plan for user_id, (_, plan) in put_users.items() if held.get(user_id, (0, ""))[1] != plan}
        self._change_plans(connection, changed, tally)
        known = dict(_monitors(connection, [*put_monitors, *gone_monitors]))
        for key in (*put_monitors, *gone_monitors):
            if key in known:
                tally.monitors[known[key].counted] -= 1
        plans = {user_id: plan for user_id, (_, plan) in held.items()}
        plans |= {user_id: plan for user_id, (_, plan) in put_users.items()}
        stored = Stored(plans, known)
        for (user_id, _), (partition, monitor) in put_monitors.items():
            counted = Class(partition, monitor.state.value, monitor.spec.kind, stored.plan_of(user_id))
            tally.monitors[counted] += 1
        return stored

    def remove(self, connection: Connection, table: str, keys: Sequence[Row]) -> None:
        """Count out monitors or users (the name of their table) that are about to be deleted by their keys."""
        tally = Tally()
        if table == "monitors":
            tally.monitors.subtract(known.counted for _, known in _monitors(connection, keys))
        elif table == "users":
            tally.users.subtract(place for _, place in _users(connection, [key[0] for key in keys]))
        self.write(connection, tally)

    def write(self, connection: Connection, tally: Tally) -> None:
        """Store counts, in one order: no two sinks wait for each other."""
        self._add_monitors.run(connection, sorted((*key, n) for key, n in tally.monitors.items() if n))
        self._add_users.run(connection, sorted((*key, n) for key, n in tally.users.items() if n))

    def _change_plans(self, connection: Connection, plans: dict[str, str], tally: Tally) -> None:
        concerned: set[str] = set()
        for user_id, counted, number in _classes_of_users(connection, list(plans)):
            if counted.plan != plans[user_id]:
                concerned.add(user_id)
                tally.monitors[counted] -= number
                tally.monitors[counted._replace(plan=plans[user_id])] += number
        for user_id in sorted(concerned):
            mark = _mark(connection)
            connection.exec_driver_sql(
                f"UPDATE monitors SET plan = {mark} WHERE user_id = {mark}",  # noqa: S608 - own words
                (storable(plans[user_id]), storable(user_id)),
            )


def read_counts(connection: Connection) -> CatalogueCounts:
    """Return the counts of all partitions together."""
    totals: Counter[tuple[str, str, str]] = Counter()
    for _, state, kind, plan, number in connection.execute(select(monitor_counts)):
        totals[state, kind, plan] += number
    plans: Counter[str] = Counter()
    for _, plan, number in connection.execute(select(user_counts)):
        plans[plan] += number
    monitors = tuple(MonitorCount(*key, number) for key, number in sorted(totals.items()) if number)
    return CatalogueCounts(monitors, {plan: number for plan, number in sorted(plans.items()) if number})


def _users(connection: Connection, user_ids: Sequence[str]) -> Iterator[tuple[str, tuple[int, str]]]:
    for user_id, partition, plan in rows_of_keys(connection, "user_id, partition, plan", "users", "user_id", user_ids):
        yield user_id, (partition, plan)


def _monitors(connection: Connection, keys: Sequence[Row]) -> Iterator[tuple[tuple[str, str], Known]]:
    columns = "user_id, monitor_id, partition, state, kind, plan, name, target, version"
    for user_id, monitor_id, *counted, name, target, version in rows_of_keys(
        connection, columns, "monitors", "user_id, monitor_id", keys
    ):
        yield (user_id, monitor_id), Known(Class(*counted), name, target, version)


def _of_users(connection: Connection, user_ids: Sequence[str]) -> Iterator[tuple[Class, int]]:
    for _, counted, number in _classes_of_users(connection, user_ids):
        yield counted, number


def _classes_of_users(connection: Connection, user_ids: Sequence[str]) -> Iterator[tuple[str, Class, int]]:
    columns = "user_id, partition, state, kind, plan"
    found = rows_of_keys(connection, f"{columns}, count(*)", "monitors", "user_id", user_ids, f" GROUP BY {columns}")
    for user_id, *counted, number in found:
        yield user_id, Class(*counted), number


def _mark(connection: Connection) -> str:
    return "%s" if connection.dialect.name == "postgresql" else "?"


def _adding(table: Any, column: str, dialect: Dialect) -> Bulk:
    insert = insert_into(table, dialect)
    total = {column: table.c[column] + insert.excluded[column]}
    key = list(table.primary_key.columns)
    return Bulk(insert.on_conflict_do_update(index_elements=key, set_=total), table.c.keys(), dialect)
