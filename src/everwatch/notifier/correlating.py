"""Incidents of many monitors within one transaction: what counts, and which alerts they stand in for."""

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from everwatch.model import Transition
from everwatch.notifier import executor_outages, target_incidents
from everwatch.notifier.alerts import RESOLVING, Alert, AlertKind
from everwatch.notifier.executor_outages import ExecutorOutage
from everwatch.notifier.incidents import Incident, Phase, Step
from everwatch.notifier.routes import AlertRoute, Audience, Rules
from everwatch.notifier.storage import Work
from everwatch.notifier.target_incidents import Failure, TargetIncident

ITSELF = "itself"
"""In the place of what an incident is part of: that is over, and operators got an alert of this one."""
Told = tuple[AlertRoute, str, Alert]
"""A route, the id of an item, and the alert for the route."""


class Correlating:
    """Targets and executors in one pass of judging. Changes are gathered, and written at its end."""

    def __init__(self, work: Work, rules: Rules, now: int) -> None:
        self._work = work
        self._rules = rules
        self._now = now
        self._targets: dict[str, TargetIncident] = {}
        self._outages: dict[str, ExecutorOutage] = {}
        self._changed_targets: set[str] = set()
        self._changed_outages: set[str] = set()
        self.told: list[Told] = []
        """Alerts of targets and executors for operators."""

    def meet(self, targets: Collection[str], transitions: Iterable[Transition]) -> None:
        """Learn of all that this pass concerns: it is locked, so it is asked for once."""
        suspects = {each.executor for each in transitions if self._is_suspect(each)}
        self._targets = self._work.lock_targets({target for target in targets if target}, self._now)
        self._outages = self._work.lock_outages(suspects, self._now)

    def count(self, before: Incident | None, step: Step, transition: Transition | None = None) -> Incident | None:
        """Return the incident after a step, with its part in others; count it there, or no more."""
        after = step.incident
        if transition is not None and self._is_suspect(transition):
            known = self._outage(transition.executor)
            self._put_outage(
                executor_outages.after_suspect_failure(known, transition.at, transition.unreached, self._now)
            )
        open_id = after.incident_id if after is not None and after.phase is not Phase.CLOSED else ""
        goes_on = before is not None and before.incident_id == open_id
        if before is not None and before.phase is not Phase.CLOSED and not goes_on:
            # clocks differ: what ends is not over before it began
            self._end(before, max(self._now, transition.at if transition is not None else 0))
        if after is None:
            return None
        if not open_id:
            return replace(after, counted=False) if after.counted else after
        if not goes_on:
            return self._begin(after)
        if before is not None and not before.told and after.told:
            return self._begin(after)
        if step.alerts and after.part_of not in ("", ITSELF) and not self._stands_for(after):
            # it lasts longer than what it was part of: from now on operators get alerts of it
            return replace(after, part_of=ITSELF)
        return after

    def stands_in(self, route: AlertRoute, alert: Alert, incident: Incident | None) -> str:
        """Return the message that stands in for an alert to operators, and queue it for the route; "": none does.

        A receiver that has the alert's own incident open gets its end in any case.
        """
        if route.audience is not Audience.OPERATORS:
            return ""
        part_of = incident.part_of if incident is not None else ""
        has_it_open = route.keeps_incidents and alert.kind in RESOLVING and part_of in ("", ITSELF)
        outage, target = self._outage(alert.executor), self._target(alert.target)
        if outage.is_open and outage.covers(alert.opened_at):
            if route.name not in outage.routes:
                self._put_outage(replace(outage, routes=(*outage.routes, route.name)))
                opened = executor_outages.alert_of(outage, AlertKind.OPENED, self._now)
                self.told.append((route, f"{outage.incident_id}/opened", opened))
            return "" if has_it_open else "by the incident of its executor"
        if target.has(alert.opened_at):
            if route.name not in target.routes:
                self._put_target(replace(target, routes=(*target.routes, route.name)))
                opened = target_incidents.alert_of(target, AlertKind.OPENED, target.opened_at)
                self.told.append((route, f"{target.incident_id}/opened", opened))
            return "" if has_it_open else "by the incident of its target"
        if alert.kind not in RESOLVING or has_it_open or part_of == ITSELF:
            return ""
        # its beginning was sent with an incident that is over by now
        over = target.had(alert.opened_at) and route.name in target.routes
        over = over or (outage.covers(alert.opened_at) and route.name in outage.routes)
        return "by the incident that it was part of" if part_of or over else ""

    def is_held(self, alert: Alert) -> bool:
        """Tell whether an alert to users is held because its executor is in doubt."""
        outage = self._outage(alert.executor)
        until = outage.holds_until(self._rules.own_outage, self._now)
        return until > 0 and outage.covers(alert.opened_at)

    def release(self) -> None:
        """Release users' alerts of executors that have been in doubt for too long; operators get a message.

        Executors without a failure since are trusted again.
        """
        for outage in list(self._outages.values()):
            if outage.is_forgotten(self._now):
                self._put_outage(replace(outage, closed_at=self._now))
                self._tell(outage.routes, f"{outage.incident_id}/closed", outage, AlertKind.SETTLED)
            if outage.is_over_time(self._rules.own_outage, self._now):
                self._put_outage(replace(outage, released=True))
                self._tell(outage.routes, f"{outage.incident_id}/released", outage, AlertKind.CHANGED)

    def write(self) -> None:
        """Write the changes."""
        self._work.put_targets((self._targets[name] for name in self._changed_targets), self._now)
        self._work.put_outages((self._outages[name] for name in self._changed_outages), self._now)

    # --- one incident -------------------------------------------------------------------------------------------------

    def _begin(self, incident: Incident) -> Incident:
        outage = self._outage(incident.executor)
        if outage.is_open and outage.covers(incident.opened_at):
            self._put_outage(executor_outages.after_doubted_failure(outage))
            return replace(incident, part_of=outage.incident_id)
        if not target_incidents.is_counted(incident):
            return incident
        before = self._target(incident.target)
        failure = Failure(incident.opened_at, incident.user_id, incident.monitor_id, incident.executor)
        after = target_incidents.after_failure(before, failure, self._rules.correlation)
        self._put_target(after)
        return replace(incident, counted=True, part_of=after.incident_id)

    def _end(self, incident: Incident, at: int) -> None:
        outage = self._outage(incident.executor)
        if outage.is_open and outage.covers(incident.opened_at):
            after = executor_outages.after_recovery(outage, at)
            self._put_outage(after)
            if not after.is_open:
                self._tell(after.routes, f"{after.incident_id}/closed", after, AlertKind.CLOSED)
        if not incident.counted:
            return
        left, closed = target_incidents.after_end(self._target(incident.target), at, self._rules.correlation)
        self._put_target(left)
        # of an incident that all doubted executors found, operators got the executors' alerts
        if closed is not None and not is_doubted(closed, self._outages):
            self._tell(closed.routes, f"{closed.incident_id}/closed", closed, AlertKind.CLOSED)

    def _tell(
        self, names: Iterable[str], item_id: str, known: TargetIncident | ExecutorOutage, kind: AlertKind
    ) -> None:
        for name in names:
            route = self._rules.named(name)
            if route is not None and route.audience is Audience.OPERATORS:
                if isinstance(known, TargetIncident):
                    alert = target_incidents.alert_of(known, kind, self._now)
                else:
                    alert = executor_outages.alert_of(known, kind, self._now)
                self.told.append((route, item_id, alert))

    def _stands_for(self, incident: Incident) -> bool:
        outage = self._outage(incident.executor)
        return incident.part_of in (
            self._target(incident.target).incident_id,
            outage.incident_id if outage.is_open else "",
        )

    def _is_suspect(self, transition: Transition) -> bool:
        return executor_outages.is_suspect(transition.unreached, self._rules.own_outage) and bool(transition.executor)

    def _target(self, name: str) -> TargetIncident:
        return self._targets.get(name) or TargetIncident(name)

    def _outage(self, name: str) -> ExecutorOutage:
        return self._outages.get(name) or ExecutorOutage(name)

    def _put_target(self, known: TargetIncident) -> None:
        self._targets[known.target] = known
        self._changed_targets.add(known.target)

    def _put_outage(self, known: ExecutorOutage) -> None:
        self._outages[known.executor] = known
        self._changed_outages.add(known.executor)


def is_doubted(known: TargetIncident, outages: dict[str, ExecutorOutage]) -> bool:
    """Tell whether all that found the failures of a target's incident are executors that were doubted then."""
    return bool(known.executors) and all(
        name in outages and outages[name].covers(known.opened_at) for name in known.executors
    )
