"""Query parameters of lists, as types, and what they select."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem
from everwatch.core.bounds import LATEST_MS, LONGEST_REGION
from everwatch.encoding.input_models import NO_HIDDEN
from everwatch.model import State, Status
from everwatch.store.availability import MOST_BARS
from everwatch.store.paging import Sort
from everwatch.store.selections import Selection, When
from everwatch.store.stored_values import TaskStatus

MOST_ITEMS = 500
Limit = Annotated[int, Meta(ge=1, le=MOST_ITEMS, description="Maximum number of items.")]
Cursor = Annotated[str, Meta(max_length=8_000, description="The cursor of a page, as the page before says it.")]
Label = Annotated[str, Meta(min_length=1, max_length=200, pattern=NO_HIDDEN)]
LabelList = Annotated[list[Label], Meta(max_length=16, description="KEY=VALUE, or KEY for any value; repeatable.")]
# "" is for all; characters that cannot be seen are in no id, and PostgreSQL takes no NUL
OfUser = Annotated[str, Meta(max_length=256, pattern=NO_HIDDEN, description="The user's id.")]
OfRegion = Annotated[
    str, Meta(max_length=LONGEST_REGION, pattern=NO_HIDDEN, description="The region of the executor, e.g. eu.")
]
OfKind = Annotated[str, Meta(max_length=128, pattern=NO_HIDDEN, description="The kind, e.g. http.")]
OfPlan = Annotated[str, Meta(max_length=128, pattern=NO_HIDDEN, description="The plan of the user.")]
OfTarget = Annotated[str, Meta(max_length=255, pattern=NO_HIDDEN, description="The host that is checked.")]
FilterText = Annotated[str, Meta(max_length=256, pattern=NO_HIDDEN)]
EventKind = Literal["result", "transition"]
SearchText = Annotated[
    str, Meta(max_length=128, pattern=NO_HIDDEN, description="A part of the id, or of a monitor's name or target.")
]
PrefixText = Annotated[str, Meta(max_length=128, pattern=NO_HIDDEN, description="As q, but only at the beginning.")]
InstantMs = Annotated[int, Meta(ge=0, le=LATEST_MS, description="Milliseconds since 1970 (UTC).")]


class Paged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list in pages."""

    limit: Limit = 100
    cursor: Cursor = ""


Total = Annotated[bool, Meta(description="Tell how many there are in all; 5,000 are counted.")]


class Countable(Paged, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list in pages that tells how many items it has, if it is asked for that."""

    total: Total = False


class ShortList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list that is answered whole, or in pages if ``limit`` is given."""

    limit: Limit | None = None
    cursor: Cursor = ""
    total: Total = False


class Filters(Countable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions, which must all hold."""

    state: State | None = None
    kind: OfKind = ""
    plan: OfPlan = ""
    label: LabelList = []
    target: OfTarget = ""
    q: SearchText = ""
    prefix: PrefixText = ""
    reverse: Annotated[bool, Meta(description="In the other order.")] = False


class MonitorsQuery(Filters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of monitors, by id, or the newest first by when their state or they changed."""

    sort: Sort = Sort.ID


class AllMonitorsQuery(MonitorsQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of monitors of all users."""

    user: OfUser = ""


class TimelinesQuery(AllMonitorsQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of monitors; ``since`` and ``until`` (ms): by default the last day. ``bars``: number of parts."""

    limit: Annotated[int, Meta(ge=1, le=100, description="Maximum number of items.")] = 50
    since: InstantMs = 0
    until: InstantMs = 0
    bars: Annotated[int, Meta(ge=1, le=100)] = 24


class FacetsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions of a list of monitors."""

    state: State | None = None
    kind: OfKind = ""
    plan: OfPlan = ""
    label: LabelList = []
    target: OfTarget = ""
    q: SearchText = ""
    prefix: PrefixText = ""
    user: OfUser = ""


class UsersQuery(Filters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of users; with state, kind, label or target those that have such a monitor."""

    sort: Literal["id", "changed"] = "id"


class Interval(Countable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An interval of time: since <= t < until; 0 for no bound."""

    since: InstantMs = 0
    until: InstantMs = 0


class NextQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Number of instants."""

    limit: Annotated[int, Meta(ge=1, le=100, description="Maximum number of instants.")] = 5


class CommandQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """User whose command it is. A token that is limited to a user may omit it; ids are unique per user."""

    user: OfUser = ""


class TasksQuery(Interval, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of tasks, by when they are due."""

    status: TaskStatus | None = None


class AllTasksQuery(TasksQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of tasks of all users."""

    user: OfUser = ""


class AuditQuery(Interval, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of changes, by when they were answered."""

    user: OfUser = ""
    monitor: Annotated[str, Meta(max_length=128, pattern=NO_HIDDEN, description="The monitor's id; takes a user.")] = ""
    token: Annotated[str, Meta(max_length=64, pattern=NO_HIDDEN, description="The id of the token that asked.")] = ""


class TaskCountsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selection of tasks, by when they are due: since <= t < until; 0 for no bound."""

    user: OfUser = ""
    since: InstantMs = 0
    until: InstantMs = 0


def when_of(query: Interval | TaskCountsQuery) -> When:
    """Return the interval that a query means. Raises Problem for one that holds nothing."""
    if query.until and query.since >= query.until:
        raise Problem(400, "invalid_parameter", "There is nothing between since and until: since must be earlier.")
    return When(query.since, query.until)


def label_of(text: str) -> tuple[str, str | None]:
    """Return key and value of a label, ``KEY=VALUE``, or ``KEY`` (None: any value)."""
    key, equals, value = text.partition("=")
    return key, value if equals else None


def selection_of(query: Filters | FacetsQuery, user_id: str) -> Selection:
    """Return what a query selects, of one user (or of all, "")."""
    labels = tuple(label_of(each) for each in query.label)
    if any(not key for key, _ in labels):
        raise Problem(400, "invalid_parameter", "A label is KEY=VALUE or KEY.")
    return Selection(
        user_id,
        "" if query.state is None else query.state.value,
        query.kind,
        query.plan,
        labels,
        query.target,
        query.q,
        query.prefix,
    )


def narrowed(principal: Principal, user_id: str) -> str:
    """Return the user that a list is about, as far as the token goes. Raises Problem for another user's."""
    if not principal.user_id:
        return user_id
    if user_id not in ("", principal.user_id):
        raise Problem(403, "forbidden", "The token may not do this: the token is limited to another user.")
    return principal.user_id


def labelled(principal: Principal, which: Selection) -> Selection:
    """Return the part of a selection that a token may see which is limited to monitors with a label."""
    if not principal.label:
        return which
    return which._replace(labels=(*which.labels, label_of(principal.label)))


class ResultsQuery(Interval, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of results of a monitor. ``region``: only of executors of that one."""

    status: Status | None = None
    region: OfRegion = ""


class AllResultsQuery(ResultsQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of results of all users."""

    user: OfUser = ""
    kind: OfKind = ""


class TransitionsQuery(Interval, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of transitions of a monitor. ``alerts``: only those that raise an alert."""

    state: Annotated[State | None, Meta(description="Into this state.")] = None
    alerts: bool = False


class AllTransitionsQuery(TransitionsQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of transitions of all users."""

    user: OfUser = ""
    kind: OfKind = ""
    plan: OfPlan = ""
    target: OfTarget = ""


class TimelineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``since`` and ``until`` (ms): by default the last day, until now. ``bars``: number of parts."""

    since: InstantMs = 0
    until: InstantMs = 0
    bars: Annotated[int, Meta(ge=0, le=min(MOST_BARS, 1_000))] = 0


class LatencyQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``since`` and ``until`` (ms): by default the last 48 parts, until now."""

    step: Literal["hour", "day"] = "hour"
    since: InstantMs = 0
    until: InstantMs = 0


class LettersQuery(Interval, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selection of dead letters by time of refusal. ``source``: the topic's whole name; ``reason``: a part of it."""

    user: OfUser = ""
    source: FilterText = ""
    code: FilterText = ""
    reason: FilterText = ""


class LiveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selection of events: of one user, of one monitor of that user, of one kind."""

    user: OfUser = ""
    monitor: Annotated[str, Meta(max_length=128, pattern=NO_HIDDEN, description="The monitor's id; takes a user.")] = ""
    only: Annotated[EventKind | None, Meta(description="Results or transitions only.")] = None
