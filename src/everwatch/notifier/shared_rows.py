"""Rows of incidents of many monitors: targets, executors, and the pace of servers."""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Dialect, Select, and_, bindparam, delete, select, update

from everwatch.notifier.executor_outages import ExecutorOutage
from everwatch.notifier.rows import Rows, chunks, insert_once, text_of
from everwatch.notifier.tables import notifier_facts, shared_incidents
from everwatch.notifier.target_incidents import TargetIncident
from everwatch.store.bulk_statements import Bulk, Row, storable, upsert

_shared = shared_incidents.c
_fact = notifier_facts.c
_TARGET = "target:"
_EXECUTOR = "executor:"
_PACED = "paced:"


def _begins_with(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    # by the index of the key, which LIKE is not in every database
    return and_(column >= prefix, column < prefix + "\U0010ffff")


_IS_EXECUTOR, _IS_TARGET = _begins_with(_shared.subject, _EXECUTOR), _begins_with(_shared.subject, _TARGET)
_IS_PACE = _begins_with(_fact.name, _PACED)

_decode_target = msgspec.json.Decoder(TargetIncident).decode
_decode_outage = msgspec.json.Decoder(ExecutorOutage).decode


class SharedStatements:
    """Statements of ``SharedRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.seed = insert_once(shared_incidents, dialect)
        self.put = upsert(shared_incidents, dialect)
        self.seed_facts = insert_once(notifier_facts, dialect)
        self.put_fact = Bulk(
            update(notifier_facts).where(_fact.name == bindparam("b_name")).values(value=bindparam("b_value")),
            ["b_value", "b_name"],
            dialect,
        )


class SharedRows(Rows):
    """Targets, and the pace at which servers get messages about them."""

    _shared: SharedStatements

    def lock_targets(self, targets: Collection[str], now: int) -> dict[str, TargetIncident]:
        """Return the rows of these targets, which no other notifier changes until the commit.

        In one order, so that no two wait for each other.
        """
        found: dict[str, TargetIncident] = {}
        for some in chunks(sorted(targets)):
            subjects = [_TARGET + storable(each) for each in some]
            seeds: list[Row] = [
                (subject, 0, now, text_of(TargetIncident(target)))
                for subject, target in zip(subjects, some, strict=True)
            ]
            self._shared.seed.run(self._connection, seeds)
            statement = (
                select(_shared.document).where(self._is_one_of(_shared.subject, subjects)).order_by(_shared.subject)
            )
            for (text,) in self._connection.execute(statement.with_for_update()):
                known = _decode_target(text)
                found[known.target] = known
        return found

    def targets(self, targets: Collection[str]) -> dict[str, TargetIncident]:
        """Return the rows of those of these targets at which anything failed lately."""
        found: dict[str, TargetIncident] = {}
        for some in chunks(targets):
            subjects = [_TARGET + storable(each) for each in some]
            statement = select(_shared.document).where(self._is_one_of(_shared.subject, subjects))
            for (text,) in self._connection.execute(statement):
                known = _decode_target(text)
                found[known.target] = known
        return found

    def open_targets(self, most: int = 1_000) -> list[TargetIncident]:
        """Return targets with an open incident."""
        statement = select(_shared.document).where(_shared.failing > 0, _IS_TARGET)
        found = map(_decode_target, self._connection.execute(statement.order_by(_shared.subject)).scalars())
        return [known for known in found if known.is_open][:most]

    def put_targets(self, changed: Iterable[TargetIncident], now: int) -> None:
        """Store targets."""
        rows: list[Row] = [
            (_TARGET + storable(each.target), each.failing, now, text_of(each))
            for each in sorted(changed, key=lambda each: each.target)
        ]
        self._shared.put.run(self._connection, rows)

    def lock_outages(self, executors: Collection[str], now: int) -> dict[str, ExecutorOutage]:
        """Return all executors that are or lately were doubted, and these: no other notifier changes them."""
        seeds: list[Row] = [
            (_EXECUTOR + storable(each), 0, now, text_of(ExecutorOutage(each))) for each in sorted(executors)
        ]
        self._shared.seed.run(self._connection, seeds)
        statement = select(_shared.document).where(_IS_EXECUTOR).order_by(_shared.subject).with_for_update()
        return self._outages_of(statement)

    def outages(self) -> dict[str, ExecutorOutage]:
        """Return the executors that are or lately were doubted."""
        return self._outages_of(select(_shared.document).where(_IS_EXECUTOR))

    def put_outages(self, changed: Iterable[ExecutorOutage], now: int) -> None:
        """Store executors."""
        rows: list[Row] = [
            (_EXECUTOR + storable(each.executor), int(each.is_open), now, text_of(each))
            for each in sorted(changed, key=lambda each: each.executor)
        ]
        self._shared.put.run(self._connection, rows)

    def _outages_of(self, statement: Select[Any]) -> dict[str, ExecutorOutage]:
        found = [_decode_outage(text) for (text,) in self._connection.execute(statement)]
        return {known.executor: known for known in found}

    def paced_slots(self, queue: str, count: int, now: int, per_s: int) -> list[int]:
        """Return when each of ``count`` messages of a queue is due, so that ``per_s`` of it are sent a second; ms."""
        name = _PACED + storable(queue)
        self._shared.seed_facts.run(self._connection, [(name, 0)])
        taken = self._connection.execute(select(_fact.value).where(_fact.name == name).with_for_update()).scalar_one()
        # counted in thousandths of a ms, as many servers take more than one message a ms
        begin, step = max(now * 1_000, int(taken)), 1_000_000 // per_s
        self._shared.put_fact.run(self._connection, [(begin + count * step, name)])
        return [(begin + number * step) // 1_000 for number in range(count)]

    def trim_shared(self, before: int) -> None:
        """Delete targets at which nothing fails any more, and paces that are over, since before an instant."""
        self._connection.execute(delete(shared_incidents).where(_shared.failing == 0, _shared.changed_at < before))
        self._connection.execute(delete(notifier_facts).where(_IS_PACE, _fact.value < before * 1_000))
