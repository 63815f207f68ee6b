"""``everwatch notify``: which routes sent alerts of a monitor."""

import orjson
import typer
from msgspec import to_builtins

from everwatch.api.incident_views import EventView
from everwatch.cli.support.notifier_by_api import notifications_by_api
from everwatch.cli.support.notifier_reading import reading_notifier
from everwatch.cli.support.options import AsJson, DataDir, MonitorArgument, UserArgument, settings_of
from everwatch.cli.support.time_display import time_text
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.incidents import Incident

MOST_EXPLAINED = 20


def explain(user: UserArgument, monitor: MonitorArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show which routes sent alerts of a monitor's newest changes, or why none did.

    First successes, pauses and resumes are no alerts and are not listed.

    Example: `everwatch notify explain u-1 shop`
    """
    settings = settings_of(data_dir)
    incident: Incident | None
    ack: Acknowledgement | None
    events: list[EventView]
    if settings.api_url:
        told = notifications_by_api(settings, user, monitor)
        incident, ack = told.incident, told.incident.ack if told.incident else None
        events = told.events[:MOST_EXPLAINED][::-1]
    else:
        with reading_notifier(settings) as storage, storage.look() as work:
            incident = work.incidents([(user, monitor)]).get((user, monitor))
            events = [
                EventView(t.at, t.from_state.value, t.to_state.value, t.reminder, verdict)
                for t, _, verdict in work.verdicts(user, monitor, MOST_EXPLAINED)[::-1]
            ]
            ack = work.acks([incident.incident_id]).get(incident.incident_id) if incident is not None else None
    if as_json:
        shown = {"incident": to_builtins(incident), "ack": to_builtins(ack), "events": to_builtins(events)}
        typer.echo(orjson.dumps(shown).decode())
        return
    if incident is None:
        typer.echo(f"The notifier knows no incident of {user}/{monitor}.")
    else:
        since = time_text(incident.opened_at)
        typer.echo(f"Incident {incident.incident_id}: {incident.phase.value}, {incident.state} by {incident.reason!r},")
        typer.echo(f"  opened {since}, severity {incident.severity.value}")
        if ack is not None:
            what = f"snoozed until {time_text(ack.snoozed_until)}" if ack.snoozed_until else "acknowledged"
            typer.echo(f"  {what}{f' by {ack.acked_by}' if ack.acked_by else ''} at {time_text(ack.acked_at)}")
    for event in events:
        change = f"still {event.to_state}" if event.reminder else f"{event.from_state} → {event.to_state}"
        typer.echo(f"{time_text(event.at)}  {change}  {event.verdict or 'waits to be judged'}")
