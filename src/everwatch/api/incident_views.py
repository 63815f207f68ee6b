"""Incidents as answers show them, and what requests say of them."""

from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from everwatch.api.job_views import JobSample
from everwatch.api.views import Instant as InstantMs
from everwatch.core.printable import HIDDEN
from everwatch.encoding.input_models import NO_HIDDEN, Duration, Instant
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.comments import IncidentComment
from everwatch.notifier.executor_outages import ExecutorOutage
from everwatch.notifier.incidents import Incident
from everwatch.notifier.silences import Selector
from everwatch.notifier.target_incidents import TargetIncident

Item = TypeVar("Item")
LINES = rf"^([^{HIDDEN}]|\n)+\Z"


class Listed(msgspec.Struct, Generic[Item], frozen=True):
    """Items of a list; ``truncated``: there may be more, behind the cursor ``next`` where the list has pages.

    ``available``: the notifier's database is there; else ``reason`` says why not. ``total``: how many there are on all
    pages, null unless it is asked for; ``total_at_least``: there are more, which were not counted.
    """

    available: bool
    reason: str
    truncated: bool
    items: list[Item]
    next: str | None = None
    total: int | None = None
    total_at_least: bool = False


class IncidentView(Incident, frozen=True):
    """An incident. ``ack``: its acknowledgement or snooze; null: none."""

    ack: Acknowledgement | None = None


class IncidentDetail(IncidentView, frozen=True):
    """An incident with what people wrote on it, the oldest first."""

    comments: tuple[IncidentComment, ...] = ()


class CommentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Text to write on an incident; it may have several lines."""

    text: Annotated[str, Meta(min_length=1, max_length=2_000, pattern=LINES)]


class SharedIncidentsView(msgspec.Struct, frozen=True):
    """Open incidents of many monitors: targets that many monitor, and executors that see most targets fail.

    ``available``: the notifier's database is there; else ``reason`` says why not.
    """

    available: bool
    reason: str
    targets: list[TargetIncident]
    executors: list[ExecutorOutage]


class SnoozeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """For how long no alert of the incident is sent: until an instant, or for a duration. Exactly one of them."""

    until: Instant | None = None
    for_: Duration | None = None


class SilenceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """Monitors of which no alerts are sent, from ``starts_at`` (left out: now) for a duration, or until an instant.

    ``reason``: for others to see.
    """

    match: Selector
    starts_at: Instant | None = None
    until: Instant | None = None
    for_: Duration | None = None
    reason: Annotated[str, Meta(max_length=200, pattern=NO_HIDDEN)] = ""


class SelectorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selection of monitors."""

    match: Selector


class SilencePreview(msgspec.Struct, frozen=True):
    """Effect of a silence: the number of monitors (null: a pattern of targets is not counted), and some of them;
    open incidents of them, and some of these."""

    monitors: int | None
    sample: list[JobSample]
    incidents: int
    open: list[IncidentView]


class EventView(msgspec.Struct, frozen=True):
    """A change of a monitor and its alerts: the receivers, or why there are none ("" while it is not judged)."""

    at: InstantMs
    from_state: str
    to_state: str
    reminder: bool
    verdict: str


class NotificationsView(msgspec.Struct, frozen=True):
    """The notifier's verdicts on a monitor's newest changes, the latest first. ``incident``: the newest one."""

    available: bool
    reason: str
    incident: IncidentView | None
    events: list[EventView]


def incident_view(incident: Incident, ack: Acknowledgement | None) -> IncidentView:
    """Return an incident as answers show it."""
    return IncidentView(**msgspec.structs.asdict(incident), ack=ack)
