"""``everwatch notify``: rules, sent messages and their receivers, and a test of routes."""

from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import orjson
import typer
from msgspec import to_builtins
from msgspec.structs import replace

from everwatch.api.notifier_views import DeliveriesQuery, DeliveryView
from everwatch.api.queries import MOST_ITEMS
from everwatch.cli.commands.notify_contacts import contacts, verify
from everwatch.cli.commands.notify_explain import explain
from everwatch.cli.commands.notify_given_up import given_up
from everwatch.cli.commands.notify_incidents import ack, incidents, replay, snooze
from everwatch.cli.commands.notify_rota import rota
from everwatch.cli.commands.notify_silences import silence, silences, unsilence
from everwatch.cli.support import global_options
from everwatch.cli.support.database_reading import print_columns
from everwatch.cli.support.global_options import CommandReach
from everwatch.cli.support.notifier_by_api import (
    deliveries_by_api,
    delivery_by_api,
    print_listed_routes,
    print_trial_by_api,
    routes_by_api,
    state_of,
    trial_by_api,
)
from everwatch.cli.support.notifier_reading import known_user, problem_of, reading_notifier, rules_in
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    AsJson,
    DataDir,
    LocalOptions,
    OptionalUser,
    instant_of,
    settings_of,
)
from everwatch.cli.support.output_reading import LimitOption, SinceOption
from everwatch.cli.support.route_display import print_routes
from everwatch.cli.support.run_parts import now_ms, run_parts
from everwatch.cli.support.time_display import time_text
from everwatch.core.clock import SystemClock
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.routes import AlertRoute, Audience, NoAddress, Rules
from everwatch.notifier.rules_file import read_rules
from everwatch.notifier.storage import Storage, Work, open_storage
from everwatch.notifier.trial_messages import trial_messages
from everwatch.notifier.wording import lines_of, subject_of
from everwatch.plans.placeholders import PlaceholderUser
from everwatch.schedule.instant import Bare

app = typer.Typer(
    no_args_is_help=True, help="Check notification rules, see which alerts were sent to whom, and test routes."
)


@app.callback()
def _note_reach(context: typer.Context) -> None:
    # a file of rules is read here, and shifts are in it
    is_local = context.invoked_subcommand in ("check", "rota")
    global_options.COMMAND.set(("notify", CommandReach.LOCAL if is_local else CommandReach.API))


for command in (explain, incidents, ack, snooze, silence, silences, unsilence, replay, contacts, verify, rota):
    app.command()(command)
app.command("given-up")(given_up)
# its former name
app.command("dead", hidden=True)(given_up)
RouteOption = Annotated[str, typer.Option("--route", help="Only this route.")]
StateOption = Annotated[
    str,
    typer.Option(
        "--state", help="Only in this state: pending, sending, sent, dead, superseded or skipped.", show_default=False
    ),
]
_STATES = ("pending", "sending", "sent", "dead", "superseded", "skipped")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file of notification rules.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """List the routes of a file, or the first thing that is wrong; exit status 2 then.

    Example: `everwatch notify check notify.toml`
    """
    print_routes(read_rules(file), as_json)


@app.command()
def routes(user: OptionalUser = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the routes of the rules; with USER, which of them reach this user, where, or why not.

    Examples: `everwatch notify routes` · `everwatch notify routes u-1`
    """
    settings = settings_of(data_dir)
    if settings.api_url:
        print_listed_routes(routes_by_api(settings, user or ""), as_json, of_user=user is not None)
        return
    rules = rules_in(settings)
    if user is None:
        print_routes(rules, as_json)
        return
    with reading_notifier(settings) as storage, storage.look() as work:
        known = known_user(work, user)
        found = [_reach(work, rules, route, known) for route in rules.routes if route.audience is Audience.USERS]
    if as_json:
        typer.echo(orjson.dumps(found).decode())
        return
    rows = [(each["route"], each["sender"], each["address"] or "-", each["problem"] or "ok") for each in found]
    print_columns(("route", "sender", "address", "reaches the user"), rows)


@app.command()
@with_options(common=LocalOptions)
def deliveries(
    user: Annotated[str, typer.Option("--user", help="Only this user's own messages.")] = "",
    route: RouteOption = "",
    state: StateOption = "",
    since: SinceOption = None,
    limit: LimitOption = 20,
    *,
    common: LocalOptions,
) -> None:
    """List messages, the newest last: to whom, in which state, and how the last attempt ended.

    Examples: `everwatch notify deliveries --state dead` · `everwatch notify deliveries --user u-1 --since 24h --json`
    """
    if state and state not in _STATES:
        raise SettingsError(f"--state is one of {', '.join(_STATES)}, not {state!r}.")
    settings = settings_of(common.data_dir)
    after = 0 if since is None else instant_of("--since", since, now_ms(), Bare.PAST)
    found: Sequence[Delivery | DeliveryView]
    if settings.api_url:
        found = deliveries_by_api(
            settings, DeliveriesQuery(user, state_of(state), route, after, limit=min(limit, MOST_ITEMS))
        )
    else:
        with reading_notifier(settings) as storage, storage.look() as work:
            found = work.list_deliveries(user, state, route, after, limit)[::-1]
    for each in found:
        if common.as_json:
            typer.echo(orjson.dumps(_told(each)).decode())
        else:
            typer.echo(_line(each))
    if not found and not common.as_json:
        typer.echo("no such messages")


@app.command()
def show(
    delivery: Annotated[str, typer.Argument(metavar="ID", help="The message's id, as listed.", show_default=False)],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show one message: its alerts, attempts, and how the last one ended.

    Example: `everwatch notify show 4d7b7217-c6f6-5c6f-8a9a-6a18970a753b`
    """
    settings = settings_of(data_dir)
    if settings.api_url:
        detail = delivery_by_api(settings, delivery)
        if as_json:
            typer.echo(orjson.dumps(to_builtins(detail)).decode())
            return
        typer.echo(_line(detail))
        typer.echo(detail.summary)
        for text in detail.lines:
            typer.echo(f"  {text}")
        return
    with reading_notifier(settings) as storage, storage.look() as work:
        found = work.deliveries([delivery]).get(delivery)
    if found is None:
        raise EverwatchError(f"There is no message {delivery!r}: 'everwatch notify deliveries' lists them.")
    if as_json:
        typer.echo(orjson.dumps(_told(found)).decode())
        return
    typer.echo(_line(found))
    typer.echo(subject_of(found.message))
    if found.message.code:
        return
    for line in lines_of(found.message, with_user=not found.user_id):
        typer.echo(f"  {line}")


@app.command("test")
def send_test(
    user: OptionalUser = None,
    route: RouteOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; print what would be sent, and to which addresses.")
    ] = False,
    within: Annotated[float, typer.Option("--within", min=1, help="Longest wait for the outcome, s.")] = 60,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send a test message to USER by each route that reaches them, or without USER to operators.

    It goes the way that alerts go, so a notifier must be running. An address that was given up is used again once a
    test has reached it. Exit status 1 if a message was not taken.

    Examples: `everwatch notify test u-1` · `everwatch notify test --route pager`
    · `everwatch notify test u-1 --dry-run`
    """
    settings = settings_of(data_dir)
    messages: Sequence[Delivery | DeliveryView]
    if settings.api_url and dry_run:
        print_trial_by_api(settings, user or "", route, as_json)
        return
    if settings.api_url:
        messages = trial_by_api(settings, user or "", route, within)
    elif dry_run:
        rules = rules_in(settings)
        with reading_notifier(settings) as storage, storage.look() as work:
            messages = _tests(work, rules, user, route)
    else:
        rules = rules_in(settings)
        with closing(open_storage(settings)) as storage:
            with storage.begin() as work:
                tests = _tests(work, rules, user, route)
                work.put_deliveries(tests)
            messages = _outcomes(storage, tests, within)
    for each in messages:
        if as_json:
            typer.echo(orjson.dumps(_told(each)).decode())
        elif dry_run:
            typer.echo(f"would send by {each.route} ({each.sender}) to {each.target or '-'}{_because(each)}")
        else:
            typer.echo(_line(each))
    unsettled = [each for each in messages if each.state in ("pending", "sending")]
    if unsettled and not dry_run:
        typer.echo(
            f"everwatch: {len(unsettled)} not sent within {within:g} s: is 'everwatch notifier' running?", err=True
        )
    if not dry_run and any(each.state != "sent" for each in messages):
        raise typer.Exit(1)


def _tests(work: Work, rules: Rules, user: str | None, route: str) -> list[Delivery]:
    now = now_ms()
    audience = Audience.OPERATORS if user is None else Audience.USERS
    known = None if user is None else known_user(work, user)
    chosen = [each for each in rules.routes if each.audience is audience and route in ("", each.name)]
    if not chosen:
        whose = "operators" if user is None else "users"
        raise SettingsError(f"There is no route {route!r} for {whose}." if route else f"There is no route for {whose}.")
    return trial_messages(rules, known, route, str(now), now)


def _outcomes(storage: Storage, messages: list[Delivery], within_s: float) -> list[Delivery]:
    # not the run's clock: a notifier sends meanwhile, by its own
    clock, pause = SystemClock(), Event()
    deadline_s = clock.monotonic_s() + within_s
    ids = [each.delivery_id for each in messages]
    while True:
        with storage.look() as work:
            found = work.deliveries(ids)
        if all(each.settled_at for each in found.values()) or clock.monotonic_s() > deadline_s:
            return [found[id_] for id_ in ids if id_ in found]
        pause.wait(run_parts().look_again_s)


def _reach(work: Work, rules: Rules, route: AlertRoute, known: PlaceholderUser) -> dict[str, Any]:
    told: dict[str, Any] = {"route": route.name, "sender": route.sender, "address": None, "problem": None}
    if route.match.plan and known.plan not in route.match.plan:
        told["problem"] = f"not for plan {known.plan}"
        return told
    with suppress(NoAddress):
        told["address"] = route.address(known).shown
    told["problem"] = problem_of(work, rules, route, known) or None
    return told


def _line(each: Delivery | DeliveryView) -> str:
    whose = each.user_id or "operators"
    attempts = f"attempt {each.attempt}" if each.attempt else "no attempt"
    due = f", next {time_text(each.due_at)}" if each.state == "pending" else ""
    return (
        f"{time_text(each.created_at)}  {each.delivery_id}  {whose}  {each.route}/{each.sender} {each.target or '-'}"
        f"  {each.state} ({attempts}{due}){_because(each)}"
    )


def _because(each: Delivery | DeliveryView) -> str:
    return f"  {each.reason}" if each.reason else ""


def _told(each: Delivery | DeliveryView) -> dict[str, Any]:
    if isinstance(each, DeliveryView):
        shown: dict[str, Any] = to_builtins(each)
        return shown
    told = {name: getattr(each, name) for name in each._fields if name not in ("message", "group_id", "lease_until")}
    # a person who sees a list of messages must not be able to do what their receivers may
    message = replace(each.message, code="", link="", ack_link="")
    return told | {"summary": subject_of(each.message), "message": to_builtins(message)}
