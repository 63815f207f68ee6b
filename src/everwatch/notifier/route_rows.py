"""Rows of the routes of the rules: the API has no rules of its own, whose secrets are for the notifier alone."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Dialect, delete, select

from everwatch.notifier.listed_routes import ListedRoute
from everwatch.notifier.routes import VERIFIED_SENDERS, AlertRoute, Audience, Rules
from everwatch.notifier.rows import Rows, insert_once
from everwatch.notifier.tables import notifier_routes
from everwatch.plans.placeholders import Name, texts_of

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
            _owner_of(route),
            sorted({name.attribute for name in _names(route) if name.attribute and name.default is None}),
            rules.contacts.verify and route.audience is Audience.USERS and route.sender in VERIFIED_SENDERS,
            _mailbox_of(route),
            route.timing.after_ms,
        )
        for route in rules.routes
    ]


def _owner_of(route: AlertRoute) -> str:
    """Return the owner of the address of a route."""
    if route.audience is Audience.OPERATORS:
        return "operator"
    return "plan" if route.match.plan else "user"


def _names(route: AlertRoute) -> list[Name]:
    return [name for text in texts_of(route.target) for name in text.names]


def _mailbox_of(route: AlertRoute) -> str:
    """The attribute that is the whole mail address or number of a route; "" if none is."""
    texts = [text for text in texts_of(route.target) if text.names] if route.sender in VERIFIED_SENDERS else []
    whole = [text.whole for text in texts if text.whole is not None]
    return whole[0].attribute if len(texts) == len(whole) == 1 else ""


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
