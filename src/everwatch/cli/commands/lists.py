"""Lists over all users: ``everwatch monitor list`` and ``everwatch user list``."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import orjson
import typer

from everwatch.cli.support.database_reading import AfterOption, no_user, print_columns, reading, say_next
from everwatch.cli.support.flapping_reading import Keys, flapping_among, with_flapping
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import AsJson, DataDir, OptionalUser, settings_of
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.schedule_options import schedule_text
from everwatch.cli.support.time_display import time_text
from everwatch.core.errors import SettingsError
from everwatch.model import Monitor, State
from everwatch.operations.state_colours import state_words
from everwatch.schedule.due import upcoming
from everwatch.schedule.instant import instant_text
from everwatch.store.paging import Sort, StoredPage
from everwatch.store.selections import Selection
from everwatch.store.stored_values import ListedUser

PAGE = 1_000
Item = TypeVar("Item")


class UserSort(StrEnum):
    """The orders of a list of users, who have no state."""

    ID = Sort.ID.value
    CHANGED = Sort.CHANGED.value


StateOption = Annotated[State | None, typer.Option("--state", help="Only in this state.", show_default=False)]
KindOption = Annotated[str, typer.Option("--kind", help="Only of this kind, e.g. http.")]
PlanOption = Annotated[str, typer.Option("--plan", help="Only of users with this plan.")]
TargetOption = Annotated[str, typer.Option("--target", metavar="HOST", help="Only those that check this host.")]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label", help="Only with this label: KEY=VALUE, or KEY for any value; repeatable.", show_default=False
    ),
]
SearchOption = Annotated[
    str, typer.Option("--search", metavar="TEXT", help="Only with this text in the id, name or target, in any case.")
]
PrefixOption = Annotated[
    str,
    typer.Option("--prefix", metavar="TEXT", help="Only with this text at the beginning of the id, name or target."),
]
SortOption = Annotated[
    Sort, typer.Option("--sort", help="By id, or the newest first by when the state was entered or what changed last.")
]
ReverseOption = Annotated[bool, typer.Option("--reverse", help="Reverse the order.")]
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="Maximum number; 0: all.")]


class MonitorFilter(NamedTuple):
    """Options that choose monitors, or users by their monitors."""

    state: StateOption = None
    kind: KindOption = ""
    plan: PlanOption = ""
    label: LabelOption = None
    target: TargetOption = ""


class PageOptions(NamedTuple):
    """Options of how much of a list is printed, and how."""

    reverse: ReverseOption = False
    limit: LimitOption = 100
    after: AfterOption = ""
    data_dir: DataDir = None
    as_json: AsJson = False


@with_options(wanted=MonitorFilter, paging=PageOptions)
def list_monitors(
    user: OptionalUser = None,
    *,
    wanted: MonitorFilter,
    search: SearchOption = "",
    prefix: PrefixOption = "",
    sort: SortOption = Sort.ID,
    paging: PageOptions,
) -> None:
    """List monitors, of one user or of all, as the database has them; with --json one object a line.

    Ordered by user and name unless --sort says otherwise, in pages: `--after` continues after a page.

    Examples: `everwatch monitor list u-1` · `everwatch monitor list --state down --sort state-since`
    · `everwatch monitor list --search shop --label env=prod`
    · `everwatch monitor list --kind http --limit 0 --json | jq -r .monitor_id`
    """
    which = _selection(user, wanted)._replace(contains=search, prefix=prefix)
    now = now_ms()
    settings = settings_of(paging.data_dir)
    with reading(settings) as reader:

        def page(cursor: str, count: int) -> StoredPage[Monitor]:
            return reader.list_monitors(which, cursor, sort=sort, reverse=paging.reverse, limit=count)

        pages = _Pages(page, paging.after, paging.limit)
        if paging.as_json:
            for some in pages:
                flapping = flapping_among(settings, reader, some)
                for monitor in some:
                    typer.echo(orjson.dumps(_monitor_json(monitor, now, flapping)).decode())
            say_next(pages.next)
            return
        monitors = list(pages.items())
        flapping = flapping_among(settings, reader, monitors)
        if user is not None and not monitors and reader.user(user) is None:
            raise no_user(user)
    if not monitors:
        typer.echo(f"{user} has no such monitors" if user is not None else "there are no such monitors")
        return
    header = ("monitor", "kind", "state", "since", "schedule", "next run", "labels")
    of_all = ("user", *header)
    rows = ((monitor.user_id, *_monitor_row(monitor, now, flapping)) for monitor in monitors)
    print_columns(*((of_all, rows) if user is None else (header, (row[1:] for row in rows))))
    say_next(pages.next)


@with_options(wanted=MonitorFilter, paging=PageOptions)
def list_users(
    wanted: MonitorFilter,
    search: Annotated[
        str, typer.Option("--search", metavar="TEXT", help="Only with this text in the id, in any case.")
    ] = "",
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="Only with this text at the beginning of the id.")
    ] = "",
    sort: Annotated[
        UserSort, typer.Option("--sort", help="By id, or by when the user changed last, the newest first.")
    ] = UserSort.ID,
    *,
    paging: PageOptions,
) -> None:
    """List users as the database has them; with --state, --kind, --label or --target those that have such a monitor.

    Ordered by user unless --sort says otherwise, in pages: `--after` continues after a page. With --json one object a
    line.

    Examples: `everwatch user list --plan gold` · `everwatch user list --state down`
    · `everwatch user list --prefix eu- --sort changed` · `everwatch user list --limit 0 --json | jq -r .user_id`
    """
    which = _selection(None, wanted)._replace(contains=search, prefix=prefix)
    with reading(settings_of(paging.data_dir)) as reader:

        def page(cursor: str, count: int) -> StoredPage[ListedUser]:
            return reader.list_users(which, cursor, sort=Sort(sort.value), reverse=paging.reverse, limit=count)

        pages = _Pages(page, paging.after, paging.limit)
        if paging.as_json:
            for listed in pages.items():
                known = msgspec.to_builtins(listed.user)
                typer.echo(orjson.dumps(known | {"monitors": msgspec.to_builtins(listed.by_state)}).decode())
            say_next(pages.next)
            return
        users = list(pages.items())
    if not users:
        typer.echo("there are no such users")
        return
    print_columns(("user", "plan", "registered", "monitors"), map(_user_row, users))
    say_next(pages.next)


class _Pages(Generic[Item]):
    """The items of as many pages as ``limit`` (0: all) takes; ``next`` is the cursor behind them, "" at the end."""

    def __init__(self, page: Callable[[str, int], StoredPage[Item]], after: str, limit: int) -> None:
        self._page = page
        self._limit = limit
        self.next = after

    def __iter__(self) -> Iterator[Sequence[Item]]:
        """Return the pages, in order; ask once."""
        left = self._limit
        while not self._limit or left:
            some = self._page(self.next, min(left, PAGE) if self._limit else PAGE)
            left -= len(some)
            self.next = some.next
            yield some
            if not some.next:
                return

    def items(self) -> Iterator[Item]:
        """Return each item, in order; ask once."""
        return chain.from_iterable(self)


def _selection(user: str | None, wanted: MonitorFilter) -> Selection:
    labels: list[tuple[str, str | None]] = []
    for each in wanted.label or []:
        key, equals, value = each.partition("=")
        if not key:
            raise SettingsError(f"--label wants KEY=VALUE or KEY, not {each!r}.")
        labels.append((key, value if equals else None))
    state = "" if wanted.state is None else wanted.state.value
    return Selection(user or "", state, wanted.kind, wanted.plan, tuple(labels), target=wanted.target.lower())


def _monitor_json(monitor: Monitor, now: int, flapping: Keys) -> dict[str, Any]:
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
        "outcome": monitor.outcome,
        "flapping": (monitor.user_id, monitor.monitor_id) in flapping,
        "version": monitor.version,
        "schedule": schedule_text(monitor.spec, instant_text),
        "next_run": coming[0] if coming else None,
    }


def _monitor_row(monitor: Monitor, now: int, flapping: Keys) -> tuple[str, ...]:
    coming = upcoming(monitor, now, 1)
    name = f" ({monitor.spec.name})" if monitor.spec.name else ""
    return (
        f"{monitor.monitor_id}{name}",
        monitor.spec.kind,
        with_flapping(state_words(monitor.state, monitor.outcome), (monitor.user_id, monitor.monitor_id), flapping),
        time_text(monitor.state_since),
        schedule_text(monitor.spec),
        time_text(coming[0]) if coming else "-",
        " ".join(f"{key}={value}" for key, value in monitor.spec.labels),
    )


def _user_row(listed: ListedUser) -> tuple[str, ...]:
    states = ", ".join(f"{listed.by_state[state]} {state.value}" for state in State if state in listed.by_state)
    return listed.user.user_id, listed.user.plan, time_text(listed.user.registered_at), states or "none"
