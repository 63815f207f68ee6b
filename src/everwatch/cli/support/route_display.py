"""Routes of notification rules as ``everwatch notify`` prints them."""

from typing import Any

import orjson
import typer
from msgspec import to_builtins

from everwatch.cli.support.database_reading import print_columns
from everwatch.notifier.routes import AlertRoute, Rules
from everwatch.schedule.duration import format_duration


def print_routes(rules: Rules, as_json: bool) -> None:
    """Print a row for each route in the order in which they are tried, or all as one JSON array."""
    if as_json:
        typer.echo(orjson.dumps([_as_json(route) for route in rules.routes]).decode())
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


def _as_json(route: AlertRoute) -> dict[str, Any]:
    return {
        "route": route.name,
        "for": route.audience.value,
        "sender": route.sender,
        "match": to_builtins(route.match),
        "group_wait_ms": route.timing.wait_ms,
        "group_interval_ms": route.timing.interval_ms,
        "min_down_ms": route.timing.min_down_ms,
        "continue": route.goes_on,
        "doubt": route.doubt.value,
    }


def _matched(route: AlertRoute) -> str:
    match = to_builtins(route.match)
    return "; ".join(f"{key} {value}" for key, value in match.items() if value) or "everything"
