"""View of a running demo."""

from dataclasses import dataclass

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from everwatch.demo.cast import PROVIDER
from everwatch.demo.inbox import Arrival
from everwatch.demo.observer import Lateness
from everwatch.demo.showcase import ShowpieceEnding
from everwatch.model import State, Transition
from everwatch.operations import state_colours
from everwatch.operations.state_colours import state_words

_COLOURS = {**state_colours.OF_STATE, State.NEW: "cyan", State.PAUSED: "dim"}


@dataclass(frozen=True)
class Glance:
    """The demo at one moment."""

    seconds: float
    users: int
    monitors: int
    ticks_per_s: float
    results_per_s: float
    lateness: Lateness
    by_state: dict[State, int]
    transitions: list[Transition]
    said: list[str]
    arrived: dict[str, int]
    arrivals: list[Arrival]


def draw(glance: Glance) -> Panel:
    """The live panel."""
    numbers = Table.grid(padding=(0, 3))
    for _ in range(6):
        numbers.add_column(justify="right")
    numbers.add_row("[dim]users", "[dim]monitors", "[dim]ticks/s", "[dim]results/s", "[dim]late p50", "[dim]late p99")
    numbers.add_row(
        f"{glance.users:,}",
        f"{glance.monitors:,}",
        f"{glance.ticks_per_s:,.0f}",
        f"{glance.results_per_s:,.0f}",
        f"{glance.lateness.p50} ms",
        f"{glance.lateness.p99} ms",
    )
    states = Text("  ").join(
        Text(f"{state} {count}", style=_COLOURS.get(state, "white")) for state, count in sorted(glance.by_state.items())
    )
    newest = Table.grid(padding=(0, 2))
    for transition in reversed(glance.transitions):
        newest.add_row(
            f"{transition.user_id}/{transition.monitor_id}",
            Text(f"{transition.from_state} → {_reached(transition)}", style=_COLOURS.get(transition.to_state, "white")),
            Text(transition.reason, overflow="ellipsis", no_wrap=True),
        )
    arrived = Table.grid(padding=(0, 2))
    for arrival in reversed(glance.arrivals):
        arrived.add_row(f"{arrival.by} to {arrival.to}", Text(arrival.summary, overflow="ellipsis", no_wrap=True))
    said = Text("\n".join(glance.said[-3:]), style="magenta")
    alerts = Text(f"alerts arrived: {_arrived(glance.arrived)}", style="dim")
    body = Group(numbers, Text(), states, Text(), newest, Text(), alerts, arrived, said)
    return Panel(body, title=f"everwatch demo  {glance.seconds:.0f} s", subtitle="Ctrl-C to stop", width=110)


def _reached(transition: Transition) -> str:
    return state_words(transition.to_state, transition.outcome)


def line(glance: Glance) -> str:
    """The same in one line, for a log."""
    states = " ".join(f"{state}={count}" for state, count in sorted(glance.by_state.items()))
    return (
        f"{glance.seconds:5.0f} s  users={glance.users} monitors={glance.monitors} ticks/s={glance.ticks_per_s:.0f}"
        f" results/s={glance.results_per_s:.0f} late_p50={glance.lateness.p50}ms late_p99={glance.lateness.p99}ms"
        f" {states} alerts={sum(glance.arrived.values())}"
    )


def print_summary(console: Console, summary: dict[str, object], redelivered: int, broken: dict[str, int]) -> None:
    """Print the account, for a person."""
    lateness = summary["lateness_ms"]
    assert isinstance(lateness, dict)
    missed, duplicates = summary["missed"], summary["duplicates"]
    console.print(
        f"\n[bold]{summary['users']:,}[/] users with [bold]{summary['monitors']:,}[/] monitors for"
        f" [bold]{summary['seconds']}[/] s"
    )
    console.print(f"  due by the schedules   {summary['ticks_due']:>10,}")
    console.print(f"  emitted (topics)       {summary['ticks_emitted']:>10,}")
    console.print(f"  stored (database)      {summary['results_stored']:>10,}")
    if summary["waiting"]:
        waits = f"  wait for an executor   {summary['waiting']:>10,}  this machine is too slow for so many monitors"
        console.print(waits, style="yellow", highlight=False)
    console.print(f"  missed                 {missed:>10,}", style="green" if missed == 0 else "bold red")
    console.print(f"  counted twice          {duplicates:>10,}", style="green" if duplicates == 0 else "bold red")
    if redelivered:
        console.print(f"  came again, held once  {redelivered:>10,}")
    console.print(f"  late by, ms            p50 {lateness['p50']}, p99 {lateness['p99']}, most {lateness['max']}")
    console.print(
        f"  states                 {summary['up']} up, {summary['down']} down ({broken['down']} broken on purpose),"
        f" {summary['late']} late ({broken['late']} silent on purpose)"
    )
    alerts = summary["alerts"]
    assert isinstance(alerts, dict)
    console.print(f"  alerts arrived         {_arrived(alerts)}")
    if alerts["webhook"]:
        said = f"all failures at one host (here {PROVIDER}) share a webhook: docs/notifications.md"
        console.print(f"  {'':23}[dim]{said}[/]", highlight=False)


def _arrived(counts: dict[str, int]) -> str:
    return f"{counts['mail']:,} by mail to users, {counts['webhook']:,} by webhook to operators"


def print_showcase(console: Console, endings: list[ShowpieceEnding]) -> None:
    """Print final state and reason of the monitors of each kind, for a person."""
    if not endings:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  kind", no_wrap=True)
    table.add_column("healthy", no_wrap=True)
    table.add_column("failing", no_wrap=True)
    table.add_column("and says", overflow="fold")
    table.add_column("as expected", no_wrap=True)
    for ending in endings:
        state, message = ending.failing or ("cannot fail", "")
        table.add_row(
            Text(f"  {ending.kind}"),
            _state(ending.healthy[0]),
            _state(state),
            Text(message),
            Text("no", "bold red") if ending.problem else Text("yes", "green"),
        )
    console.print()
    console.print(table)
    for ending in endings:
        if ending.problem:
            console.print(f"  {ending.problem}", style="bold red", highlight=False, markup=False)


def _state(state: str) -> Text:
    return Text(state, style={str(known): colour for known, colour in _COLOURS.items()}.get(state, "dim"))
