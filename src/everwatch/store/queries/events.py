"""Pages of results and transitions: the latest first, of all, of a user or of a monitor."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, select, text, tuple_

from everwatch.model import Result, Status, Transition
from everwatch.store.selections import ResultSelection, TransitionSelection, When
from everwatch.store.sql_schema import FAILED, results, transitions

ResultPlace = tuple[int, str, str, int, str]
"""Instant, user, monitor, attempt and region."""
TransitionPlace = tuple[int, str, str, str]
"""Instant, user, monitor and the state that was entered."""
_FAILURES = (Status.FAILURE, Status.LATE)


def results_page(
    which: ResultSelection, when: When, after: ResultPlace | None, limit: int, dialect: str
) -> Select[*tuple[Any, ...]]:
    """The latest results behind a place, with the columns of ``results``.

    Of a user by the key, which a monitor's are read from too; failures, of all users or of one, by indexes of failures
    alone.
    """
    c = results.c
    values = (
        (c.user_id, which.user_id),
        (c.monitor_id, which.monitor_id),
        (c.status, which.status),
        (c.kind, which.kind),
        (c.region, which.region),
    )
    wanted: list[Any] = [*equal(values), *within(c.scheduled_at, when)]
    if which.status in _FAILURES:
        wanted.append(text(FAILED[dialect]))
    columns: list[ColumnElement[Any]] = [c.scheduled_at, c.user_id, c.monitor_id, c.attempt, c.region]
    return latest_first(select(results), *_of_user(which.user_id, columns, wanted, after), limit)


def transitions_page(
    which: TransitionSelection, when: When, after: TransitionPlace | None, limit: int
) -> Select[*tuple[Any, ...]]:
    """The latest transitions behind a place, with the columns of ``transitions``.

    Of one target by an index of those that name one.
    """
    c = transitions.c
    values = (
        (c.user_id, which.user_id),
        (c.monitor_id, which.monitor_id),
        (c.to_state, which.state),
        (c.kind, which.kind),
        (c.plan, which.plan),
        (c.target, which.target),
    )
    wanted: list[Any] = [*equal(values), *within(c.at, when)]
    if which.target:
        wanted.append(text("target <> ''"))
    if which.alerts:
        wanted.append(c.alert)
    columns: list[ColumnElement[Any]] = [c.at, c.user_id, c.monitor_id, c.to_state]
    return latest_first(select(transitions), *_of_user(which.user_id, columns, wanted, after), limit)


def place_of_result(result: Result) -> ResultPlace:
    """Return where a result stands in a list."""
    return result.scheduled_at, result.user_id, result.monitor_id, result.attempt, result.region


def place_of_transition(transition: Transition) -> TransitionPlace:
    """Return where a transition stands in a list."""
    return transition.at, transition.user_id, transition.monitor_id, transition.to_state.value


def latest_first(
    statement: Select[*tuple[Any, ...]],
    columns: list[ColumnElement[Any]],
    wanted: list[Any],
    after: tuple[Any, ...] | None,
    limit: int,
) -> Select[*tuple[Any, ...]]:
    """The rows of a list by instant (the first column) behind a place, the latest first."""
    if after is not None:
        # the first condition says which days are not looked at
        wanted = [*wanted, columns[0] <= after[0], tuple_(*columns) < tuple_(*after)]
    return statement.where(*wanted).order_by(*(column.desc() for column in columns)).limit(limit)


def _of_user(
    user_id: str, columns: list[ColumnElement[Any]], wanted: list[Any], after: tuple[Any, ...] | None
) -> tuple[list[ColumnElement[Any]], list[Any], tuple[Any, ...] | None]:
    """Columns, conditions and place without the user (in second place) where it is the same for all."""
    if not user_id:
        return columns, wanted, after
    return [columns[0], *columns[2:]], wanted, after and (after[0], *after[2:])


def equal(wanted: Iterable[tuple[ColumnElement[str], str]]) -> list[ColumnElement[bool]]:
    """Conditions of the rows that have these values; an empty one does not matter."""
    return [column == value for column, value in wanted if value]


def within(column: ColumnElement[int], when: When) -> list[ColumnElement[bool]]:
    """Conditions of the rows of an interval."""
    found = [column >= when.since] if when.since else []
    return [*found, column < when.until] if when.until else found
