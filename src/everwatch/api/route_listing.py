"""Routes of the notification rules: which users each reaches, and which of them take the alert of one monitor."""

from collections.abc import Sequence

import msgspec

from everwatch.api.alerting import NotifierDatabase
from everwatch.api.database import Database
from everwatch.api.incident_views import Listed
from everwatch.api.notifier_views import RoutesQuery, RouteView
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import narrowed
from everwatch.api.routing import Answer, Call
from everwatch.kinds.execution.targets import target_of_config
from everwatch.model import Monitor, State, Transition
from everwatch.notifier.alerts import AlertKind
from everwatch.notifier.incidents import after_transition, alert_of
from everwatch.notifier.listed_routes import ListedRoute
from everwatch.notifier.reaching import obstacle_of
from everwatch.notifier.route_reasons import OfferedRoute, RouteReason, reasons_of
from everwatch.notifier.routes import Audience, Match
from everwatch.notifier.storage import Work
from everwatch.plans.placeholders import PlaceholderUser

_UNKNOWN_USER = "the notifier does not know the user"
_OTHERS = "it is for other users"


class RouteListing:
    """Handler of ``/v1/routes``. ``alerts``: the notifier's database; ``database``: that of monitors."""

    def __init__(self, alerts: NotifierDatabase, database: Database) -> None:
        self._alerts = alerts
        self._database = database

    async def list(self, call: Call, query: RoutesQuery) -> Answer:
        """List the routes of the rules: whether each reaches a user or takes a monitor's alert, or why not."""
        own_user = call.principal.user_id
        user_id = narrowed(call.principal, query.user)
        monitor = await self._monitor(user_id, query.monitor) if query.monitor else None

        def look(work: Work) -> list[RouteView]:
            routes = work.routes()
            views = _views(work, routes, user_id, monitor) if user_id else [_view(each) for each in routes]
            return _of_own_user(views, own_user) if own_user else views

        found, reason = await self._alerts.look_if_there(look)
        return Answer(Listed(not reason, reason, False, found or []))

    async def _monitor(self, user_id: str, monitor_id: str) -> Monitor:
        if not user_id:
            raise Problem(422, "invalid", "A monitor is one of a user: name the user, too.")
        found = await self._database.ask(lambda reader: reader.monitor(user_id, monitor_id))
        if found is None:
            raise not_found(f"monitor {monitor_id!r} of user {user_id!r}")
        return found


def _views(work: Work, routes: Sequence[ListedRoute], user_id: str, monitor: Monitor | None) -> list[RouteView]:
    given = work.users([user_id]).get(user_id)
    verified = {each.contact_id for each in work.contacts_of([user_id]) if each.verified_at}
    given_up = {each.route: each for each in work.list_channels(user_id)}
    problems = {each.route: obstacle_of(each, given, verified, given_up) if given else _UNKNOWN_USER for each in routes}
    decisions = _decisions(routes, problems, given, monitor) if monitor is not None else {}
    return [
        _view(each, reaches=not problems[each.route], problem=problems[each.route], decision=decisions.get(each.route))
        for each in routes
    ]


def _decisions(
    routes: Sequence[ListedRoute], problems: dict[str, str], given: PlaceholderUser | None, monitor: Monitor
) -> dict[str, RouteReason]:
    """Return what each route decides on an alert that the monitor would raise now."""
    spec = monitor.spec
    failure = Transition(
        monitor.user_id,
        monitor.monitor_id,
        monitor.state_since,
        State.UP,
        monitor.state if monitor.state is State.LATE else State.DOWN,
        "",
        monitor.version,
        kind=spec.kind,
        target=target_of_config(spec.kind, spec.config),
        labels=dict(spec.labels),
    )
    incident = after_transition(None, failure).incident
    assert incident is not None  # a failure opens one
    alert = alert_of(incident, AlertKind.OPENED, failure.at)
    offered = [
        OfferedRoute(
            each.route,
            Audience(each.audience),
            msgspec.convert(each.match, Match),
            each.goes_on,
            each.after_ms,
            problems[each.route] if each.audience == Audience.USERS else "",
        )
        for each in routes
    ]
    return {each.route: each for each in reasons_of(offered, alert, given.plan if given else "")}


def _of_own_user(views: list[RouteView], user_id: str) -> list[RouteView]:
    """Leave out what a user's own token must not see: routes of operators, and of other users."""
    found = []
    for each in views:
        if each.belongs_to == "operator":
            continue
        users = each.match.get("user") or [user_id]
        hidden = {key: value for key, value in each.match.items() if key != "user"}
        reason = each.reason if each.takes is None or user_id in users else _OTHERS
        found.append(msgspec.structs.replace(each, match=hidden, reason=reason))
    return found


def _view(
    each: ListedRoute, *, reaches: bool | None = None, problem: str = "", decision: RouteReason | None = None
) -> RouteView:
    return RouteView(
        each.route,
        each.audience,
        each.sender,
        each.match,
        each.group_wait_ms,
        each.group_interval_ms,
        each.min_down_ms,
        each.goes_on,
        each.doubt,
        each.belongs_to,
        each.needs,
        reaches,
        problem,
        decision.takes if decision is not None else None,
        decision.reason if decision is not None else "",
    )
