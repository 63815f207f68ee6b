"""``everwatch monitor``: put, change and show one monitor."""

from typing import Annotated, Any

import orjson
import typer

from everwatch.cli.commanding import Sending, send, with_sending
from everwatch.cli.options import (
    AsJson,
    Config,
    DataDir,
    MonitorArgument,
    Payload,
    PolicyOption,
    UserArgument,
    duration_of,
    json_of,
    settings_of,
)
from everwatch.cli.schedules import (
    AlignOption,
    AtOption,
    CronOption,
    EndAtOption,
    EveryOption,
    InOption,
    MaxRunsOption,
    ScheduleOptions,
    SpreadOption,
    StartAtOption,
    TimezoneOption,
    schedule_of,
    schedule_text,
)
from everwatch.cli.stored import database, no_user, print_columns
from everwatch.clock import SystemClock
from everwatch.errors import SettingsError
from everwatch.model import Monitor
from everwatch.schedule.due import upcoming
from everwatch.schedule.instant import instant_text

app = typer.Typer(no_args_is_help=True, help="Put, pause, resume, run, delete and list single monitors.")


@app.command()
@with_sending
def put(
    user: UserArgument,
    monitor: MonitorArgument,
    kind: Annotated[str, typer.Option(help="What is checked: http, tcp, heartbeat, …; see docs/kinds.md.")],
    config: Config = None,
    every: EveryOption = None,
    cron: CronOption = None,
    timezone: TimezoneOption = None,
    at: AtOption = None,
    in_: InOption = None,
    align: AlignOption = None,
    spread: SpreadOption = None,
    start_at: StartAtOption = None,
    end_at: EndAtOption = None,
    max_runs: MaxRunsOption = None,
    payload: Payload = None,
    policy: PolicyOption = None,
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
    schedule = schedule_of(ScheduleOptions(every, cron, timezone, at, in_, align, spread, start_at, end_at, max_runs))
    given = json_of("--config", config) | json_of("--payload", payload) | json_of("--policy", policy)
    wanted: dict[str, Any] = {
        "command": "put",
        "user_id": user,
        "monitor_id": monitor,
        "monitor": {"kind": kind, "schedule": schedule, **given},
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
    until: Annotated[str | None, typer.Option(help="Resume by itself at INSTANT.", show_default=False)] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="Resume by itself after so long, e.g. 2h.", show_default=False)
    ] = None,
    *,
    sending: Sending,
) -> None:
    """Pause a monitor: until it is resumed, or for a while.

    Examples: `everwatch monitor pause u-1 site` · `everwatch monitor pause u-1 site --for 2h --wait` ·
    `everwatch monitor pause u-1 site --until 2026-11-21T09:00:00+01:00`
    """
    if until is not None and for_ is not None:
        raise SettingsError("Give one of --until and --for, not both.")
    wanted: dict[str, Any] = {"command": "pause", "user_id": user, "monitor_id": monitor}
    if until is not None:
        wanted["until"] = until
    elif for_ is not None:
        wanted["until"] = SystemClock().now_ms() + duration_of("--for", for_)
    send(wanted, sending)


@app.command()
@with_sending
def resume(
    user: UserArgument,
    monitor: MonitorArgument,
    *,
    sending: Sending,
) -> None:
    """Let a paused monitor run again.

    Example: `everwatch monitor resume u-1 site --wait`
    """
    send({"command": "resume", "user_id": user, "monitor_id": monitor}, sending)


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


@app.command("list")
def list_(user: UserArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List a user's monitors as the database has them, and when each runs next; with --json one object a line.

    Examples: `everwatch monitor list u-1` · `everwatch monitor list u-1 --json | jq .state`
    """
    now = SystemClock().now_ms()
    with database(settings_of(data_dir)) as reader:
        monitors = reader.monitors(user)
        if not monitors and reader.user(user) is None:
            raise no_user(user)
    if as_json:
        for monitor in monitors:
            typer.echo(orjson.dumps(_listed(monitor, now)).decode())
    elif monitors:
        header = ("monitor", "kind", "state", "since", "schedule", "next run")
        print_columns(header, (_row(monitor, now) for monitor in monitors))
    else:
        typer.echo(f"{user} has no monitors")


def _listed(monitor: Monitor, now: int) -> dict[str, Any]:
    coming = upcoming(monitor, now, 1)
    return {
        "monitor_id": monitor.monitor_id,
        "kind": monitor.spec.kind,
        "state": monitor.state.value,
        "state_since": monitor.state_since,
        "reason": monitor.reason,
        "version": monitor.version,
        "schedule": schedule_text(monitor.spec),
        "next_run": coming[0] if coming else None,
    }


def _row(monitor: Monitor, now: int) -> tuple[str, ...]:
    coming = upcoming(monitor, now, 1)
    return (
        monitor.monitor_id,
        monitor.spec.kind,
        monitor.state.value,
        instant_text(monitor.state_since),
        schedule_text(monitor.spec),
        instant_text(coming[0]) if coming else "-",
    )
