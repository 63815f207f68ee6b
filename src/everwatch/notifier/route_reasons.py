"""Why each route takes an alert, or the first condition that it does not meet. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from everwatch.notifier.alerts import Alert
from everwatch.notifier.routes import AlertRoute, Audience, Match


class OfferedRoute(NamedTuple):
    """A route that an alert is offered to. ``after_ms``: it is an escalation, sent after so long; 0: it is none.

    ``problem``: why it has no receiver, "" if it has one.
    """

    route: str
    audience: Audience
    match: Match
    goes_on: bool
    after_ms: int
    problem: str


def offered(route: AlertRoute, problem: str) -> OfferedRoute:
    """Return a route of the rules as an alert is offered to it."""
    return OfferedRoute(route.name, route.audience, route.match, route.goes_on, route.timing.after_ms, problem)


class RouteReason(msgspec.Struct, frozen=True):
    """Decision of a route on an alert; ``reason``: the first condition that was not met, or a word on the decision."""

    route: str
    takes: bool
    reason: str


def reasons_of(routes: Iterable[OfferedRoute], alert: Alert, plan: str) -> list[RouteReason]:
    """Return what each route decides on an alert, in the order in which they are tried, as ``Rules.routes_of`` does."""
    found: list[RouteReason] = []
    done: dict[Audience, str] = {}
    for each in routes:
        before = "" if each.after_ms else done.get(each.audience, "")
        reason = f"route {before} takes it and does not continue" if before else missed(each.match, alert, plan)
        reason = reason or each.problem
        if reason:
            found.append(RouteReason(each.route, takes=False, reason=reason))
            continue
        if each.after_ms:
            told = f"once the incident has lasted {each.after_ms // 1000} s and nobody has acknowledged it"
        elif each.goes_on:
            told = "and lets it go on"
        else:
            told, done[each.audience] = "and ends the search", each.route
        found.append(RouteReason(each.route, takes=True, reason=told))
    return found


def missed(match: Match, alert: Alert, plan: str) -> str:
    """Return a sentence on the first condition of ``match`` that an alert does not meet, "" if it meets all."""
    name = match.unmet(alert, plan)
    key = name.removeprefix("label ")
    given: dict[str, tuple[str, Sequence[str]]] = {
        "": ("", ()),
        "plan": (plan, match.plan),
        "user": (alert.user_id, match.user),
        "kind": (alert.monitor_kind, match.kind),
        "target": (alert.target, match.target),
        "severity": (alert.severity.value, [each.value for each in match.severity]),
    }
    value, wanted = given[name] if name in given else (alert.labels.get(key, ""), [match.label[key]])
    return f"{name} is {value or 'not given'}, and the route takes {' or '.join(wanted)}" if name else ""
