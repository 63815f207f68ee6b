"""Pages of monitors, by filter and order.

Where a filter is rare (few fit: a label, a host, a part of a name, or a state of few in an order that no index has),
all keys that fit are gathered and sorted. Else a page is read from an index that is in the order of the list: of each
class (state, kind and plan) that fits, of each state, or of all; there, what fits is frequent, and the page is soon
full.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, exists, literal_column, select, tuple_, union_all

from everwatch.model import Monitor
from everwatch.store import row_mapping
from everwatch.store.counters import read_counts
from everwatch.store.keyed import rows_of_keys
from everwatch.store.paging import Sort
from everwatch.store.queries.matching import Facts, is_selected
from everwatch.store.queries.sets import USUAL_WAYS, Key, ListWays, Place, WantedPage, few_monitors, holds
from everwatch.store.search import needles_of
from everwatch.store.selections import Selection
from everwatch.store.sql_schema import monitor_labels, monitor_search, monitors
from everwatch.store.stored_values import MonitorCount

_c = monitors.c
_ORDERS: dict[Sort, ColumnElement[int]] = {Sort.STATE_SINCE: _c.state_since, Sort.CHANGED: _c.changed_at}
_label_list = msgspec.json.Decoder(tuple[tuple[str, str], ...])


def monitor_places(
    connection: Connection, which: Selection, page: WantedPage, ways: ListWays = USUAL_WAYS
) -> list[Place]:
    """Return the places of a page's monitors, in order."""
    classes = classes_of(connection, which)
    if not classes:
        return []
    if not which.user_id:
        in_order = _is_in_order_of_classes(which, page.sort, classes, ways)
        few = few_monitors(connection, which, () if in_order else classes, ways)
        if few is not None and page.sort is Sort.ID:
            return _first_by_id(connection, which, few, page)
        if few is not None:
            return _sorted(gathered(connection, which, few), page)[: page.limit]
    return _Walk(connection, which, page).places(classes, ways)


def _is_in_order_of_classes(which: Selection, sort: Sort, classes: Sequence[MonitorCount], ways: ListWays) -> bool:
    """Tell whether an index has the monitors of these classes in the order of the list, so that none need be sorted."""
    if sort is Sort.ID:
        return len(classes) <= ways.classes
    return sort is Sort.STATE_SINCE and not (which.kind or which.plan)


def _first_by_id(connection: Connection, which: Selection, few: set[Key], page: WantedPage) -> list[Place]:
    """Return the first of these keys that a selection has; no more of them are looked at than that takes."""
    _, after, descending, limit = page
    keys = sorted((k for k in few if after is None or (k < after if descending else k > after)), reverse=descending)
    found: list[Place] = []
    for begin in range(0, len(keys), 2 * limit):
        some = gathered(connection, which, set(keys[begin : begin + 2 * limit]))
        found += sorted((key for key, *_ in some), reverse=descending)
        if len(found) >= limit:
            break
    return found[:limit]


def classes_of(connection: Connection, which: Selection) -> list[MonitorCount]:
    """Return the classes that a selection's state, kind and plan leave, with how many monitors each has."""
    return [
        each
        for each in read_counts(connection).monitors
        if which.state in ("", each.state) and which.kind in ("", each.kind) and which.plan in ("", each.plan)
    ]


def gathered(connection: Connection, which: Selection, keys: set[Key]) -> list[tuple[Key, int, int]]:
    """Return those of the keys that a selection has, with ``state_since`` and ``changed_at``."""
    columns = "user_id, monitor_id, state, kind, plan, target, name, labels, state_since, changed_at"
    found = rows_of_keys(connection, columns, "monitors", "user_id, monitor_id", sorted(keys))
    wanted: list[tuple[Key, int, int]] = []
    for user_id, monitor_id, state, kind, plan, target, name, labels, state_since, changed_at in found:
        held = dict(_label_list.decode(labels)) if labels != "[]" else {}
        if is_selected(which, Facts(user_id, monitor_id, state, kind, plan, target, name, held)):
            wanted.append(((user_id, monitor_id), state_since, changed_at))
    return wanted


def place_of_monitor(monitor: Monitor, sort: Sort) -> Place:
    """Return where a monitor stands in a list."""
    instant = {Sort.STATE_SINCE: (monitor.state_since,), Sort.CHANGED: (row_mapping.changed_at(monitor),)}.get(sort, ())
    return (*instant, monitor.user_id, monitor.monitor_id)


def monitors_at(connection: Connection, places: Sequence[Place]) -> list[Any]:
    """Return the monitors of these places, in order; one that is gone is left out."""
    names = ", ".join(_c.keys())
    found = rows_of_keys(connection, names, "monitors", "user_id, monitor_id", [tuple(p[-2:]) for p in places])
    by_key = {(row[0], row[1]): row for row in found}
    return [row_mapping.monitor(by_key[key]) for key in (tuple(place[-2:]) for place in places) if key in by_key]


def conditions(which: Selection, dialect: str, *, by_class: bool = True) -> list[ColumnElement[bool]]:
    """The conditions of a selection, for a statement that an index of another column leads.

    ``by_class`` False: without state, kind and plan.
    """
    found: list[ColumnElement[bool]] = []
    of_class = ((_c.state, which.state), (_c.kind, which.kind), (_c.plan, which.plan)) if by_class else ()
    for column, value in (*of_class, (_c.target, which.target)):
        if value:
            found.append(_unindexed(column, dialect) == value)
    for key, value in which.labels:
        labels = monitor_labels.alias().c
        same = exists().where(labels.user_id == _c.user_id, labels.monitor_id == _c.monitor_id, labels.key == key)
        found.append(same if value is None else same.where(labels.value == value))
    if needles := needles_of(which):
        search = monitor_search.alias().c
        own = select(search.text).where(search.user_id == _c.user_id, search.monitor_id == _c.monitor_id)
        # a scalar: each monitor's own text is looked at, whatever the planner makes of joins
        found += [holds(own.scalar_subquery(), needle, dialect) for needle in needles]
    return found


class _Walk:
    """Reads a page from an index that is in the order of the list."""

    def __init__(self, connection: Connection, which: Selection, page: WantedPage) -> None:
        sort, after, descending, limit = page
        self._connection = connection
        self._dialect = connection.dialect.name
        self._which = which
        self._sort = sort
        self._limit = limit
        order = _ORDERS.get(sort)
        self._columns: list[ColumnElement[Any]] = [*([] if order is None else [order]), _c.user_id, _c.monitor_id]
        self._order = [column.desc() if descending else column for column in self._columns]
        self._descending = descending
        self._after = after
        self._behind: list[ColumnElement[bool]] = []
        if after is not None:
            place = tuple_(*self._columns)
            self._behind = [place < tuple_(*after) if descending else place > tuple_(*after)]

    def places(self, classes: Sequence[MonitorCount], ways: ListWays) -> list[Place]:
        """The places of the page's monitors, in order."""
        which = self._which
        narrowed = bool(which.state or which.kind or which.plan)
        if which.user_id:
            # the user's own, by the key; they are sorted
            own = [_c.user_id == which.user_id, *conditions(which, self._dialect)]
            return self._read([self._page(*own)])
        if self._sort is Sort.ID and narrowed and len(classes) <= ways.classes:
            others = conditions(which, self._dialect, by_class=False)
            return self._read(
                [
                    self._page(_c.state == state, _c.kind == kind, _c.plan == plan, *others)
                    for state, kind, plan, _ in classes
                ]
            )
        if self._sort is Sort.STATE_SINCE:
            others = conditions(which._replace(state=""), self._dialect)
            return self._read([self._page(_c.state == state, *others) for state in sorted({c.state for c in classes})])
        if self._sort is Sort.ID and not narrowed and (which.target or which.labels):
            return self._read([self._by_host() if which.target else self._by_label()])
        return self._read([self._page(*conditions(which, self._dialect))])

    def _page(self, *wanted: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
        return select(*self._columns).where(*wanted, *self._behind).order_by(*self._order).limit(self._limit)

    def _by_host(self) -> Select[*tuple[Any, ...]]:
        others = conditions(self._which._replace(target=""), self._dialect)
        return self._page(_c.target == self._which.target, _c.target != literal_column("''"), *others)

    def _by_label(self) -> Select[*tuple[Any, ...]]:
        """Led by the first label with a value, whose index has the keys in order."""
        leading = next((label for label in self._which.labels if label[1] is not None), None)
        if leading is None:
            return self._page(*conditions(self._which, self._dialect))
        others = tuple(label for label in self._which.labels if label != leading)
        wanted = conditions(self._which._replace(labels=others), self._dialect)
        labels = monitor_labels.alias("leading").c
        page = select(labels.user_id, labels.monitor_id).where(labels.key == leading[0], labels.value == leading[1])
        if wanted:
            is_wanted = exists().where(_c.user_id == labels.user_id, _c.monitor_id == labels.monitor_id, *wanted)
            page = page.where(is_wanted.correlate(labels.user_id.table))
        columns = (labels.user_id, labels.monitor_id)
        if self._after is not None:
            place, after = tuple_(*columns), tuple_(*self._after)
            page = page.where(place < after if self._descending else place > after)
        return page.order_by(*(c.desc() if self._descending else c for c in columns)).limit(self._limit)

    def _read(self, pages: list[Select[*tuple[Any, ...]]]) -> list[Place]:
        if len(pages) == 1:
            return [tuple(row) for row in self._connection.execute(pages[0])]
        merged = union_all(*(select(page.subquery()) for page in pages)).subquery()
        order = [column.desc() if self._descending else column for column in merged.c]
        statement = select(merged).order_by(*order).limit(self._limit)
        return [tuple(row) for row in self._connection.execute(statement)]


def _sorted(found: list[tuple[Key, int, int]], page: WantedPage) -> list[Place]:
    sort, after, descending, _ = page
    places: list[Place] = []
    for key, state_since, changed_at in found:
        instant = {Sort.STATE_SINCE: (state_since,), Sort.CHANGED: (changed_at,)}.get(sort, ())
        places.append((*instant, *key))
    if after is not None:
        places = [place for place in places if (place < after if descending else place > after)]
    return sorted(places, reverse=descending)


def _unindexed(column: ColumnElement[str], dialect: str) -> ColumnElement[str]:
    # an expression, so that SQLite, which knows nothing of how many there are, takes no index that is out of order
    return column + literal_column("''") if dialect == "sqlite" else column
