"""Options of when something that is paused resumes."""

from typing import Annotated

import typer

from everwatch.cli.support.options import duration_of, instant_of
from everwatch.core.errors import SettingsError
from everwatch.schedule.instant import Bare

ResumeUntil = Annotated[
    str | None,
    typer.Option("--until", help="Resume automatically at INSTANT, or a duration from now.", show_default=False),
]
ResumeFor = Annotated[
    str | None, typer.Option("--for", help="Resume automatically after a duration, e.g. 2h.", show_default=False)
]


def resumed_at(until: str | None, for_: str | None, now: int) -> dict[str, int]:
    """The field that --until or --for of a pause gives a command; nothing without either. Raises SettingsError."""
    if until is not None and for_ is not None:
        raise SettingsError("Give one of --until and --for, not both.")
    if until is not None:
        return {"until": instant_of("--until", until, now, Bare.FUTURE)}
    return {} if for_ is None else {"until": now + duration_of("--for", for_)}
