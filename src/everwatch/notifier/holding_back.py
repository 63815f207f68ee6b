"""Alerts that are held back when messages are composed: those of doubted executors, and of monitors that depend on a
monitor that is down.
"""

from collections.abc import Collection, Mapping

from everwatch.notifier.alerts import RESOLVING, Alert, AlertKind
from everwatch.notifier.executor_outages import ExecutorOutage
from everwatch.notifier.group_rows import Item
from everwatch.notifier.incidents import Incident
from everwatch.notifier.routes import AlertRoute, Audience, Rules
from everwatch.notifier.storage import Work
from everwatch.schedule.duration import MINUTE_MS

DOUBTFUL = frozenset({AlertKind.OPENED, AlertKind.FLAPPING})
"""Kinds of alerts that tell first that something is wrong."""
DEPENDS_ON = "depends_on"
"""The label that names monitors of the same user, separated by commas, without which this one cannot be up."""
_LOOK_AGAIN_MS = MINUTE_MS
_MOST_NAMED = 8


class HoldingBack:
    """Divide alerts into those sent now, those held, and those dropped because they are over by then.

    ``verdicts``: what became of the events of both; ``cancelled``: how many alerts are never told.
    """

    def __init__(self, rules: Rules, now: int) -> None:
        self._rules = rules
        self._now = now
        self._outages: Mapping[str, ExecutorOutage] = {}
        self._depended_on: Mapping[tuple[str, str], Incident] = {}
        self.verdicts: list[tuple[str, int | None, str]] = []
        self.cancelled = 0

    def meet(self, work: Work, outages: Mapping[str, ExecutorOutage], alerts: Collection[Alert]) -> None:
        """Learn of doubted executors, and of what these alerts depend on."""
        self._outages = outages
        known: dict[tuple[str, str], Incident] = {}
        named = {(alert.user_id, name) for alert in alerts for name in _named_by(alert)}
        for _ in range(_MOST_NAMED):
            if not named:
                break
            found = work.incidents(named)
            known |= found
            named = {(each.user_id, name) for each in found.values() for name in _named_by(each)} - known.keys()
        self._depended_on = known

    def part(
        self, route: AlertRoute, told: list[Alert], items: Mapping[str, list[Item]]
    ) -> tuple[list[Alert], list[Alert], int]:
        """Return the alerts to send, those to hold back, and until when (0: none is held)."""
        if not self._depended_on and (route.audience is not Audience.USERS or not self._outages):
            return told, [], 0
        kept: list[Alert] = []
        held: list[Alert] = []
        held_until = 0
        for alert in told:
            until, cause = self._held_until(route, alert)
            if not cause:
                kept.append(alert)
                continue
            ids = sorted({item.item_id.partition("/")[0] for item in items.get(alert.incident_id, [])})
            if alert.untold and alert.kind in RESOLVING:
                self.verdicts += [(event_id, None, f"not told: it recovered while {cause}") for event_id in ids]
                self.cancelled += 1
            elif alert.kind in DOUBTFUL and until:
                held.append(alert)
                held_until = min(held_until or until, until)
            else:
                kept.append(alert)
        return kept, held, held_until

    def _held_until(self, route: AlertRoute, alert: Alert) -> tuple[int, str]:
        """Return until when an alert is held, and why; "": it is not."""
        for name in _named_by(alert):
            incident = self._depended_on.get((alert.user_id, name))
            if incident is not None and _overlaps(incident, alert) and not self._is_mutual(alert, incident):
                return self._now + _LOOK_AGAIN_MS, f"{name}, on which it depends, was down"
        outage = self._outages.get(alert.executor) if route.audience is Audience.USERS else None
        if outage is None or not outage.covers(alert.opened_at):
            return 0, ""
        return outage.holds_until(self._rules.own_outage, self._now), f"executor {alert.executor} was doubted"

    def _is_mutual(self, alert: Alert, incident: Incident) -> bool:
        """Tell whether that one depends on the alert's monitor, too: then neither is held, so that one is sent."""
        seen: set[str] = set()
        left = [incident]
        while left:
            names = set(_named_by(left.pop())) - seen
            if alert.monitor_id in names:
                return True
            seen |= names
            found = (self._depended_on.get((alert.user_id, name)) for name in names)
            left += [each for each in found if each is not None and each.is_open]
        return False


def _overlaps(incident: Incident, alert: Alert) -> bool:
    """Tell whether an incident is open, or was while that of an untold recovery was."""
    if incident.is_open or not (alert.untold and alert.kind in RESOLVING):
        return incident.is_open
    return incident.opened_at <= alert.at and alert.opened_at <= incident.changed_at


def _named_by(one: Alert | Incident) -> list[str]:
    if DEPENDS_ON not in one.labels or not one.monitor_id:
        return []
    names = [name.strip() for name in one.labels[DEPENDS_ON].split(",")][:_MOST_NAMED]
    return [name for name in names if name and name != one.monitor_id]
