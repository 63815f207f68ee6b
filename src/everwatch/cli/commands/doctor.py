"""``everwatch doctor``: the faults of the system, each with its remedy."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from everwatch.cli.support.api_refusals import not_by_api
from everwatch.cli.support.options import (
    AsJson,
    Bootstrap,
    DataDir,
    broker_of,
    clients_of,
    duration_of,
    fitted,
    settings_of,
)
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.kafka.process_rights import ProcessRole

if TYPE_CHECKING:
    from everwatch.diagnosis import Finding

RECENT = "10m"


def doctor(
    recent: Annotated[str, typer.Option(help="Dead letters and lost executors of that time are a fault.")] = RECENT,
    processes: Annotated[
        list[ProcessRole] | None, typer.Option("--for", help="Process that runs as this Kafka user; default: all.")
    ] = None,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Check broker, topics, workers, executors, sink, database, disk and clocks; exit status 1: a fault.

    On a secured Kafka it tests the files of TLS, the connection, the user and each right that a process needs; run it
    with the settings of each process that has a user of its own (`--for executor`).

    Each fault is a line with its remedy: a process that is gone, frozen, locked out or behind, a partition without an
    owner or that cannot be read, recent dead letters, a disk that is nearly full.

    Through the API (--api) its process makes the checks, those that are about the whole system.

    Examples: `everwatch doctor` · `everwatch doctor --json | jq '.[] | select(.ok | not)'`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    if settings.api_url and (recent != RECENT or processes):
        raise not_by_api("A check with --recent or --for", "the API makes one check for all who ask")
    recent_ms = duration_of("--recent", recent)
    findings = []
    for finding in _found_by_api(settings) if settings.api_url else _found(settings, recent_ms, processes):
        findings.append(finding)
        if not as_json:
            colour = typer.colors.GREEN if finding.ok else typer.colors.RED
            mark = typer.style("ok " if finding.ok else "BAD", fg=colour)
            end = "" if finding.says.endswith((".", "?")) else "."
            told = f"{finding.says}{end} {finding.remedy}" if finding.remedy else finding.says
            typer.echo(f"{mark} {finding.name:<12} {told}")
    if as_json:
        typer.echo(orjson.dumps([finding._asdict() for finding in findings]).decode())
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _found(settings: Settings, recent_ms: int, processes: list[ProcessRole] | None) -> Iterator["Finding"]:
    from everwatch.diagnosis import System, diagnose  # SQLAlchemy takes a while to import
    from everwatch.diagnosis.system import ANSWERS_WITHIN_S

    of = tuple(processes or ProcessRole)
    with suppress(EverwatchError):  # of a broker that does not answer, or refuses, the checks say so
        settings = fitted(settings, clients_of(settings).admin(), timeout_s=ANSWERS_WITHIN_S)
    yield from diagnose(System(settings, broker_of(settings), SystemClock(), recent_ms=recent_ms, processes=of))


def _found_by_api(settings: Settings) -> Iterator["Finding"]:
    from everwatch.cli.support.api_connection import api_client
    from everwatch.diagnosis.finding import Finding

    with api_client(settings) as client:
        # the API answers within moments, with what was found last
        while (view := client.diagnosis()).running:
            pass
    yield from (Finding(each.name, each.ok, each.says, each.remedy) for each in view.findings)
