"""``everwatch doctor``: what is wrong with the system, and what to do about it."""

import orjson
import typer

from everwatch.cli.options import AsJson, Bootstrap, DataDir, broker_of, settings_of
from everwatch.clock import SystemClock


def doctor(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Check broker, topics, processes, database, disk and clocks; exit status 1 if something is wrong.

    Each fault is a line with its remedy.

    Examples: `everwatch doctor` · `everwatch doctor --json | jq '.[] | select(.ok | not)'`
    """
    from everwatch.diagnosis import System, diagnose  # SQLAlchemy takes a while to import

    settings = settings_of(data_dir, bootstrap_servers)
    findings = []
    for finding in diagnose(System(settings, broker_of(settings), SystemClock())):
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
