"""Schedules in words, for people and for programs. Pure."""

from collections.abc import Callable

from everwatch.model import Align, At, Cron, Every, MonitorSpec
from everwatch.schedule.duration import format_duration


def schedule_words(spec: MonitorSpec, instant: Callable[[int], str]) -> str:
    """Describe a schedule: "every 6h from midnight in Europe/Berlin, 5 times at most".

    ``instant``: how instants are written.
    """
    bounds = [
        f"from {instant(spec.start_at)}" if spec.start_at else "",
        f"until {instant(spec.end_at)}" if spec.end_at else "",
        f"{spec.max_runs} times at most" if spec.max_runs else "",
    ]
    match spec.schedule:
        case At(at=at):
            words = f"once at {instant(at)}"
        case Every(interval_ms=interval_ms, align=align, timezone=timezone):
            words = f"every {format_duration(interval_ms)}"
            if align is Align.MIDNIGHT:
                words += f" from midnight in {timezone}"
            elif align is Align.EPOCH:
                words += " from midnight 1970 in UTC"
        case Cron(expression=expression, timezone=timezone, spread_ms=spread_ms):
            words = f"at {expression} in {timezone}"
            if spread_ms:
                words += f", spread over {format_duration(spread_ms)}"
    return ", ".join([words, *(bound for bound in bounds if bound)])
