"""Routes of notification rules as ``everwatch notify`` prints them."""

import orjson
import typer
from msgspec import to_builtins

from everwatch.cli.support.database_reading import print_columns
from everwatch.model import Cron
from everwatch.notifier.route_rows import listed_routes
from everwatch.notifier.routes import AlertRoute, Rules
from everwatch.notifier.timing import Timing
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
            _when(route.timing),
            format_duration(route.timing.wait_ms),
            format_duration(route.timing.interval_ms),
            "yes" if route.goes_on else "no",
        )
        for route in rules.routes
    ]
    print_columns(("route", "for", "sender", "takes", "when", "group_wait", "group_interval", "continue"), rows)


def _when(timing: Timing) -> str:
    """When a route sends, apart from the waits that it has columns for."""
    parts = []
    if timing.after_ms:
        parts.append(f"not acknowledged after {format_duration(timing.after_ms)}")
    if timing.min_down_ms:
        parts.append(f"down for {format_duration(timing.min_down_ms)}")
    if timing.digest is not None:
        parts.append(f"digest {timing.digest.expression} {timing.digest.timezone}")
    if timing.quiet is not None:
        begins, ends = map(_time_of_day, (timing.quiet.begins, timing.quiet.ends))
        parts.append(f"not from {begins} to {ends} {timing.quiet.begins.timezone}")
    return "; ".join(parts) or "-"


def _time_of_day(cron: Cron) -> str:
    minute, hour, *_ = cron.expression.split()
    return f"{int(hour):02}:{int(minute):02}"


def _matched(route: AlertRoute) -> str:
    match = to_builtins(route.match)
    return "; ".join(f"{key} {value}" for key, value in match.items() if value) or "everything"
