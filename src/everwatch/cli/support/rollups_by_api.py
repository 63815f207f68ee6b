"""Roll-ups as rows, and as the HTTP API gives them."""

from collections.abc import Sequence
from typing import Literal

import msgspec
import orjson
import typer

from everwatch.cli.support.database_reading import print_columns
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.config import Settings
from everwatch.store.rollup_counts import RollupStep
from everwatch.store.selections import When

ROLLUP_HEADER = ("success", "failure", "late", "skipped", "mean", "p50", "p95", "p99")
MOST_PARTS = 1_000


def print_rollups_by_api(
    settings: Settings, user: str, monitor: str, step: Literal["hour", "day"], when: When, as_json: bool
) -> None:
    """Print roll-ups of a monitor. Raises ApiError."""
    from everwatch.api.queries import LatencyQuery
    from everwatch.cli.support.api_connection import api_client

    end = when.until or now_ms() + 1
    longest_ms = (MOST_PARTS - 1) * RollupStep[step.upper()].value
    query = LatencyQuery(step, max(when.since, end - longest_ms), end)
    with api_client(settings) as client:
        found = client.latency(user, monitor, query).items
    if as_json:
        for each in found:
            typer.echo(orjson.dumps({"user_id": user, "monitor_id": monitor} | msgspec.to_builtins(each)).decode())
        return
    print_columns(
        (step, *ROLLUP_HEADER),
        (
            rollup_row(
                each.at,
                (each.successes, each.failures, each.lates, each.skips),
                (each.mean_ms, each.p50_ms, each.p95_ms, each.p99_ms),
            )
            for each in found
        ),
    )


def rollup_row(at: int, counts: Sequence[int], durations_ms: Sequence[float | None]) -> tuple[str, ...]:
    """Return a roll-up as cells of a table."""
    shown = ("-" if each is None else f"{each:,.1f} ms" for each in durations_ms)
    return (time_text(at), *(f"{count:,}" for count in counts), *shown)
