"""``everwatch doctor``: what is wrong with the system, and what to do about it."""

from typing import Annotated

import orjson
import typer

from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, broker_of, duration_of, settings_of
from everwatch.core.clock import SystemClock
from everwatch.kafka.process_rights import ProcessRole


def doctor(
    recent: Annotated[str, typer.Option(help="Dead letters younger than that are a fault.")] = "10m",
    processes: Annotated[
        list[ProcessRole] | None, typer.Option("--for", help="What runs as this Kafka user; default: all.")
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

    Examples: `everwatch doctor` · `everwatch doctor --json | jq '.[] | select(.ok | not)'`
    """
    from everwatch.diagnosis import System, diagnose  # SQLAlchemy takes a while to import

    settings = settings_of(data_dir, bootstrap_servers)
    system = System(
        settings,
        broker_of(settings),
        SystemClock(),
        recent_ms=duration_of("--recent", recent),
        processes=tuple(processes or ProcessRole),
    )
    findings = []
    for finding in diagnose(system):
        findings.append(finding)
        if not as_json:
            colour = typer.colors.GREEN if finding.ok else typer.colors.RED
            mark = typer.style("ok " if finding.ok else "BAD", fg=colour)
            remedy = f". {finding.remedy}" if finding.remedy else ""
            typer.echo(f"{mark} {finding.name:<12} {finding.says}{remedy}")
    if as_json:
        typer.echo(orjson.dumps([finding._asdict() for finding in findings]).decode())
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
