"""``everwatch user``: lists, pauses, plan and attributes, maintenance, deregistration."""

from collections import Counter
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
import typer

from everwatch.cli.commands import lists, purge
from everwatch.cli.support.database_reading import no_user, reading
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    AsJson,
    DataDir,
    UserArgument,
    duration_of,
    instant_of,
    pairs_of,
    settings_of,
)
from everwatch.cli.support.resume_options import ResumeFor, ResumeUntil, resumed_at
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.schedule_options import maintenance_text
from everwatch.cli.support.sending import Sending, send, with_sending
from everwatch.cli.support.time_display import time_text
from everwatch.core.errors import SettingsError
from everwatch.model import State
from everwatch.schedule.instant import Bare
from everwatch.schedule.maintenance import maintenance_end

app = typer.Typer(
    no_args_is_help=True, help="List and show users, pause, change, end and purge them, set maintenance windows."
)


@app.command()
@with_sending
def deregister(
    user: UserArgument,
    *,
    sending: Sending,
) -> None:
    """End a user and all its monitors and pending tasks; results stay.

    Example: `everwatch user deregister u-1 --wait`
    """
    send({"command": "deregister", "user_id": user}, sending)


@app.command()
@with_sending
def pause(
    user: UserArgument,
    until: ResumeUntil = None,
    for_: ResumeFor = None,
    *,
    sending: Sending,
) -> None:
    """Pause all monitors and pending tasks that a user has now; those put later run.

    A monitor that was paused individually stays paused, also when the user is resumed.

    Examples: `everwatch user pause u-1 --wait` · `everwatch user pause u-1 --for 2h`
    """
    until_ms = resumed_at(until, for_, now_ms())
    send({"command": "pause_user", "user_id": user} | until_ms, sending)


@app.command()
@with_sending
def resume(user: UserArgument, *, sending: Sending) -> None:
    """Resume what a pause of the user paused; a monitor that was paused individually stays paused.

    Example: `everwatch user resume u-1 --wait`
    """
    send({"command": "resume_user", "user_id": user}, sending)


@app.command("set")
@with_sending
def set_(
    user: UserArgument,
    plan: Annotated[str | None, typer.Option(help="The user's new plan.", show_default=False)] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.", show_default=False)] = None,
    remove_attribute: Annotated[
        list[str] | None, typer.Option(help="NAME of an attribute that goes; repeatable.", show_default=False)
    ] = None,
    contact: Annotated[
        list[str] | None, typer.Option(help="NAME=ADDRESS, such as email=ada@example.com; repeatable.")
    ] = None,
    *,
    sending: Sending,
) -> None:
    """Change a user's plan, contacts or single attributes; all else stays: attributes, own monitors, maintenance.

    The monitors of the old plan give way to those of the new one. (`everwatch signup` states the whole registration.)

    Examples: `everwatch user set u-1 --plan gold --wait` · `everwatch user set u-1 --attribute city=Bern`
    · `everwatch user set u-1 --contact email=ada@example.com`
    """
    wanted: dict[str, Any] = {"command": "set_user", "user_id": user}
    if plan is not None:
        wanted["plan"] = plan
    if attribute:
        wanted["attributes"] = pairs_of("--attribute", "NAME=VALUE", attribute, empty=True)
    if contact:
        wanted["contacts"] = pairs_of("--contact", "NAME=ADDRESS", contact)
    if remove_attribute:
        wanted["remove_attributes"] = remove_attribute
    send(wanted, sending)


class WindowOptions(NamedTuple):
    """Options of maintenance windows: one, those of a cron expression, or none."""

    start: Annotated[
        str | None,
        typer.Option(
            "--from", help="When a window begins: INSTANT, or a duration from now; default: now.", show_default=False
        ),
    ] = None
    for_: Annotated[str | None, typer.Option("--for", help="How long that window is, e.g. 2h.", show_default=False)] = (
        None
    )
    cron: Annotated[
        str | None, typer.Option(help="Five cron fields: a window begins each time.", show_default=False)
    ] = None
    timezone: Annotated[
        str | None, typer.Option(help="Time zone of --cron, e.g. Europe/Berlin; default: UTC.", show_default=False)
    ] = None
    duration: Annotated[
        str | None, typer.Option(help="How long each of those windows is, e.g. 2h.", show_default=False)
    ] = None
    none: Annotated[bool, typer.Option("--none", help="Remove all maintenance windows.")] = False


@app.command()
@with_sending
@with_options(windows=WindowOptions)
def maintain(
    user: UserArgument,
    windows: WindowOptions,
    *,
    sending: Sending,
) -> None:
    """Give a user a maintenance window in place of those there were: checks still run, alerts are suppressed.

    Examples: `everwatch user maintain u-1 --for 2h` ·
    `everwatch user maintain u-1 --from 2026-11-21T22:00:00+01:00 --for 2h` ·
    `everwatch user maintain u-1 --cron "0 2 * * 6" --timezone Europe/Berlin --duration 2h` ·
    `everwatch user maintain u-1 --none`
    """
    wanted = {"command": "maintain", "user_id": user, "maintenance": _windows(*windows)}
    send(wanted, sending)


def _windows(
    start: str | None, for_: str | None, cron: str | None, timezone: str | None, duration: str | None, none: bool
) -> list[dict[str, Any]]:
    """The windows that these options mean. Raises SettingsError."""
    once = start is not None or for_ is not None
    again = cron is not None or timezone is not None or duration is not None
    if once + again + none != 1:
        raise SettingsError("Give one of --for (with or without --from), --cron with --duration, and --none.")
    if none:
        return []
    if again:
        if cron is None or duration is None:
            raise SettingsError("--cron and --duration go together.")
        return [{"cron": cron, "duration": duration} | ({} if timezone is None else {"timezone": timezone})]
    if for_ is None:
        raise SettingsError("--from needs --for, which says how long.")
    now = now_ms()
    begin = now if start is None else instant_of("--from", start, now, Bare.FUTURE)
    return [{"start": begin, "end": begin + duration_of("--for", for_)}]


@app.command()
def show(user: UserArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a user as the database has it: plan, attributes, maintenance, and how many monitors are in which state.

    Examples: `everwatch user show u-1` · `everwatch user show u-1 --json | jq .monitors`
    """
    now = now_ms()
    with reading(settings_of(data_dir)) as reader:
        found = reader.user(user)
        counted = Counter(monitor.state for monitor in reader.monitors(user))
    if found is None:
        raise no_user(user)
    states = {state.value: counted[state] for state in State if counted[state]}
    maintained_until = maintenance_end(found.maintenance, now)
    if as_json:
        known = msgspec.to_builtins(found)
        typer.echo(orjson.dumps(known | {"maintained_until": maintained_until, "monitors": states}).decode())
        return
    typer.echo(f"user         {found.user_id}")
    typer.echo(f"plan         {found.plan}")
    typer.echo(f"registered   {time_text(found.registered_at)}, changed {time_text(found.updated_at)}")
    if found.attributes:
        typer.echo(f"attributes   {orjson.dumps(found.attributes).decode()}")
    for window in found.maintenance:
        typer.echo(f"maintenance  {maintenance_text(window)}")
    if maintained_until:
        typer.echo(f"maintained   now, until {time_text(maintained_until)}")
    of_each = ", ".join(f"{count} {state}" for state, count in states.items())
    typer.echo(f"monitors     {counted.total()}" + (f": {of_each}" if of_each else ""))


app.command("list")(lists.list_users)
app.command("purge")(purge.purge)
