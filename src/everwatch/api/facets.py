"""Numbers of monitors by state, kind and plan, under the filters of a list."""

from collections.abc import Iterator
from typing import NamedTuple

from everwatch.api.database import Database
from everwatch.api.queries import FacetsQuery, labelled, narrowed, selection_of
from everwatch.api.routing import Answer, Call
from everwatch.api.state_views import FacetsView
from everwatch.model import State
from everwatch.store import Reader
from everwatch.store.selections import Selection
from everwatch.store.stored_values import MonitorCount

MOST_COUNTED = 5_000
"""Monitors that are read one by one, where counters do not have the number."""
_PAGE = 1_000


class Counted(NamedTuple):
    """Monitors by state, kind and plan ("" where that is not known); ``complete``: all of them."""

    monitors: list[MonitorCount]
    complete: bool


class Facets:
    """Handler of ``/v1/monitors/facets``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def facets(self, call: Call, query: FacetsQuery) -> Answer:
        """Count monitors by state, kind and plan, each under what the other filters say."""
        which = labelled(call.principal, selection_of(query, narrowed(call.principal, query.user)))
        by_counters = which == Selection(state=which.state, kind=which.kind, plan=which.plan)
        # each facet leaves its own filter out, so state and kind are counted afterwards
        others = which._replace(state="", kind="")
        counted = await self._database.ask(_by_counters if by_counters else lambda reader: _one_by_one(reader, others))
        plan = which.plan if by_counters else ""
        of_states = _summed(counted, "state", kind=which.kind, plan=plan)
        of_kinds = _summed(counted, "kind", state=which.state, plan=plan)
        plans = _summed(counted, "plan", state=which.state, kind=which.kind) if by_counters else None
        return Answer(
            FacetsView({State(name): number for name, number in of_states.items()}, of_kinds, plans, counted.complete)
        )


def _by_counters(reader: Reader) -> Counted:
    return Counted(list(reader.catalogue_counts().monitors), True)


def _one_by_one(reader: Reader, which: Selection) -> Counted:
    found: dict[tuple[str, str], int] = {}
    after, looked = "", 0
    while looked < MOST_COUNTED:
        page = reader.list_monitors(which, after, limit=_PAGE)
        for monitor in page:
            kind = monitor.state.value, monitor.spec.kind
            found[kind] = found.get(kind, 0) + 1
        looked, after = looked + len(page), page.next
        if not after:
            break
    return Counted([MonitorCount(state, kind, "", number) for (state, kind), number in found.items()], not after)


def _summed(counted: Counted, by: str, **filters: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in _fitting(counted, filters):
        name = getattr(each, by)
        found[name] = found.get(name, 0) + each.monitors
    return found


def _fitting(counted: Counted, filters: dict[str, str]) -> Iterator[MonitorCount]:
    for each in counted.monitors:
        if all(value in ("", getattr(each, name)) for name, value in filters.items()):
            yield each
