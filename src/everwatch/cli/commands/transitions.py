"""``everwatch transitions``: changes of state and reminders, from the database or live from the topic."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from everwatch.cli.support.output_reading import Output, OutputOptions, show_output, with_output
from everwatch.cli.support.time_display import time_text
from everwatch.encoding import codec
from everwatch.model import State, Transition
from everwatch.operations import state_colours
from everwatch.rules.lifecycle import is_muted
from everwatch.store import Reader
from everwatch.store.selections import TransitionSelection, When

if TYPE_CHECKING:
    from everwatch.cli.support.api_reading import ApiReader


@with_output
def transitions(
    state: Annotated[State | None, typer.Option(help="Only into this state.", show_default=False)] = None,
    alerts: Annotated[bool, typer.Option("--alerts", help="Only those that raise an alert.")] = False,
    plan: Annotated[str, typer.Option(help="Only of users with this plan.")] = "",
    target: Annotated[str, typer.Option(metavar="HOST", help="Only of monitors that check this host.")] = "",
    *,
    options: OutputOptions,
) -> None:
    """Print changes of state and reminders, the newest last; with --json one object a line.

    --alerts leaves out what raises no alert: first successes, what owners pause, resume or change, and maintenance.

    Examples: `everwatch transitions --user u-1` · `everwatch transitions --follow --alerts`
    · `everwatch transitions --since 24h --limit 1000 --json | jq .reason`
    """
    target = target.lower()
    wanted_state = "" if state is None else state.value

    def is_wanted(transition: Transition) -> bool:
        return (
            wanted_state in ("", transition.to_state)
            and plan in ("", transition.plan)
            and target in ("", transition.target)
            and (transition.alert or not alerts)
        )

    def page(reader: "Reader | ApiReader", when: When) -> tuple[list[Transition], str]:
        which = TransitionSelection(options.user, options.monitor, wanted_state, options.kind, plan, target, alerts)
        found = reader.transitions(which, when=when, after=options.after, limit=options.limit)
        return list(found), found.next

    output = Output(
        "transition", lambda topics: topics.transitions, codec.decode_transition, lambda each: each.at, page
    )
    show_output(options, output, is_wanted, partial(_print, as_json=options.as_json))


def _print(transition: Transition, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(transition).decode())
        return
    words = state_colours.state_words(transition.to_state, transition.outcome)
    state = typer.style(words, fg=state_colours.OF_STATE.get(transition.to_state))
    change = f"still {state}" if transition.reminder else f"{transition.from_state.value} → {state}"
    quiet = "  (in maintenance)" if is_muted(transition) else ""
    typer.echo(
        f"{time_text(transition.at)}  {transition.user_id}/{transition.monitor_id}  {change}{quiet}"
        f"  {transition.reason}".rstrip()
    )
