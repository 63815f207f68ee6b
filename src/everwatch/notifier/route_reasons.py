"""Why each route takes an alert, or the first condition that it does not meet. Pure."""

from collections.abc import Callable, Sequence

import msgspec

from everwatch.notifier.alerts import Alert
from everwatch.notifier.routes import AlertRoute, Audience, Match, Rules


class RouteReason(msgspec.Struct, frozen=True):
    """Decision of a route on an alert; ``reason``: the first condition that was not met, or a word on the decision."""

    route: str
    takes: bool
    reason: str


def reasons_of(rules: Rules, alert: Alert, plan: str, problem_of: Callable[[AlertRoute], str]) -> list[RouteReason]:
    """Return what each route decides on an alert, in the order in which they are tried, as ``Rules.routes_of`` does.

    ``problem_of``: why a route reaches nobody, "" if it does.
    """
    found: list[RouteReason] = []
    done: dict[Audience, str] = {}
    for route in rules.routes:
        before = "" if route.is_escalation else done.get(route.audience, "")
        reason = f"route {before} takes it and does not continue" if before else missed(route.match, alert, plan)
        reason = reason or problem_of(route)
        if reason:
            found.append(RouteReason(route.name, takes=False, reason=reason))
            continue
        if route.is_escalation:
            told = f"once the incident has lasted {route.timing.after_ms // 1000} s and nobody has acknowledged it"
        elif route.goes_on:
            told = "and lets it go on"
        else:
            told, done[route.audience] = "and ends the search", route.name
        found.append(RouteReason(route.name, takes=True, reason=told))
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
