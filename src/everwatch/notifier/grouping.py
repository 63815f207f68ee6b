"""From the alerts that wait for one receiver to one message. Pure."""

from collections.abc import Iterable

from msgspec.structs import replace

from everwatch.notifier.alerts import RESOLVING, URGENCY, Alert, AlertKind, Message, derived_id
from everwatch.notifier.timing import Timing

MOST_LISTED = 50
"""Limit of the alerts that a message lists; the others are counted."""


class Collapse:
    """The alerts of one group, folded to one for each incident: what a receiver must know now.

    ``keeps_incidents``: the receiver opens and resolves incidents by their id (PagerDuty, Alertmanager), so it is told
    the end of each incident that it may know, and nothing of one that it cannot know.
    """

    def __init__(self, timing: Timing, now: int, *, keeps_incidents: bool) -> None:
        self._timing = timing
        self._now = now
        self._keeps_incidents = keeps_incidents
        self._listed: dict[str, Alert] = {}
        self._known: set[str] = set()
        self.ids: list[str] = []

    def add(self, alert: Alert, item_id: str, *, may_be_known: bool = False) -> None:
        """Take in an alert; they come in the order of their transitions.

        ``may_be_known``: an attempt to send it was made before, and may have come through.
        """
        self.ids.append(item_id)
        if may_be_known:
            self._known.add(alert.incident_id)
        # a failed task is an incident by itself, and no receiver has it open
        key = alert.incident_id if alert.kind is not AlertKind.FAILED else item_id
        before = self._listed.get(key)
        self._listed[key] = alert if before is None else _folded(before, alert)

    def result(self) -> tuple[list[Alert], list[Alert], int]:
        """Return the alerts to send now, those that wait until their monitor was down long enough, and until when."""
        told: list[Alert] = []
        held: list[Alert] = []
        wait_until = 0
        for alert in self._listed.values():
            known = alert.incident_id in self._known
            if alert.untold and alert.kind in RESOLVING:
                if self._keeps_incidents and not known:
                    continue
                if alert.kind is AlertKind.ENDED and not known:
                    continue
                if alert.duration_ms < self._timing.held_ms and not known:
                    continue
            elif alert.kind is AlertKind.ENDED and not self._keeps_incidents:
                continue
            due = alert.opened_at + self._timing.held_ms
            if alert.kind is AlertKind.OPENED and self._timing.held_ms and due > self._now and not known:
                held.append(alert)
                wait_until = min(wait_until or due, due)
                continue
            told.append(alert)
        return told, held, wait_until


def message_of(route: str, user_id: str, group_id: str, told: list[Alert], ids: Iterable[str], now: int) -> Message:
    """Return the message with these alerts; its id follows from the items that it is made of."""
    urgent = sorted(told, key=_urgency)
    more: dict[str, int] = {}
    for alert in urgent[MOST_LISTED:]:
        more[alert.kind.value] = more.get(alert.kind.value, 0) + 1
    message_id = derived_id("message", group_id, *sorted(ids))
    return Message(message_id, route, user_id, now, tuple(urgent[:MOST_LISTED]), more)


def _folded(before: Alert, after: Alert) -> Alert:
    """Two alerts of one incident as one."""
    begins = before.kind is AlertKind.OPENED or before.untold
    if after.kind in RESOLVING:
        return replace(after, untold=begins)
    if after.kind is AlertKind.FLAPPING:
        return replace(after, untold=begins)
    if begins:
        # the receiver has no beginning of it: this is its beginning, as it is now
        return replace(after, kind=AlertKind.OPENED, at=before.at, untold=False)
    return after


_ORDER = {
    AlertKind.OPENED: 0,
    AlertKind.FAILED: 1,
    AlertKind.CHANGED: 2,
    AlertKind.REMINDER: 3,
    AlertKind.FLAPPING: 4,
    AlertKind.CLOSED: 5,
    AlertKind.SETTLED: 6,
    AlertKind.ENDED: 7,
}


def _urgency(alert: Alert) -> tuple[int, bool, int, int]:
    return _ORDER[alert.kind], not alert.subject, -URGENCY.index(alert.severity), alert.at
