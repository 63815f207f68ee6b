"""``everwatch notify``: open incidents, acknowledgements, and messages that are to be sent again."""

from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer
from msgspec import convert, to_builtins

from everwatch.api.notifier_views import ReplayBody
from everwatch.cli.support.api_connection import api_client
from everwatch.cli.support.notifier_by_api import replay_by_api
from everwatch.cli.support.notifier_reading import reading_notifier
from everwatch.cli.support.options import AsJson, DataDir, MonitorArgument, UserArgument, instant_of, settings_of
from everwatch.cli.support.output_reading import LimitOption
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.notifier.acknowledging import LONGEST_SNOOZE_MS, SHORTEST_SNOOZE_MS, Acknowledgement
from everwatch.notifier.executor_outages import ExecutorOutage
from everwatch.notifier.incidents import Incident, Phase
from everwatch.notifier.storage import Work, open_storage
from everwatch.notifier.target_incidents import TargetIncident
from everwatch.schedule.duration import parse_duration_ms
from everwatch.schedule.instant import Bare

ByOption = Annotated[
    str, typer.Option("--by", help="Name of the person, shown to others; with --api the token's name.")
]
_REPLAYED = ("dead", "skipped", "sent")


class OpenPhase(StrEnum):
    """The phases of an incident that is not closed."""

    OPEN = Phase.OPEN.value
    FLAPPING = Phase.FLAPPING.value


def incidents(
    user: Annotated[str, typer.Option("--user", help="Only this user's monitors.")] = "",
    phase: Annotated[
        OpenPhase | None, typer.Option("--phase", help="Only monitors in this phase.", show_default=False)
    ] = None,
    limit: LimitOption = 100,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List open incidents: of executors, of targets, and of monitors.

    Examples: `everwatch notify incidents` · `everwatch notify incidents --user u-1 --json`
    · `everwatch notify incidents --phase flapping`
    """
    of_monitors_only = bool(user or phase)
    settings = settings_of(data_dir)
    executors: list[ExecutorOutage] = []
    targets: list[TargetIncident] = []
    if settings.api_url:
        with api_client(settings) as client:
            listed = client.incidents(user, limit, phase.value if phase else "")
            if not listed.available:
                raise EverwatchError(f"Incidents are not known: {listed.reason}.")
            found: Sequence[Incident] = listed.items
            acks = {each.incident_id: each.ack for each in listed.items if each.ack is not None}
            if not of_monitors_only:
                shared = client.shared_incidents()
                executors, targets = shared.executors, shared.targets[:limit]
    else:
        with reading_notifier(settings) as storage, storage.look() as work:
            if not of_monitors_only:
                executors = [each for each in work.outages().values() if each.is_open]
                targets = work.open_targets(limit)
            found = work.open_incidents(user, limit, phase=Phase(phase.value) if phase else None)
            acks = work.acks({incident.incident_id for incident in found})
    if as_json:
        told: dict[str, Any] = {
            "executors": [to_builtins(each) for each in executors],
            "targets": [to_builtins(each) for each in targets],
            "monitors": [to_builtins(each) | {"ack": to_builtins(acks.get(each.incident_id))} for each in found],
        }
        typer.echo(orjson.dumps(told).decode())
        return
    for outage in executors:
        typer.echo(
            f"{time_text(outage.began_at)}  executor {outage.executor}  in doubt: {outage.percent} % of its targets"
            f" out of reach, {outage.doubted} monitors"
        )
    for target in targets:
        typer.echo(f"{time_text(target.opened_at)}  target {target.target}  {target.failing} monitors")
    for incident in found:
        typer.echo(_line(incident, acks.get(incident.incident_id)))
    if not executors and not targets and not found:
        typer.echo("no open incidents")


def ack(
    user: UserArgument,
    monitor: MonitorArgument,
    by: ByOption = "",
    undo: Annotated[bool, typer.Option("--undo", help="Undo it: reminders and escalations resume.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Acknowledge a monitor's open incident: no more reminders and escalations. Its end is still sent.

    Examples: `everwatch notify ack u-1 shop --by ada` · `everwatch notify ack u-1 shop --undo`
    """
    settings = settings_of(data_dir)
    incident: Incident
    if settings.api_url:
        check_no_name(by)
        with api_client(settings) as client:
            incident = client.withdraw_ack(user, monitor) if undo else client.acknowledge(user, monitor)
    else:
        with closing(open_storage(settings)) as storage, storage.begin() as work:
            incident = _open_incident(work, user, monitor)
            if undo:
                work.delete_acks([incident.incident_id])
            else:
                work.put_ack(Acknowledgement(incident.incident_id, user, monitor, now_ms(), by))
    if undo:
        typer.echo(f"not acknowledged any more: {user}/{monitor}")
    else:
        typer.echo(f"acknowledged: {user}/{monitor}, {incident.state} since {time_text(incident.opened_at)}")


def snooze(
    user: UserArgument,
    monitor: MonitorArgument,
    duration: Annotated[str, typer.Option("--for", help="Duration, such as 2h.", show_default=False)],
    by: ByOption = "",
    data_dir: DataDir = None,
) -> None:
    """Send nothing of a monitor's open incident but its end for a while; a reminder follows if it lasts longer.

    Example: `everwatch notify snooze u-1 shop --for 2h --by ada`
    """
    try:
        length_ms = parse_duration_ms(duration)
    except ValueError as error:
        raise SettingsError(f"--for: {error}") from None
    if not SHORTEST_SNOOZE_MS <= length_ms <= LONGEST_SNOOZE_MS:
        raise SettingsError("--for is between 1 s and 30 days.")
    settings, now = settings_of(data_dir), now_ms()
    incident: Incident
    if settings.api_url:
        check_no_name(by)
        with api_client(settings) as client:
            incident = client.snooze(user, monitor, duration)
    else:
        with closing(open_storage(settings)) as storage, storage.begin() as work:
            incident = _open_incident(work, user, monitor)
            work.put_ack(Acknowledgement(incident.incident_id, user, monitor, now, by, now + length_ms))
    typer.echo(f"snoozed until {time_text(now + length_ms)}: {user}/{monitor}, {incident.state}")


def replay(
    since: Annotated[
        str, typer.Option("--since", help="Only messages made since INSTANT, or a duration ago, e.g. 2h.")
    ],
    state: Annotated[str, typer.Option("--state", help="State of the messages: dead, skipped or sent.")] = "dead",
    route: Annotated[str, typer.Option("--route", help="Only this route.")] = "",
    user: Annotated[str, typer.Option("--user", help="Only this user's own messages.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Send messages again, under the same ids, such as those that a receiver refused while it was set up wrongly.

    Examples: `everwatch notify replay --since 2h` · `everwatch notify replay --since 1d --route hook --state sent`
    """
    if state not in _REPLAYED:
        raise SettingsError(f"--state is one of {', '.join(_REPLAYED)}, not {state!r}.")
    settings, now = settings_of(data_dir), now_ms()
    after = instant_of("--since", since, now, Bare.PAST)
    if settings.api_url:
        body = convert({"since": after, "state": state, "route": route, "user": user}, ReplayBody)
        count = replay_by_api(settings, body)
    else:
        with closing(open_storage(settings)) as storage, storage.begin() as work:
            count = work.replay(state, after, route, user, now)
    typer.echo(f"{count} message{'' if count == 1 else 's'} will be sent again")


def check_no_name(by: str) -> None:
    """Refuse a name with a command that goes through the API. Raises SettingsError."""
    if by:
        raise SettingsError("Omit --by with --api: the API notes the name of the token.")


def _open_incident(work: Work, user: str, monitor: str) -> Incident:
    incident = work.incidents([(user, monitor)]).get((user, monitor))
    if incident is None or not incident.is_open:
        raise EverwatchError(f"{user}/{monitor} has no open incident.")
    return incident


def _line(incident: Incident, ack: Acknowledgement | None) -> str:
    seen = ""
    if ack is not None:
        what = f"snoozed until {time_text(ack.snoozed_until)}" if ack.snoozed_until else "acknowledged"
        seen = f"  {what}{f' by {ack.acked_by}' if ack.acked_by else ''}"
    return (
        f"{time_text(incident.opened_at)}  {incident.user_id}/{incident.monitor_id}  {incident.state}"
        f" ({incident.phase.value}, {incident.severity.value}){seen}  {incident.reason}"
    )
