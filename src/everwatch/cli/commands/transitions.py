"""``everwatch transitions``: changes of state and reminders, from the database or live from the topic."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import msgspec
import typer

from everwatch.cli.support.database_reading import AfterOption, reading, say_next
from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, settings_of
from everwatch.cli.support.output_reading import (
    FollowOption,
    LimitOption,
    MonitorOption,
    OutputSource,
    SinceOption,
    SourceOption,
    UntilOption,
    UserOption,
    from_topic,
    interval_of,
    live_events,
    newest,
    refuse_cursor_of_topic,
)
from everwatch.cli.support.time_display import time_text
from everwatch.core.config import Settings
from everwatch.encoding import codec
from everwatch.kafka.topics import Topics
from everwatch.model import State, Transition
from everwatch.operations import state_colours
from everwatch.rules.lifecycle import is_muted
from everwatch.store.interface import When


def transitions(
    user: UserOption = "",
    monitor: MonitorOption = "",
    state: Annotated[State | None, typer.Option(help="Only into this state.", show_default=False)] = None,
    alerts: Annotated[bool, typer.Option("--alerts", help="Only what a person is to be told of.")] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    kind: Annotated[str, typer.Option(help="Only of monitors of this kind, e.g. http.")] = "",
    plan: Annotated[str, typer.Option(help="Only of users with this plan.")] = "",
    target: Annotated[str, typer.Option(metavar="HOST", help="Only of monitors that check this host.")] = "",
    limit: LimitOption = 20,
    after: AfterOption = "",
    follow: FollowOption = False,
    source: SourceOption = OutputSource.DATABASE,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Print changes of state and reminders, the newest last; with --json one object a line.

    --alerts leaves out what nobody is told of: first successes, what owners pause, resume or change, and maintenance.

    Examples: `everwatch transitions --user u-1` · `everwatch transitions --follow --alerts`
    · `everwatch transitions --since 24h --limit 1000 --json | jq .reason`
    """
    refuse_cursor_of_topic(after, source, follow=follow)
    settings = settings_of(data_dir, bootstrap_servers)
    target = target.lower()
    when = When(*interval_of(since, until))
    show = partial(_print, as_json=as_json)
    wanted_state = "" if state is None else state.value

    def is_wanted(transition: Transition) -> bool:
        return (
            user in ("", transition.user_id)
            and monitor in ("", transition.monitor_id)
            and wanted_state in ("", transition.to_state)
            and kind in ("", transition.kind)
            and plan in ("", transition.plan)
            and target in ("", transition.target)
            and (transition.alert or not alerts)
            and when.since <= transition.at
            and (not when.until or transition.at < when.until)
        )

    if follow or source is OutputSource.TOPIC:
        read = filter(is_wanted, _read(settings, user, monitor, follow=follow))
        for transition in read if follow else newest(read, _when, limit):
            show(transition)
        return
    with reading(settings) as reader:
        found = reader.transitions(
            user,
            monitor,
            state=wanted_state,
            kind=kind,
            plan=plan,
            target=target,
            alerts=alerts,
            when=when,
            after=after,
            limit=limit,
        )
    for transition in reversed(found):
        show(transition)
    say_next(found.next)


def _read(settings: Settings, user: str, monitor: str, *, follow: bool) -> Iterator[Transition]:
    """Transitions of the topic; live ones through the API, if the settings name one."""
    if follow and settings.api_url:
        return (event.transition for event in live_events(settings, user, monitor, "transition") if event.transition)
    return from_topic(settings, Topics.of(settings).transitions, codec.decode_transition, follow=follow)


def _print(transition: Transition, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(transition).decode())
        return
    state = typer.style(transition.to_state.value, fg=state_colours.OF_STATE.get(transition.to_state))
    change = f"still {state}" if transition.reminder else f"{transition.from_state.value} → {state}"
    quiet = "  (in maintenance)" if is_muted(transition) else ""
    typer.echo(
        f"{time_text(transition.at)}  {transition.user_id}/{transition.monitor_id}  {change}{quiet}"
        f"  {transition.reason}".rstrip()
    )


def _when(transition: Transition) -> int:
    return transition.at
