"""``everwatch notify rota``: the people on call, and their shifts."""

from typing import Annotated

import orjson
import typer

from everwatch.cli.support.database_reading import print_columns
from everwatch.cli.support.notifier_reading import rules_in
from everwatch.cli.support.options import AsJson, settings_of
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.errors import SettingsError
from everwatch.notifier.rotas import calendar_of
from everwatch.schedule.duration import DAY_MS


def rota(
    name: Annotated[str, typer.Argument(metavar="ROTA", help="Name of the rota.", show_default=False)],
    days: Annotated[int, typer.Option("--days", min=1, max=3_660, help="Number of days from now.")] = 14,
    ical: Annotated[bool, typer.Option("--ical", help="Print an iCalendar file.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the shifts of an on-call rota from now on, the one that is on first.

    Examples: `everwatch notify rota ops` · `everwatch notify rota ops --days 90 --ical > on-call.ics`
    """
    rotas = {each.name: each for each in rules_in(settings_of(None)).rotas}
    if name not in rotas:
        known = ", ".join(rotas) or "none"
        raise SettingsError(f"There is no rota {name!r} in the notification rules; there is {known}.")
    now = now_ms()
    shifts = rotas[name].shifts(now, now + days * DAY_MS)
    if ical:
        typer.echo(calendar_of(rotas[name], shifts, now), nl=False)
    elif as_json:
        for shift in shifts:
            typer.echo(orjson.dumps(shift._asdict()).decode())
    else:
        rows = [(shift.person, time_text(shift.begins_at), time_text(shift.ends_at)) for shift in shifts]
        print_columns(("on call", "from", "to"), rows)
