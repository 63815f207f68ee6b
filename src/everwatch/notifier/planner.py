"""From events to messages: judge what was taken in, and put together what is to be told now.

Each pass is one transaction, so a notifier that is killed in between does it again, or finds it done.
"""

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from everwatch.core.errors import is_retryable
from everwatch.notifier.addresses import Address
from everwatch.notifier.alerts import Alert, Message, derived_id
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.group_rows import Group, Item
from everwatch.notifier.grouping import Collapse, flush_at, message_of
from everwatch.notifier.incidents import Incident, after_silence, after_transition
from everwatch.notifier.intake import DELETED
from everwatch.notifier.intake_rows import Event
from everwatch.notifier.metrics import ALERTS
from everwatch.notifier.routes import Audience, NoAddress, Route, Rules
from everwatch.notifier.senders import lane_of
from everwatch.notifier.storage import Storage, Work
from everwatch.plans.placeholders import Given
from everwatch.store.partition import Partition

logger = logging.getLogger(__name__)

MOST_EVENTS = 1_000
MOST_GROUPS = 500
# a transition may be read before the signup of its user: they stand on two topics
USER_KNOWN_WITHIN_MS = 60_000
_LOOK_AGAIN_MS = 1_000


class Judged(NamedTuple):
    """How many events a pass has judged, and how many alerts came of them."""

    events: int
    alerts: int


def judge(
    storage: Storage, rules: Rules, partitions: Collection[int], topic: str, now: int, most: int = MOST_EVENTS
) -> Judged:
    """Judge the oldest events of these partitions of ``topic``, and incidents that have stopped flapping."""
    if not partitions:
        return Judged(0, 0)
    with storage.begin() as work:
        # mostly there is nothing, and then nothing is locked or written
        if not work.events_to_judge(partitions, now, 1) and not work.incidents_to_settle(partitions, now, 1):
            return Judged(0, 0)
        work.lock([Partition(topic, number) for number in partitions])
        events = work.events_to_judge(partitions, now, most)
        settling = work.incidents_to_settle(partitions, now, most)
        if not events and not settling:
            return Judged(0, 0)
        judging = _Judging(work, rules, now)
        judging.settle(settling)
        judging.judge(events)
        return Judged(len(events), judging.write())


class _Judging:
    """One pass: what changes is gathered, and written at its end."""

    def __init__(self, work: Work, rules: Rules, now: int) -> None:
        self._work = work
        self._rules = rules
        self._now = now
        self._begun_at = work.begun_at(now)
        self._users: dict[str, Given] = {}
        self._incidents: dict[tuple[str, str], Incident | None] = {}
        self._changed: dict[tuple[str, str], tuple[int, Incident]] = {}
        self._gone: set[tuple[str, str]] = set()
        self._verdicts: list[tuple[str, int | None, str]] = []
        self._items: list[tuple[str, str, Alert]] = []
        self._routes: dict[str, tuple[Route, str]] = {}
        self._disabled: set[str] = set()

    def settle(self, settling: list[tuple[int, Incident]]) -> None:
        """Tell of incidents that have kept their state for long enough."""
        self._meet({incident.user_id for _, incident in settling})
        for number, incident in settling:
            step = after_silence(incident, self._now)
            assert step.incident is not None
            key = incident.user_id, incident.monitor_id
            self._incidents[key] = step.incident
            self._changed[key] = number, step.incident
            self._route(step.alerts, derived_id("settled", *key, incident.settles_at))

    def judge(self, events: list[Event]) -> None:
        """Judge events in their order."""
        keys = {(event.transition.user_id, event.transition.monitor_id) for event in events}
        self._meet({user_id for user_id, _ in keys})
        for key, incident in self._work.incidents(keys - self._incidents.keys()).items():
            self._incidents[key] = incident
        for event in events:
            transition = event.transition
            key = transition.user_id, transition.monitor_id
            waits = transition.user_id not in self._users and transition.reason != DELETED
            if waits and self._now - event.taken_at < USER_KNOWN_WITHIN_MS:
                self._verdicts.append((event.event_id, self._now + _LOOK_AGAIN_MS, "waits for its user"))
                continue
            silent = transition.at < self._begun_at
            step = after_transition(self._incidents.get(key), transition, silent=silent)
            self._incidents[key] = step.incident
            if transition.reason == DELETED:
                self._gone.add(key)
                self._changed.pop(key, None)
            elif step.incident is not None:
                self._gone.discard(key)
                self._changed[key] = event.partition, step.incident
            routes = self._route(step.alerts, event.event_id)
            verdict = step.verdict
            if step.alerts:
                verdict = f"{verdict}: {', '.join(routes)}" if routes else "no route takes it"
            self._verdicts.append((event.event_id, None, verdict))

    def write(self) -> int:
        """Write what has changed; return the number of alerts that wait now."""
        work = self._work
        work.put_incidents(self._changed.values())
        work.put_verdicts(self._verdicts)
        work.delete_monitors(self._gone)
        found = work.groups(self._routes)
        changed = []
        for group_id, (route, user_id) in self._routes.items():
            group = found.get(group_id) or Group(group_id, route.name, user_id, 0, 0, "")
            if not group.flush_at:
                changed.append(group._replace(flush_at=flush_at(route.timing, self._now, group.flushed_at)))
        work.put_groups(changed)
        work.put_items(self._items)
        return len(self._items)

    def _route(self, alerts: tuple[Alert, ...], of: str) -> list[str]:
        """Put alerts to the groups of the routes that take them; return the names of these."""
        names = []
        for number, alert in enumerate(alerts):
            given = self._users.get(alert.user_id)
            # one without an address, or whose address is given up, is passed over
            reaches = partial(self._has_address, given=given)
            for route in self._rules.routes_of(alert, given.plan if given else "", reaches):
                group_id = route.group_id(alert)
                user_id = alert.user_id if route.audience is Audience.USERS else ""
                self._routes[group_id] = route, user_id
                self._items.append((group_id, f"{of}/{number}" if number else of, alert))
                names.append(route.name)
        return names

    def _has_address(self, route: Route, given: Given | None) -> bool:
        if route.audience is Audience.USERS and given is None:
            return False
        try:
            address = route.address(given)
        except NoAddress:
            return False
        # few are given up, and an id takes a hash
        return not self._disabled or channel_id_of(route, given, address) not in self._disabled

    def _meet(self, user_ids: set[str]) -> None:
        """Learn what routes need of these users."""
        self._users |= self._work.users(user_ids)
        self._disabled |= self._work.disabled_channels(user_ids)


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
        self._groups: list[Group] = []
        self._new: list[Delivery] = []
        self._deleted: list[tuple[str, int]] = []
        self._held: list[tuple[str, str, Alert]] = []

    def compose(self, groups: list[Group]) -> None:
        work = self._work
        open_ones = work.deliveries([group.open_delivery for group in groups if group.open_delivery])
        users = work.users({group.user_id for group in groups if group.user_id})
        waiting = self._items({group.group_id for group in groups})
        for group in groups:
            last = open_ones.get(group.open_delivery)
            self._compose(group, last, users.get(group.user_id), waiting.get(group.group_id, []))
        work.delete_items(self._deleted)
        work.put_items(self._held)
        work.put_deliveries(self._new)
        work.put_groups(self._groups)

    def _items(self, group_ids: set[str]) -> dict[str, list[Item]]:
        waiting: dict[str, list[Item]] = {}
        for group_id, item in self._work.items(group_ids):
            waiting.setdefault(group_id, []).append(item)
        return waiting

    def _compose(self, group: Group, last: Delivery | None, given: Given | None, items: list[Item]) -> None:
        now = self._now
        route = self._rules.named(group.route)
        if route is None or not items:
            # a route that was taken out of the file tells nothing any more
            self._deleted.append((group.group_id, items[-1].seq if items else 0))
            self._groups.append(group._replace(flush_at=0))
            return
        before: Message | None = None
        if last is not None and last.state in ("pending", "sending"):
            # two messages of one group are never under way at once; one that could not be sent yet is told anew, with
            # what has happened since
            if last.state == "sending" or last.message.more or last.message.is_test or not self._give_up(last):
                self._groups.append(group._replace(flush_at=now + _LOOK_AGAIN_MS))
                return
            before = last.message
        collapse = Collapse(route.timing, now, keeps_incidents=route.keeps_incidents)
        for alert in before.alerts if before is not None else ():
            assert last is not None
            collapse.add(alert, last.delivery_id, may_be_known=last.attempt > 0)
        by_incident: dict[str, list[Item]] = {}
        for item in items:
            collapse.add(item.alert, item.item_id)
            by_incident.setdefault(item.alert.incident_id, []).append(item)
        told, held, held_until = collapse.result()
        self._deleted.append((group.group_id, items[-1].seq))
        for alert in held:
            self._held += [(group.group_id, i.item_id, i.alert) for i in by_incident.get(alert.incident_id, [])]
        after = group._replace(flush_at=held_until)
        for alerts in _parted(route, told):
            # of several messages each has an id of its own, which follows from its incident
            ids = collapse.ids if len(alerts) == len(told) else [*collapse.ids, alerts[0].incident_id]
            message = message_of(route.name, group.user_id, group.group_id, alerts, ids, now)
            delivery = new_delivery(route, group.group_id, given, message, now)
            if last is not None and before is not None and _have_in_common(before.alerts, alerts):
                # what failed before is not tried sooner, or for longer, for being told anew
                delivery = delivery._replace(
                    attempt=last.attempt, due_at=max(now, last.due_at), created_at=last.created_at
                )
            self._new.append(delivery)
            after = after._replace(flushed_at=now, open_delivery=message.message_id)
        self._groups.append(after)

    def _give_up(self, delivery: Delivery) -> bool:
        return self._work.supersede(delivery.delivery_id, self._now, "told anew, with what has happened since")


def _parted(route: Route, told: list[Alert]) -> list[list[Alert]]:
    """The alerts of each message, that of the newest incident last; where a message takes one alert, all get theirs."""
    if not route.takes_one_alert:
        return [told] if told else []
    return [[alert] for alert in sorted(told, key=lambda alert: alert.opened_at)]


def _have_in_common(some: Collection[Alert], others: Collection[Alert]) -> bool:
    """Tell whether any incident is in both messages."""
    return not {alert.incident_id for alert in some}.isdisjoint(alert.incident_id for alert in others)


class Planner:
    """Judges events and composes messages. ``complain(subject, sentence)`` reports what went wrong.

    After an unexpected error the next pass takes half as many events or groups, down to the one that causes it, which
    is passed over so that it stops no other.
    """

    def __init__(self, storage: Storage, topic: str, complain: Callable[[str, str], None]) -> None:
        self._storage = storage
        self._topic = topic
        self._complain = complain
        self._most_events, self._most_groups = MOST_EVENTS, MOST_GROUPS

    def turn(self, rules: Rules, partitions: Collection[int], now: int) -> bool:
        """Judge, then compose; return whether there was anything to do. Raises what may be tried again."""
        storage = self._storage
        events = groups = 1
        try:
            events, alerts = judge(storage, rules, partitions, self._topic, now, self._most_events)
            ALERTS.inc(alerts)
            self._most_events = min(2 * self._most_events, MOST_EVENTS)
        except Exception as error:
            self._failed("judging", error)
            if self._most_events == 1:
                with storage.begin() as work:
                    work.pass_over_event(partitions, now, "it could not be judged; see the notifier's log")
            self._most_events = max(1, self._most_events // 2)
        try:
            groups = compose(storage, rules, now, self._most_groups)
            self._most_groups = min(2 * self._most_groups, MOST_GROUPS)
        except Exception as error:
            self._failed("composing", error)
            if self._most_groups == 1:
                with storage.begin() as work:
                    given_up = work.groups_to_flush(now, 1)
                    work.empty_groups([group.group_id for group in given_up])
                    work.put_groups(group._replace(flush_at=0) for group in given_up)
            self._most_groups = max(1, self._most_groups // 2)
        return bool(events or groups)

    def _failed(self, about: str, error: Exception) -> None:
        if is_retryable(error):
            raise error
        self._complain(about, f"{about} failed, and what it fails for is passed over: {type(error).__name__}: {error}")
        logger.debug("%s failed", about, exc_info=error)


def new_delivery(route: Route, group_id: str, given: Given | None, message: Message, now: int) -> Delivery:
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


def channel_id_of(route: Route, given: Given | None, address: Address) -> str:
    """Return the id of one address of one route; another address of the same user is another channel."""
    whose = given.user_id if given is not None and route.audience is Audience.USERS else ""
    return derived_id("channel", route.name, whose, *address.__struct_fields__, *_values(address))


def _values(address: Address) -> list[object]:
    return [getattr(address, name) for name in address.__struct_fields__]
