"""Rows of the routes of the rules: the API has no rules of its own, whose secrets are for the notifier alone."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Dialect, delete, select

from everwatch.notifier.listed_routes import ListedRoute
from everwatch.notifier.routes import Rules
from everwatch.notifier.rows import Rows, insert_once
from everwatch.notifier.tables import notifier_routes

_route = notifier_routes.c


def listed_routes(rules: Rules) -> list[ListedRoute]:
    """Return the routes in the order in which they are tried."""
    return [
        ListedRoute(
            route.name,
            route.audience.value,
            route.sender,
            msgspec.to_builtins(route.match),
            route.timing.wait_ms,
            route.timing.interval_ms,
            route.timing.min_down_ms,
            route.goes_on,
            route.doubt.value,
        )
        for route in rules.routes
    ]


class RouteStatements:
    """Statements of ``RouteRows``, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.put = insert_once(notifier_routes, dialect)


class RouteRows(Rows):
    """The routes of the rules that the notifier goes by."""

    _routes: RouteStatements

    def put_routes(self, routes: Sequence[ListedRoute]) -> None:
        """Store the routes in place of those there were."""
        if self.routes() == list(routes):
            return
        self._connection.execute(delete(notifier_routes))
        rows = [(each.route, place, msgspec.json.encode(each).decode()) for place, each in enumerate(routes)]
        self._routes.put.run(self._connection, rows)

    def routes(self) -> list[ListedRoute]:
        """Return the routes in the order in which they are tried."""
        rows = self._connection.execute(select(_route.document).order_by(_route.place))
        return [msgspec.json.decode(document, type=ListedRoute) for (document,) in rows]
