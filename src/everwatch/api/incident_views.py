"""Incidents as answers show them, and what requests say of them."""

from typing import Generic, TypeVar

import msgspec

from everwatch.encoding.input_models import Duration, Instant
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.executor_outages import ExecutorOutage
from everwatch.notifier.incidents import Incident
from everwatch.notifier.target_incidents import TargetIncident

Item = TypeVar("Item")


class Listed(msgspec.Struct, Generic[Item], frozen=True):
    """The items of a list that has no pages; ``truncated``: there may be more.

    ``available``: the notifier's database is there; else ``reason`` says why not.
    """

    available: bool
    reason: str
    truncated: bool
    items: list[Item]


class IncidentView(Incident, frozen=True):
    """An incident. ``ack``: who has acknowledged or snoozed it, null: nobody."""

    ack: Acknowledgement | None = None


class SharedIncidentsView(msgspec.Struct, frozen=True):
    """Open incidents of many monitors: targets that many monitor, and executors that see most targets fail.

    ``available``: the notifier's database is there; else ``reason`` says why not.
    """

    available: bool
    reason: str
    targets: list[TargetIncident]
    executors: list[ExecutorOutage]


class SnoozeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """For how long no alert of the incident is sent: until an instant, or for so long from now. Exactly one of them."""

    until: Instant | None = None
    for_: Duration | None = None


def incident_view(incident: Incident, ack: Acknowledgement | None) -> IncidentView:
    """Return an incident as answers show it."""
    return IncidentView(**msgspec.structs.asdict(incident), ack=ack)
