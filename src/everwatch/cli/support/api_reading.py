"""Reader of the database through the HTTP API, for commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import msgspec

from everwatch.api.queries import (
    MOST_ITEMS,
    AllMonitorsQuery,
    AllResultsQuery,
    AllTasksQuery,
    AllTransitionsQuery,
    LettersQuery,
    Paged,
    TimelineQuery,
    UsersQuery,
)
from everwatch.api.state_views import BarView, LetterView
from everwatch.api.views import MonitorView, ResultView, TaskCountsView, TaskView, UserView
from everwatch.cli.support.api_connection import api_client
from everwatch.client import ApiError, Client
from everwatch.client.requests import place
from everwatch.core.config import Settings
from everwatch.encoding.input_conversion import monitor_of, windows_of
from everwatch.model import Monitor, Result, State, Status, Transition, User
from everwatch.operations.explanation import Explanation
from everwatch.store.availability import Availability, Bar
from everwatch.store.letters import LetterCount, LetterSelection
from everwatch.store.paging import Sort, StoredPage
from everwatch.store.purged_users import PurgeOutcome, StoredPurge
from everwatch.store.selections import ALWAYS, ResultSelection, Selection, TransitionSelection, When
from everwatch.store.stored_values import ListedUser, StoredResult, StoredTask, TaskStatus

View = TypeVar("View")
Row = TypeVar("Row")


class _Scopes(msgspec.Struct):
    """The fields of ``/v1/me`` that commands ask for."""

    scopes: list[str]


@contextmanager
def api_reader(settings: Settings) -> Iterator["ApiReader"]:
    """The reader of the API that the settings name."""
    with api_client(settings) as client:
        yield ApiReader(client)


class ApiReader:
    """Reads through the API, with the methods of ``store.Reader`` that commands for people use.

    Cursors are the API's, which are the store's. Raises ApiError.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.flapping: set[tuple[str, str]] = set()
        """Of the monitors that were read, those that are flapping (user and monitor id)."""

    def list_monitors(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> StoredPage[Monitor]:
        query = AllMonitorsQuery(**_filters(which, reverse), sort=sort, user=which.user_id)
        return self._pages("/v1/monitors", query, MonitorView, self._monitor, after, limit)

    def list_users(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> StoredPage[ListedUser]:
        order: Literal["id", "changed"] = "changed" if sort is Sort.CHANGED else "id"
        query = UsersQuery(**_filters(which, reverse), sort=order)
        return self._pages(
            "/v1/users", query, UserView, lambda view: ListedUser(_user(view), view.monitors), after, limit
        )

    def user(self, user_id: str) -> User | None:
        found = _known(lambda: self._client.user(user_id))
        return None if found is None else _user(found)

    def purge(self, user_id: str, command_id: str) -> StoredPurge | None:
        found = _known(lambda: self._client.purge(user_id, command_id))
        if found is None:
            return None
        outcome = PurgeOutcome(found.guarded_until, found.remains, found.reason)
        return StoredPurge(found.ended_at, found.was_watched is not False, found.deleted, found.over_at, outcome)

    def monitor(self, user_id: str, monitor_id: str) -> Monitor | None:
        found = _known(lambda: self._client.monitor(user_id, monitor_id))
        return None if found is None else self._monitor(found)

    def monitors(self, user_id: str) -> list[Monitor]:
        return list(map(self._monitor, self._client.monitors(AllMonitorsQuery(user=user_id))))

    def task(self, user_id: str, task_id: str, now: int) -> StoredTask | None:  # noqa: ARG002  # the API has a clock
        found = _known(lambda: self._client.task(user_id, task_id))
        return None if found is None else _task(found)

    def tasks(
        self,
        user_id: str = "",
        status: str = "",
        *,
        when: When = ALWAYS,
        now: int,  # noqa: ARG002
        after: str = "",
        limit: int = 100,
    ) -> StoredPage[StoredTask]:
        wanted = TaskStatus(status) if status else None
        query = AllTasksQuery(user=user_id, status=wanted, since=when.since, until=when.until)
        return self._pages("/v1/tasks", query, TaskView, _task, after, limit)

    def count_tasks(self, user_id: str = "", *, when: When = ALWAYS, now: int) -> dict[str, int]:  # noqa: ARG002
        view = self._client.get("/v1/tasks/counts", TaskCountsView, user=user_id, since=when.since, until=when.until)
        return {status.value: number for status, number in view.tasks.items()}

    def results(
        self, which: ResultSelection, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[StoredResult]:
        query = AllResultsQuery(
            since=when.since,
            until=when.until,
            status=Status(which.status) if which.status else None,
            kind="" if which.monitor_id else which.kind,
            user="" if which.monitor_id else which.user_id,
            region=which.region,
        )
        path = _path("results", which)
        return self._pages(path, query, ResultView, _result, after, limit)

    def transitions(
        self, which: TransitionSelection, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[Transition]:
        query = AllTransitionsQuery(
            since=when.since,
            until=when.until,
            state=State(which.state) if which.state else None,
            kind="" if which.monitor_id else which.kind,
            plan="" if which.monitor_id else which.plan,
            target="" if which.monitor_id else which.target,
            alerts=which.alerts,
            user="" if which.monitor_id else which.user_id,
        )
        path = _path("transitions", which)
        return self._pages(path, query, Transition, lambda found: found, after, limit)

    def dead_letters(
        self, which: LetterSelection, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[dict[str, Any]]:
        """Dead letters as ``plain_stored`` says them, the latest first."""
        return self._pages(
            "/v1/dead-letters", _letters(which, when), LetterView, lambda view: msgspec.to_builtins(view), after, limit
        )

    def count_letters(self, which: LetterSelection, *, when: When = ALWAYS) -> list[LetterCount]:
        # of all times, where the API would take the last days
        query = msgspec.structs.replace(_letters(which, When(when.since or 1, when.until)), limit=1)
        counts = self._client.dead_letters_page(query).counts
        return [LetterCount(each.source, each.code, each.reason, each.count, each.newest) for each in counts]

    def availability(self, user_id: str, monitor_id: str, begin: int, end: int, bars: int) -> Availability:
        view = self._client.timeline(user_id, monitor_id, TimelineQuery(begin, end, bars))
        return Availability(_bar(view.whole), list(map(_bar, view.bars)))

    def explanation(self, monitor: Monitor) -> tuple[Explanation, str]:
        """Return a monitor explained, and why its processes are not known ("" if they are)."""
        view = self._client.explain(monitor.user_id, monitor.monitor_id)
        told = {name: getattr(view, name) for name in Explanation.__struct_fields__ if name != "schedule"}
        return Explanation(**told, schedule=monitor.spec.schedule), view.broker

    def _monitor(self, view: MonitorView) -> Monitor:
        if view.flapping:
            self.flapping.add((view.user_id, view.monitor_id))
        return _monitor(view)

    def shows_secrets(self) -> bool:
        """Tell whether the token may see the secrets of configs."""
        return "secrets" in self._client.get("/v1/me", _Scopes).scopes

    def _pages(
        self, path: str, query: Paged, kind: type[View], row: Callable[[View], Row], after: str, limit: int
    ) -> StoredPage[Row]:
        """As many pages of the API as ``limit`` items take, as one page."""
        rows: StoredPage[Row] = StoredPage()
        while True:
            wanted = msgspec.structs.replace(query, cursor=after, limit=min(limit - len(rows), MOST_ITEMS))
            found = self._client.page(path, wanted, kind)
            rows += map(row, found.items)
            after = found.next or ""
            if not after or len(rows) >= limit:
                rows.next = after
                return rows


def _known(ask: Callable[[], View]) -> View | None:
    """The answer of ``ask``; None if the API says that there is no such thing."""
    try:
        return ask()
    except ApiError as error:
        if error.code == "not_found":
            return None
        raise


def _path(events: str, which: ResultSelection | TransitionSelection) -> str:
    """The path of the results or transitions of a monitor, or of all."""
    return place("users", which.user_id, "monitors", which.monitor_id, events) if which.monitor_id else f"/v1/{events}"


def _filters(which: Selection, reverse: bool) -> dict[str, Any]:
    labels = [key if value is None else f"{key}={value}" for key, value in which.labels]
    return {
        "state": State(which.state) if which.state else None,
        "kind": which.kind,
        "plan": which.plan,
        "label": labels,
        "target": which.target,
        "q": which.contains,
        "prefix": which.prefix,
        "reverse": reverse,
    }


def _letters(which: LetterSelection, when: When) -> LettersQuery:
    return LettersQuery(
        user=which.user_id,
        source=which.source_topic,
        code=which.code,
        reason=which.text,
        since=when.since,
        until=when.until,
    )


def _user(view: UserView) -> User:
    return User(
        view.user_id,
        view.plan,
        view.attributes,
        tuple(view.monitor_ids),
        view.registered_at,
        view.updated_at,
        windows_of(view.maintenance, "$.maintenance"),
    )


def _monitor(view: MonitorView) -> Monitor:
    return Monitor(
        view.user_id,
        monitor_of(view.spec, "$.spec", view.monitor_id),
        view.origin,
        view.version,
        view.since,
        view.state,
        view.state_since,
        view.reason,
        last_signal=view.last_signal,
        agenda=view.agenda,
        outcome=view.outcome,
    )


def _task(view: TaskView) -> StoredTask:
    return StoredTask(
        view.user_id,
        view.task_id,
        view.kind,
        view.due_at,
        view.status,
        view.paused,
        view.reason,
        view.created_at,
        view.ended_at,
        view.attempt,
        view.version,
        view.partition,
        view.outcome,
    )


def _result(view: ResultView) -> StoredResult:
    result = msgspec.convert(view, Result, from_attributes=True)
    return StoredResult(result, view.stored_at, view.deliveries)


def _bar(view: BarView) -> Bar:
    return Bar(view.begin, view.end, view.by_state, view.maintenance_ms)
