"""Pages of users, by filter and order: see ``monitors`` for how."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, literal_column, select, tuple_, union_all

from everwatch.model import State, User
from everwatch.store import row_mapping
from everwatch.store.keyed import rows_of_keys
from everwatch.store.paging import Sort
from everwatch.store.queries.monitors import classes_of, conditions, gathered
from everwatch.store.queries.sets import (
    USUAL_WAYS,
    Key,
    ListWays,
    Place,
    WantedPage,
    few_monitors,
    few_users,
    holds,
)
from everwatch.store.search import needles_of, user_text
from everwatch.store.selections import Selection
from everwatch.store.sql_schema import monitors, user_search, users
from everwatch.store.stored_values import ListedUser, MonitorCount

_c = users.c


def user_places(connection: Connection, which: Selection, page: WantedPage, ways: ListWays = USUAL_WAYS) -> list[Place]:
    """Return the places of a page's users, in order."""
    of_monitors = which._replace(contains="", prefix="")
    classes = classes_of(connection, of_monitors) if which.names_monitors else []
    if which.names_monitors and not classes:
        return []
    by_changed = page.sort is Sort.CHANGED
    # an index has users by the classes of their monitors in the order of the list
    in_order = not by_changed and len(classes) <= ways.classes and not needles_of(which)
    few = _few(connection, which, of_monitors, () if in_order else classes, ways)
    if few is not None:
        return _sorted(connection, which, few, page)[: page.limit]
    columns: list[ColumnElement[Any]] = [*([_c.updated_at] if by_changed else []), _c.user_id]
    dialect = connection.dialect.name
    if in_order and which.names_monitors:
        return _by_class(connection, of_monitors, classes, page)
    wanted: list[ColumnElement[bool]] = []
    if which.plan:
        # in the order of the list without the instant only
        wanted.append((_c.plan + literal_column("''") if by_changed and dialect == "sqlite" else _c.plan) == which.plan)
    if which.names_monitors:
        wanted.append(exists().where(monitors.c.user_id == _c.user_id, *conditions(of_monitors, dialect)))
    if needles := needles_of(which):
        own = select(user_search.c.text).where(user_search.c.user_id == _c.user_id).scalar_subquery()
        wanted += [holds(own, needle, dialect) for needle in needles]
    return _read(connection, _page(columns, wanted, page))


def users_at(connection: Connection, places: Sequence[Place]) -> list[ListedUser]:
    """Return the users of these places, in order, with the states of their monitors; one that is gone is left out."""
    ids = [place[-1] for place in places]
    found = {
        row[0]: row_mapping.user(row) for row in rows_of_keys(connection, ", ".join(_c.keys()), "users", "user_id", ids)
    }
    states: dict[str, dict[State, int]] = {user_id: {} for user_id in ids}
    counted = "user_id, state, count(*)"
    for user_id, state, count in rows_of_keys(
        connection, counted, "monitors", "user_id", ids, " GROUP BY user_id, state"
    ):
        states[user_id][State(state)] = count
    return [ListedUser(found[user_id], states[user_id]) for user_id in ids if user_id in found]


def place_of_user(user: User, sort: Sort) -> Place:
    """Return where a user stands in a list."""
    return (user.updated_at, user.user_id) if sort is Sort.CHANGED else (user.user_id,)


def _few(
    connection: Connection,
    which: Selection,
    of_monitors: Selection,
    classes: Sequence[MonitorCount],
    ways: ListWays,
) -> set[Key] | None:
    """The keys of users that hold all of the selection's; None if none of its filters is that rare."""
    if which.user_id:
        return {(which.user_id,)}
    found = few_users(connection, which, ways)
    if which.names_monitors:
        keys = few_monitors(connection, of_monitors, classes, ways)
        if keys is not None:
            owners: set[Key] = {(key[0],) for key, *_ in gathered(connection, of_monitors, keys)}
            found = owners if found is None else found & owners
    return found


def _sorted(connection: Connection, which: Selection, keys: set[Key], page: WantedPage) -> list[Place]:
    sort, after, descending, _ = page
    ids = sorted(key[0] for key in keys)
    needles = needles_of(which)
    places: list[Place] = []
    for user_id, plan, updated_at in rows_of_keys(connection, "user_id, plan, updated_at", "users", "user_id", ids):
        if which.plan in ("", plan) and all(needle in user_text(user_id) for needle in needles):
            places.append((updated_at, user_id) if sort is Sort.CHANGED else (user_id,))
    if which.names_monitors:
        places = _with_monitors(connection, which, places)
    if after is not None:
        places = [place for place in places if (place < after if descending else place > after)]
    return sorted(places, reverse=descending)


def _with_monitors(connection: Connection, which: Selection, places: list[Place]) -> list[Place]:
    """Those of users that have a monitor of the selection."""
    of_monitors = which._replace(contains="", prefix="")
    c = monitors.c
    kept: set[str] = set()
    ids = [place[-1] for place in places]
    for begin in range(0, len(ids), 500):
        wanted = conditions(of_monitors, connection.dialect.name)
        some = select(c.user_id).distinct().where(c.user_id.in_(ids[begin : begin + 500]), *wanted)
        kept.update(row[0] for row in connection.execute(some))
    return [place for place in places if place[-1] in kept]


def _by_class(
    connection: Connection, which: Selection, classes: Sequence[MonitorCount], wanted: WantedPage
) -> list[Place]:
    """Users of monitors of each class, from the index that has these in the order of users."""
    _, after, descending, limit = wanted
    c = monitors.c
    others = conditions(which, connection.dialect.name, by_class=False)
    pages = []
    for state, kind, plan, _ in classes:
        page = select(c.user_id).distinct().where(c.state == state, c.kind == kind, c.plan == plan, *others)
        if after is not None:
            page = page.where(c.user_id < after[0] if descending else c.user_id > after[0])
        pages.append(page.order_by(c.user_id.desc() if descending else c.user_id).limit(limit))
    merged = union_all(*(select(page.subquery()) for page in pages)).subquery()
    order = merged.c.user_id.desc() if descending else merged.c.user_id
    # a user may have monitors of several classes
    return _read(connection, select(merged.c.user_id).distinct().order_by(order).limit(limit))


def _page(
    columns: list[ColumnElement[Any]],
    wanted: list[ColumnElement[bool]],
    page: WantedPage,
) -> Select[*tuple[Any, ...]]:
    _, after, descending, limit = page
    if after is not None:
        place = tuple_(*columns)
        wanted = [*wanted, place < tuple_(*after) if descending else place > tuple_(*after)]
    order = [column.desc() if descending else column for column in columns]
    return select(*columns).where(*wanted).order_by(*order).limit(limit)


def _read(connection: Connection, statement: Select[*tuple[Any, ...]]) -> list[Place]:
    return [tuple(row) for row in connection.execute(statement)]
