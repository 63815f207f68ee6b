"""``everwatch notify explain``: the fate of a monitor's changes, and each rule's decision."""

import orjson
import typer
from msgspec import to_builtins

from everwatch.api.incident_views import EventView
from everwatch.cli.support.database_reading import print_columns
from everwatch.cli.support.notifier_by_api import decisions_by_api, notifications_by_api
from everwatch.cli.support.notifier_reading import problem_of, reading_notifier, rules_in
from everwatch.cli.support.options import AsJson, DataDir, MonitorArgument, UserArgument, settings_of
from everwatch.cli.support.time_display import time_text
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.alerts import AlertKind
from everwatch.notifier.incidents import Incident, alert_of
from everwatch.notifier.route_reasons import RouteReason, offered, reasons_of
from everwatch.notifier.routes import Rules
from everwatch.notifier.storage import Work

MOST_EXPLAINED = 20


def explain(user: UserArgument, monitor: MonitorArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the fate of a monitor's newest changes, and each rule's decision on an alert of its incident.

    Of a route that does not take it, the first condition that is not met is shown. The rules are those of
    EVERWATCH_NOTIFY_FILE as it is now; with --api, those that the notifier goes by.
    First successes, pauses and resumes are no alerts and are not listed.

    Example: `everwatch notify explain u-1 shop`
    """
    settings = settings_of(data_dir)
    incident: Incident | None
    ack: Acknowledgement | None
    events: list[EventView]
    reasons: list[RouteReason] = []
    rules = None
    if settings.api_url:
        told = notifications_by_api(settings, user, monitor)
        incident, ack = told.incident, told.incident.ack if told.incident else None
        events = told.events[:MOST_EXPLAINED][::-1]
        if incident is not None:
            reasons = decisions_by_api(settings, user, monitor)
    else:
        rules = rules_in(settings) if settings.notify_file is not None else None
        with reading_notifier(settings) as storage, storage.look() as work:
            incident = work.incidents([(user, monitor)]).get((user, monitor))
            events = [
                EventView(t.at, t.from_state.value, t.to_state.value, t.reminder, verdict)
                for t, _, verdict in work.verdicts(user, monitor, MOST_EXPLAINED)[::-1]
            ]
            ack = work.acks([incident.incident_id]).get(incident.incident_id) if incident is not None else None
            reasons = _reasons(work, rules, incident) if rules is not None and incident is not None else []
    if as_json:
        shown = {"incident": to_builtins(incident), "ack": to_builtins(ack), "events": to_builtins(events)}
        typer.echo(orjson.dumps(shown | {"routes": to_builtins(reasons)}).decode())
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
    if reasons:
        typer.echo()
        rows = [(each.route, "takes it" if each.takes else "no", each.reason) for each in reasons]
        print_columns(("route", "an alert of it", "why"), rows)
    elif rules is None and incident is not None and not settings.api_url:
        typer.echo("EVERWATCH_NOTIFY_FILE names no file of rules, so what each of them decides is not shown.")


def _reasons(work: Work, rules: Rules, incident: Incident) -> list[RouteReason]:
    user = work.users([incident.user_id]).get(incident.user_id)
    alert = alert_of(incident, AlertKind.OPENED, incident.changed_at)
    routes = [offered(route, problem_of(work, rules, route, user)) for route in rules.routes]
    return reasons_of(routes, alert, user.plan if user is not None else "")
