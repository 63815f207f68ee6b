"""``everwatch plans``: look at a file of plans before a worker does."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from msgspec import to_builtins
from rich.console import Console
from rich.table import Table

from everwatch.api.rendering import plan_views
from everwatch.api.state_views import PlanView
from everwatch.cli.support import global_options, options
from everwatch.cli.support.global_options import CommandReach
from everwatch.cli.support.options import AsJson, ShowSecrets, settings_of
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError, WrongPlans
from everwatch.kinds.execution.config_secrets import redacted_monitor
from everwatch.model import MonitorSpec
from everwatch.plans.placeholders import PlaceholderUser
from everwatch.plans.plan import Plan, Plans
from everwatch.plans.plans_parser import plans_of, read_file
from everwatch.rules.admission import admit_signup
from everwatch.schedule.duration import format_duration

app = typer.Typer(
    no_args_is_help=True, help="Check a file of plans, show the signup that it makes of a user, and the plans in force."
)


@app.callback()
def _note_reach(context: typer.Context) -> None:
    # a file is read here; which plans are in force is asked of the API, where one is named
    if context.invoked_subcommand == "list":
        global_options.COMMAND.set(("plans", CommandReach.API))


File = Annotated[Path, typer.Argument(metavar="FILE", help="TOML file of plans.", show_default=False)]


@app.command()
def check(file: File, as_json: AsJson = False) -> None:
    """List each plan with its monitors and quotas, or the first thing that is wrong; exit status 1 then.

    Example: `everwatch plans check plans.toml`
    """
    try:
        plans = _read(file)
    except WrongPlans as error:
        if as_json:
            wrong = {"plan": error.plan, "field": error.field, "reason": error.reason}
            typer.echo(orjson.dumps({"file": str(file), "ok": False, "wrong": wrong, "plans": []}).decode())
            raise typer.Exit(1) from None
        raise
    found = [_told(plan) for plan in plans.all.values()]
    if as_json:
        typer.echo(orjson.dumps({"file": str(file), "ok": True, "wrong": None, "plans": found}).decode())
        return
    table = Table("plan", "monitors", "needs attributes", "max_monitors", "shortest_interval", "regions", "keeps")
    for plan in found:
        monitors = ", ".join(f"{each['monitor_id'] or '(by user)'} ({each['kind']})" for each in plan["monitors"])
        table.add_row(
            plan["plan"],
            monitors or "none",
            ", ".join(plan["attributes"]) or "none",
            "-" if plan["max_monitors"] is None else str(plan["max_monitors"]),
            plan["shortest_interval"] or "-",
            f"{', '.join(plan['regions'])} ({plan['quorum']})" if plan["regions"] else "-",
            ", ".join(f"{kind} {f'{days} d' if days else 'for good'}" for kind, days in plan["keep"].items()) or "-",
        )
    Console().print(table)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the plans that are in force: those of EVERWATCH_PLANS_FILE, or through the API (--api) those of its process.

    Examples: `everwatch plans list` · `everwatch --api https://everwatch.example plans list --json`
    """
    settings = settings_of()
    found = _by_api(settings) if settings.api_url else _in_force(settings)
    if as_json:
        typer.echo(orjson.dumps([to_builtins(each) for each in found]).decode())
        return
    if not found:
        typer.echo("no plans are in force: a plan is only a word")
        return
    table = Table("plan", "monitors", "max monitors", "shortest interval", "weight", "attributes")
    for each in found:
        shortest = each.shortest_interval_ms
        table.add_row(
            each.plan,
            ", ".join(name or "…" for name in each.monitors),
            "-" if each.max_monitors is None else str(each.max_monitors),
            "-" if shortest is None else format_duration(shortest),
            str(each.weight),
            ", ".join(each.required_attributes),
        )
    Console().print(table)


def _by_api(settings: Settings) -> list[PlanView]:
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        return client.plans().items


def _in_force(settings: Settings) -> list[PlanView]:
    plans = options.plans_of(settings)
    return [] if plans is None else plan_views(plans)


@app.command()
def show(
    file: File,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's name.", show_default=False)],
    user_id: Annotated[str, typer.Option("--user-id", help="The user's id.")] = "u-1",
    attributes: Annotated[str, typer.Option("--attributes", metavar="JSON", help="The user's attributes.")] = "{}",
    secrets: ShowSecrets = False,
) -> None:
    """Print the monitors that a signup with this plan gets, as JSON, in the form of a signup.

    Exit status 1 where the signup would be refused.

    Example: `everwatch plans show plans.toml pro --user-id u-1 --attributes '{"site": "https://example.com"}'`
    """
    plans = _read(file)
    try:
        values = orjson.loads(attributes)
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"--attributes wants a JSON object: {error}.") from None
    if not isinstance(values, dict):
        raise SettingsError('--attributes wants a JSON object, such as \'{"site": "https://example.com"}\'.')
    signup = admit_signup(orjson.dumps({"user_id": user_id, "plan": plan, "attributes": values}), plans=plans)
    found = plans.named(plan)
    monitors = found.filled(PlaceholderUser(signup.user_id, plan, signup.attributes)) if found else []
    monitors = [_in_regions(each, spec) for each, spec in zip(monitors, signup.monitors, strict=True)]
    if not secrets:
        monitors = list(map(redacted_monitor, monitors))
    typer.echo(orjson.dumps(monitors, option=orjson.OPT_INDENT_2).decode())


def _read(file: Path) -> Plans:
    return plans_of(read_file(file)[0], file)


def _in_regions(monitor: dict[str, Any], spec: MonitorSpec) -> dict[str, Any]:
    """Return the monitor with the regions that it has from its plan."""
    policy = monitor.get("policy", {})
    if not spec.policy.regions or policy.get("regions"):
        return monitor
    return monitor | {"policy": policy | {"regions": spec.policy.regions, "quorum": spec.policy.quorum}}


def _told(plan: Plan) -> dict[str, Any]:
    limits = plan.limits
    return {
        "plan": plan.name,
        "monitors": [{"monitor_id": each.monitor_id, "kind": each.kind} for each in plan.monitors],
        "attributes": plan.required,
        "max_monitors": limits.max_monitors,
        "shortest_interval": None if limits.shortest_ms is None else format_duration(limits.shortest_ms),
        "regions": limits.regions,
        "quorum": limits.quorum,
        "keep": dict(plan.keep),
    }
