"""Lists over all users: ``everwatch monitor list`` and ``everwatch user list``."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

import msgspec
import orjson
import typer

from everwatch.cli.support.database_reading import database, no_user, print_columns
from everwatch.cli.support.options import AsJson, DataDir, OptionalUser, settings_of
from everwatch.cli.support.schedule_options import schedule_text
from everwatch.cli.support.time_display import time_text
from everwatch.core.clock import SystemClock
from everwatch.core.errors import SettingsError
from everwatch.model import Monitor, State
from everwatch.schedule.due import upcoming
from everwatch.schedule.instant import instant_text
from everwatch.store.interface import ListedUser, Selection

PAGE = 1_000
Item = TypeVar("Item")

StateOption = Annotated[State | None, typer.Option("--state", help="In this state.", show_default=False)]
KindOption = Annotated[str, typer.Option("--kind", help="Of this kind, e.g. http.")]
PlanOption = Annotated[str, typer.Option("--plan", help="Of users with this plan.")]
LabelOption = Annotated[
    list[str] | None,
    typer.Option("--label", help="With this label: KEY=VALUE, or KEY for any value; repeatable.", show_default=False),
]
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0: all of them.")]
AfterOption = Annotated[
    str | None,
    typer.Option(
        "--after", help="Go on behind this one, as the last line of the page before says.", show_default=False
    ),
]


def list_monitors(
    user: OptionalUser = None,
    state: StateOption = None,
    kind: KindOption = "",
    plan: PlanOption = "",
    label: LabelOption = None,
    limit: LimitOption = 100,
    after: AfterOption = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List monitors, of one user or of all, as the database has them; with --json one object a line.

    Ordered by user and name, in pages: `--after` goes on where one ended.

    Examples: `everwatch monitor list u-1` · `everwatch monitor list --state down --label env=prod`
    · `everwatch monitor list --kind http --limit 0 --json | jq -r .monitor_id`
    """
    which = _selection(user, state, kind, plan, label)
    now = SystemClock().now_ms()
    behind = ("", "")
    if after is not None:
        owner, slash, monitor_id = after.partition("/")
        if not slash:
            raise SettingsError(f"--after wants USER/MONITOR, not {after!r}.")
        behind = (owner, monitor_id)
    with database(settings_of(data_dir)) as reader:

        def page(last: Monitor | None, count: int) -> list[Monitor]:
            place = behind if last is None else (last.user_id, last.monitor_id)
            return reader.list_monitors(which, place, limit=count)

        some = _pages(page, limit)
        if as_json:
            for monitor in some:
                typer.echo(orjson.dumps(_monitor_json(monitor, now)).decode())
            return
        monitors = list(some)
        if user is not None and not monitors and reader.user(user) is None:
            raise no_user(user)
    if not monitors:
        typer.echo(f"{user} has no such monitors" if user is not None else "there are no such monitors")
        return
    header = ("monitor", "kind", "state", "since", "schedule", "next run", "labels")
    of_all = ("user", *header)
    rows = ((monitor.user_id, *_monitor_row(monitor, now)) for monitor in monitors)
    print_columns(*((of_all, rows) if user is None else (header, (row[1:] for row in rows))))
    if len(monitors) == limit:
        last = monitors[-1]
        typer.echo(f"there may be more: --after {last.user_id}/{last.monitor_id}", err=True)


def list_users(
    state: StateOption = None,
    kind: KindOption = "",
    plan: PlanOption = "",
    label: LabelOption = None,
    limit: LimitOption = 100,
    after: AfterOption = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List users as the database has them; with --state, --kind or --label those that have such a monitor.

    Ordered by user, in pages: `--after` goes on where one ended. With --json one object a line.

    Examples: `everwatch user list --plan gold` · `everwatch user list --state down`
    · `everwatch user list --limit 0 --json | jq -r .user_id`
    """
    which = _selection(None, state, kind, plan, label)
    with database(settings_of(data_dir)) as reader:

        def page(last: ListedUser | None, count: int) -> list[ListedUser]:
            place = after or "" if last is None else last.user.user_id
            return reader.list_users(which, place, limit=count)

        some = _pages(page, limit)
        if as_json:
            for listed in some:
                known = msgspec.to_builtins(listed.user)
                typer.echo(orjson.dumps(known | {"monitors": msgspec.to_builtins(listed.by_state)}).decode())
            return
        users = list(some)
    if not users:
        typer.echo("there are no such users")
        return
    print_columns(("user", "plan", "registered", "monitors"), map(_user_row, users))
    if len(users) == limit:
        typer.echo(f"there may be more: --after {users[-1].user.user_id}", err=True)


def _pages(page: Callable[[Item | None, int], list[Item]], limit: int) -> Iterator[Item]:
    """The items of as many pages as ``limit`` (0: all) takes; ``page`` is asked for those behind an item."""
    last: Item | None = None
    left = limit
    while not limit or left:
        some = page(last, min(left, PAGE) if limit else PAGE)
        yield from some
        left -= len(some)
        if len(some) < (min(left + len(some), PAGE) if limit else PAGE):
            return
        last = some[-1]


def _selection(user: str | None, state: State | None, kind: str, plan: str, label: list[str] | None) -> Selection:
    labels: list[tuple[str, str | None]] = []
    for each in label or []:
        key, equals, value = each.partition("=")
        if not key:
            raise SettingsError(f"--label wants KEY=VALUE or KEY, not {each!r}.")
        labels.append((key, value if equals else None))
    return Selection(user or "", "" if state is None else state.value, kind, plan, tuple(labels))


def _monitor_json(monitor: Monitor, now: int) -> dict[str, Any]:
    coming = upcoming(monitor, now, 1)
    return {
        "user_id": monitor.user_id,
        "monitor_id": monitor.monitor_id,
        "name": monitor.spec.name,
        "labels": dict(monitor.spec.labels),
        "kind": monitor.spec.kind,
        "state": monitor.state.value,
        "state_since": monitor.state_since,
        "reason": monitor.reason,
        "version": monitor.version,
        "schedule": schedule_text(monitor.spec, instant_text),
        "next_run": coming[0] if coming else None,
    }


def _monitor_row(monitor: Monitor, now: int) -> tuple[str, ...]:
    coming = upcoming(monitor, now, 1)
    name = f" ({monitor.spec.name})" if monitor.spec.name else ""
    return (
        f"{monitor.monitor_id}{name}",
        monitor.spec.kind,
        monitor.state.value,
        time_text(monitor.state_since),
        schedule_text(monitor.spec),
        time_text(coming[0]) if coming else "-",
        " ".join(f"{key}={value}" for key, value in monitor.spec.labels),
    )


def _user_row(listed: ListedUser) -> tuple[str, ...]:
    states = ", ".join(f"{listed.by_state[state]} {state.value}" for state in State if state in listed.by_state)
    return listed.user.user_id, listed.user.plan, time_text(listed.user.registered_at), states or "none"
