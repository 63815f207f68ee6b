"""Routes of notification rules as ``everwatch notify`` prints them."""

import orjson
import typer
from msgspec import to_builtins

from everwatch.cli.support.database_reading import print_columns
from everwatch.notifier.route_rows import listed_routes
from everwatch.notifier.routes import AlertRoute, Rules
from everwatch.schedule.duration import format_duration


def print_routes(rules: Rules, as_json: bool) -> None:
    """Print a row for each route in the order in which they are tried, or all as one JSON array."""
    if as_json:
        typer.echo(orjson.dumps([to_builtins(route) for route in listed_routes(rules)]).decode())
        return
    rows = [
        (
            route.name,
            route.audience.value,
            route.sender,
            _matched(route),
            format_duration(route.timing.wait_ms),
            format_duration(route.timing.interval_ms),
            "yes" if route.goes_on else "no",
        )
        for route in rules.routes
    ]
    print_columns(("route", "for", "sender", "takes", "group_wait", "group_interval", "continue"), rows)


def _matched(route: AlertRoute) -> str:
    match = to_builtins(route.match)
    return "; ".join(f"{key} {value}" for key, value in match.items() if value) or "everything"
