"""``everwatch monitor``: put, change, pause and list monitors, set maintenance of one."""

from typing import Annotated, Any, NamedTuple

import typer

from everwatch.cli.commands import lists, monitor_set, monitor_try
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    Config,
    DocumentOptions,
    MonitorArgument,
    MonitorArguments,
    NamingOptions,
    Payload,
    PolicyOption,
    UserArgument,
    documents_of,
    pairs_of,
)
from everwatch.cli.support.resume_options import ResumeFor, ResumeUntil, resumed_at
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.schedule_options import ScheduleOptions, schedule_of, with_schedule
from everwatch.cli.support.sending import Sending, account_here, send, with_sending
from everwatch.core.errors import SettingsError

app = typer.Typer(
    no_args_is_help=True, help="Put, try, change, pause, maintain, resume, run, delete and list monitors."
)


class KindOptions(NamedTuple):
    """Options of what a monitor does when it is due."""

    kind: Annotated[str, typer.Option(help="Kind of the monitor: http, tcp, heartbeat, …; see docs/kinds.md.")]
    config: Config = None
    payload: Payload = None
    policy: PolicyOption = None

    @property
    def documents(self) -> DocumentOptions:
        """The options that are JSON documents."""
        return DocumentOptions(self.config, self.payload, self.policy)


@app.command()
@with_sending
@with_schedule
@with_options(which=MonitorArguments, task=KindOptions, naming=NamingOptions)
def put(
    which: MonitorArguments,
    task: KindOptions,
    schedule: ScheduleOptions,
    naming: NamingOptions,
    if_version: Annotated[
        int | None,
        typer.Option(min=0, help="Refuse unless the monitor is at this version; 0: unless there is none."),
    ] = None,
    *,
    sending: Sending,
) -> None:
    """Put a monitor, or change the one of that name. Signing up again leaves it alone.

    Examples: `everwatch monitor put u-1 site --kind http --config '{"url": "https://example.com"}' --every 30s --wait`
    · `everwatch monitor put u-1 site --kind http --config @site.json --policy '{"retries": {"max": 3}}' --if-version 1`
    """
    fields = documents_of(task.documents)
    if naming.name is not None:
        fields["name"] = naming.name
    if naming.label:
        fields["labels"] = pairs_of("--label", "KEY=VALUE", naming.label, empty=True)
    wanted: dict[str, Any] = {
        "command": "put",
        "user_id": which.user,
        "monitor_id": which.monitor,
        "monitor": {"kind": task.kind, "schedule": schedule_of(schedule), **fields},
    }
    if if_version is not None:
        wanted["if_version"] = if_version
    send(wanted, sending)


@app.command()
@with_sending
def delete(
    user: UserArgument,
    monitor: MonitorArgument,
    *,
    sending: Sending,
) -> None:
    """Delete a monitor; its results stay.

    Example: `everwatch monitor delete u-1 site --wait`
    """
    send({"command": "delete", "user_id": user, "monitor_id": monitor}, sending)


@app.command()
@with_sending
def pause(
    user: UserArgument,
    monitor: MonitorArgument,
    until: ResumeUntil = None,
    for_: ResumeFor = None,
    reason: Annotated[str, typer.Option(help="Why, for people; the monitor's state and history show it.")] = "",
    *,
    sending: Sending,
) -> None:
    """Pause a monitor: until it is resumed, or for a while.

    Its reason ends with the account that runs this and the host, as in "new disks, by ann@ops-1".

    Examples: `everwatch monitor pause u-1 site --reason "new disks"` ·
    `everwatch monitor pause u-1 site --for 2h --wait` ·
    `everwatch monitor pause u-1 site --until 2026-11-21T09:00:00+01:00`
    """
    until_ms = resumed_at(until, for_, now_ms())
    why = f"{reason}, by {account_here()}" if reason else f"by {account_here()}"
    send({"command": "pause", "user_id": user, "monitor_id": monitor, "reason": why} | until_ms, sending)


@app.command()
@with_sending
def resume(
    user: UserArgument,
    monitor: MonitorArgument,
    *,
    sending: Sending,
) -> None:
    """Resume a paused monitor.

    Example: `everwatch monitor resume u-1 site --wait`
    """
    send({"command": "resume", "user_id": user, "monitor_id": monitor}, sending)


class MaintenanceEnd(NamedTuple):
    """Options of when maintenance is over, and why it is."""

    until: Annotated[
        str | None,
        typer.Option("--until", help="When it is over: INSTANT, or a duration from now.", show_default=False),
    ] = None
    for_: Annotated[
        str | None, typer.Option("--for", help="How long it takes from now on, e.g. 2h.", show_default=False)
    ] = None
    none: Annotated[bool, typer.Option("--none", help="End it.")] = False
    reason: Annotated[str, typer.Option(help="Why, for people; `everwatch explain` shows it.")] = ""


@app.command()
@with_sending
@with_options(end=MaintenanceEnd)
def maintain(
    user: UserArgument,
    monitor: MonitorArgument,
    *,
    end: MaintenanceEnd,
    sending: Sending,
) -> None:
    """Put a monitor into maintenance from now on: checks still run, alerts are suppressed.

    It replaces the one that was asked for before. Windows of the monitor's policy, and those of its user, stay. A put
    or a signup leaves it as it is.

    Examples: `everwatch monitor maintain u-1 site --for 2h --reason "new disks" --wait` ·
    `everwatch monitor maintain u-1 site --none`
    """
    until, for_, none, reason = end
    if (until is not None) + (for_ is not None) + none != 1 or (none and reason):
        raise SettingsError("Give one of --until, --for and --none; --reason goes with the first two.")
    until_ms = resumed_at(until, for_, now_ms())
    why = {"reason": reason} if reason else {}
    send({"command": "maintain", "user_id": user, "monitor_id": monitor} | until_ms | why, sending)


@app.command("run-now")
@with_sending
def run_now(
    user: UserArgument,
    monitor: MonitorArgument,
    *,
    sending: Sending,
) -> None:
    """Run a monitor once, beside its schedule. The answer says that it was started; the result comes as any other.

    Example: `everwatch monitor run-now u-1 site --wait && everwatch results --user u-1 --monitor site --follow`
    """
    send({"command": "run_now", "user_id": user, "monitor_id": monitor}, sending)


app.command("try")(monitor_try.try_monitor)
app.command("set")(monitor_set.set_)
app.command("list")(lists.list_monitors)
