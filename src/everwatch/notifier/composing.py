"""From groups whose time has come to messages: a pass is one transaction."""

from collections.abc import Collection, Iterator

from msgspec.structs import replace

from everwatch.notifier import executor_outages
from everwatch.notifier.ack_linking import AckLinking
from everwatch.notifier.alerts import RESOLVING, Alert, AlertKind, Message
from everwatch.notifier.correlating import is_doubted
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.executor_outages import ExecutorOutage
from everwatch.notifier.group_rows import Group, Item
from everwatch.notifier.grouping import Collapse, message_of
from everwatch.notifier.holding_back import DOUBTFUL, HoldingBack
from everwatch.notifier.metrics import CANCELLED
from everwatch.notifier.outcome_rows import SettledDelivery
from everwatch.notifier.routes import AlertRoute, NoAddress, Rules
from everwatch.notifier.senders import lane_of
from everwatch.notifier.storage import Storage, Work
from everwatch.notifier.target_incidents import TargetIncident
from everwatch.plans.placeholders import PlaceholderUser

MOST_GROUPS = 500
_LOOK_AGAIN_MS = 1_000
_ESCALATIONS = "\x1fescalations"


def compose(storage: Storage, rules: Rules, now: int, most: int = MOST_GROUPS) -> int:
    """Make messages of the groups whose time has come; return how many groups were looked at."""
    with storage.begin() as work:
        groups = work.groups_to_flush(now, most)
        if groups:
            _Composing(work, rules, now).compose(groups)
        return len(groups)


class _Composing:
    def __init__(self, work: Work, rules: Rules, now: int) -> None:
        self._work = work
        self._rules = rules
        self._now = now
        self._linking = AckLinking(work, rules)
        self._groups: list[Group] = []
        self._new: list[Delivery] = []
        self._settled: list[SettledDelivery] = []
        self._deleted: list[tuple[str, int]] = []
        self._held: list[tuple[str, str, Alert]] = []
        self._targets: dict[str, TargetIncident] = {}
        self._outages: dict[str, ExecutorOutage] = {}
        self._acked: Collection[str] = ()
        self._back = HoldingBack(rules, now)

    def compose(self, groups: list[Group]) -> None:
        work = self._work
        open_ones = work.deliveries([group.open_delivery for group in groups if group.open_delivery])
        users = work.users({group.user_id for group in groups if group.user_id})
        waiting = self._items({group.group_id for group in groups})
        self._targets = work.targets({item.alert.target for items in waiting.values() for item in items} - {""})
        self._outages = work.outages() if waiting else {}
        self._back.meet(work, self._outages, [item.alert for items in waiting.values() for item in items])
        self._acked = work.acks(self._to_escalate(groups, open_ones, waiting)).keys()
        for group in groups:
            last = open_ones.get(group.open_delivery)
            self._compose(group, last, users.get(group.user_id), waiting.get(group.group_id, []))
        work.delete_items(self._deleted)
        work.put_items(self._held)
        work.put_deliveries(self._in_their_turns())
        work.put_outcomes(self._settled, self._now)
        work.put_verdicts(self._back.verdicts)
        CANCELLED.inc(self._back.cancelled)
        work.put_groups(self._groups, {group.group_id for group in groups})

    def _to_escalate(
        self, groups: list[Group], open_ones: dict[str, Delivery], waiting: dict[str, list[Item]]
    ) -> set[str]:
        """The incidents that escalations may send now."""
        found: set[str] = set()
        for group in groups:
            route = self._rules.named(group.route)
            if route is not None and route.is_escalation:
                found.update(item.alert.incident_id for item in waiting.get(group.group_id, []))
                if (last := open_ones.get(group.open_delivery)) is not None:
                    found.update(alert.incident_id for alert in last.message.alerts)
        return found

    def _items(self, group_ids: set[str]) -> dict[str, list[Item]]:
        waiting: dict[str, list[Item]] = {}
        for group_id, item in self._work.items(group_ids):
            waiting.setdefault(group_id, []).append(item)
        return waiting

    def _compose(self, group: Group, last: Delivery | None, given: PlaceholderUser | None, items: list[Item]) -> None:
        now = self._now
        route = self._rules.named(group.route)
        if route is None or not items:
            # a route that was taken out of the file sends nothing any more
            self._deleted.append((group.group_id, items[-1].seq if items else 0))
            self._groups.append(group._replace(flush_at=0))
            return
        before: Message | None = None
        if last is not None and last.state in ("pending", "sending"):
            # two messages of one group are never under way at once; one that could not be sent yet is composed anew,
            # with what has happened since
            if (again_at := self._known_by_its_id_until(last)) or not self._give_up(last):
                self._groups.append(group._replace(flush_at=max(again_at, now + _LOOK_AGAIN_MS)))
                return
            before = last.message
        collapse = Collapse(route.timing, now, keeps_incidents=route.keeps_incidents)
        by_incident: dict[str, list[Item]] = {}
        for alert in before.alerts if before is not None else ():
            assert last is not None
            collapse.add(alert, last.delivery_id, may_be_known=last.attempt > 0)
            by_incident.setdefault(alert.incident_id, []).append(Item(0, last.delivery_id, alert))
        untold: set[str] = set()
        for item in items:
            alert = self._as_it_is_now(item.alert)
            if self._is_told_otherwise(route, alert, untold):
                untold.add(alert.incident_id)
                continue
            collapse.add(alert, item.item_id)
            by_incident.setdefault(item.alert.incident_id, []).append(item)
        told, held, held_until = collapse.result()
        if route.is_escalation:
            told, held = self._escalated(told, last), self._escalated(held, last)
        told, kept_back, back_until = self._back.part(route, told, by_incident)
        held += kept_back
        held_until = min(held_until or back_until, back_until or held_until)
        self._deleted.append((group.group_id, items[-1].seq))
        for alert in held:
            self._held += [(group.group_id, i.item_id, i.alert) for i in by_incident.get(alert.incident_id, [])]
        if held_until and route.timing.quiet is not None:
            held_until = route.timing.quiet.over_at_for({alert.severity for alert in held}, held_until)
        after = group._replace(flush_at=held_until)
        for alerts in _parted(route, told):
            # of several messages each has an id of its own, which follows from its incident
            ids = collapse.ids if len(alerts) == len(told) else [*collapse.ids, alerts[0].incident_id]
            message = message_of(route.name, group.user_id, group.group_id, alerts, ids, now)
            message = self._linking.linked(route, route.texts.applied(message))
            delivery = new_delivery(route, group.group_id, given, message, now)
            if last is not None and before is not None and _have_in_common(before.alerts, alerts):
                # what failed before is not tried sooner, or for longer, for being composed anew
                delivery = delivery._replace(
                    attempt=last.attempt, due_at=max(now, last.due_at), created_at=last.created_at
                )
            self._new.append(delivery)
            if delivery.state == "dead":
                self._settled.append(SettledDelivery(delivery, "dead", delivery.reason))
            after = after._replace(flushed_at=now, open_delivery=message.message_id)
        self._groups.append(after)

    def _known_by_its_id_until(self, last: Delivery) -> int:
        """Return when to look again at a message that may not be repeated yet; 0: it may.

        One in doubt may have come through. Its receiver recognises its id, and would not recognise another one, so it
        is sent again as it is first.
        """
        if last.state == "sending" or last.message.more or last.message.is_test:
            return self._now
        return last.due_at if last.is_in_doubt else 0

    def _escalated(self, alerts: list[Alert], last: Delivery | None) -> list[Alert]:
        """The alerts of an escalation: incidents without acknowledgement, and the end of those it has sent."""
        known = {alert.incident_id for alert in last.message.alerts} if last is not None else set()
        return [
            alert
            for alert in alerts
            if (alert.incident_id in known or alert.kind not in RESOLVING)
            and (alert.kind in RESOLVING or alert.incident_id not in self._acked)
        ]

    def _as_it_is_now(self, alert: Alert) -> Alert:
        """Alerts of a target say how many monitors fail now, and not when the first of them failed."""
        if alert.subject and alert.executor and alert.kind is AlertKind.OPENED:
            outage = self._outages.get(alert.executor)
            if outage is None or outage.incident_id != alert.incident_id:
                return alert
            return executor_outages.alert_of(outage, alert.kind, alert.at)
        known = self._targets.get(alert.target)
        if not alert.subject or alert.kind is not AlertKind.OPENED or known is None or not known.is_open:
            return alert
        return replace(alert, monitors=max(alert.monitors, known.failing - known.before))

    def _is_told_otherwise(self, route: AlertRoute, alert: Alert, untold: Collection[str]) -> bool:
        """Tell whether an alert to operators came before its target's or executor's incident, which now covers it.

        The end of an incident is not sent if its beginning (one of ``untold``) is not.
        """
        outage, target = self._outages.get(alert.executor), self._targets.get(alert.target)
        if alert.subject:
            # what doubted executors found of a target is theirs
            return not alert.executor and target is not None and is_doubted(target, self._outages)
        if alert.kind in RESOLVING:
            return alert.incident_id in untold and not route.keeps_incidents
        if outage is not None and route.name in outage.routes and outage.covers(alert.opened_at):
            return outage.is_open or alert.kind in DOUBTFUL
        if target is None or route.name not in target.routes:
            return False
        if alert.kind in DOUBTFUL and target.had(alert.opened_at):
            return True
        return target.has(alert.opened_at)

    def _in_their_turns(self) -> Iterator[Delivery]:
        """Yield the new messages; those to users about a target that many watch are due one after another."""
        paced: dict[str, list[Delivery]] = {}
        for delivery in self._new:
            # a message that is composed anew keeps its place
            is_new = delivery.due_at <= self._now and delivery.state == "pending"
            if is_new and delivery.user_id and self._is_paced(delivery.message):
                paced.setdefault(self._queue_of(delivery), []).append(delivery)
            else:
                yield delivery
        for queue, some in sorted(paced.items()):
            slots = self._work.paced_slots(queue, len(some), self._now, self._rules.correlation.per_s)
            for delivery, slot in zip(some, slots, strict=True):
                yield delivery._replace(due_at=slot)

    def _queue_of(self, delivery: Delivery) -> str:
        """Return the queue whose turns a message takes: its server's, where escalations do not wait behind the rest."""
        route = self._rules.named(delivery.route)
        return f"{delivery.lane}{_ESCALATIONS}" if route is not None and route.is_escalation else delivery.lane

    def _is_paced(self, message: Message) -> bool:
        known = (self._targets.get(alert.target) for alert in message.alerts)
        return any(target is not None and target.paces(self._now) for target in known)

    def _give_up(self, delivery: Delivery) -> bool:
        reason = "told anew, with what has happened since"
        if not self._work.supersede(delivery.delivery_id, self._now, reason):
            return False
        self._settled.append(SettledDelivery(delivery, "superseded", reason))
        return True


def _parted(route: AlertRoute, told: list[Alert]) -> list[list[Alert]]:
    """The alerts of each message, that of the newest incident last; where a message takes one alert, all get theirs."""
    if not route.takes_one_alert:
        return [told] if told else []
    return [[alert] for alert in sorted(told, key=lambda alert: alert.opened_at)]


def _have_in_common(some: Collection[Alert], others: Collection[Alert]) -> bool:
    """Tell whether any incident is in both messages."""
    return not {alert.incident_id for alert in some}.isdisjoint(alert.incident_id for alert in others)


def new_delivery(
    route: AlertRoute, group_id: str, given: PlaceholderUser | None, message: Message, now: int
) -> Delivery:
    """Return a message that waits for its first attempt; one without an address is dead, and says why."""
    state, reason, lane, target = "pending", "", "", ""
    try:
        address = route.address(given)
        lane, target = lane_of(address), address.shown
    except NoAddress as error:
        state, reason = "dead", str(error)
    return Delivery(
        delivery_id=message.message_id,
        group_id=group_id,
        route=route.name,
        user_id=message.user_id,
        sender=route.sender,
        lane=lane,
        target=target,
        state=state,
        attempt=0,
        doubts=0,
        due_at=now,
        lease_until=0,
        created_at=now,
        settled_at=now if state == "dead" else 0,
        reason=reason,
        message=message,
    )
