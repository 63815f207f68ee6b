"""From events to alerts that wait in groups: a pass is one transaction."""

from collections.abc import Collection
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from everwatch.model import Transition
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.alerts import Alert, AlertKind, derived_id
from everwatch.notifier.contacts import ask, contact_id_of
from everwatch.notifier.correlating import Correlating, Told
from everwatch.notifier.group_rows import Group
from everwatch.notifier.incidents import Incident, Phase, after_silence, after_transition, alert_of
from everwatch.notifier.intake import DELETED
from everwatch.notifier.intake_rows import TakenTransition
from everwatch.notifier.meaning import Meaning, meaning_of
from everwatch.notifier.routes import AlertRoute, Audience, NoAddress, Rules, channel_id_of
from everwatch.notifier.silences import AlertSilence, silence_of
from everwatch.notifier.silencing import put_reminders, silenced
from everwatch.notifier.storage import Storage, Work
from everwatch.notifier.timing import flush_at
from everwatch.plans.placeholders import PlaceholderUser
from everwatch.store.partition import Partition

MOST_EVENTS = 1_000
# a transition may be read before the signup of its user: they stand on two topics
USER_KNOWN_WITHIN_MS = 60_000
_LOOK_AGAIN_MS = 1_000
_SILENCED = frozenset({Meaning.OPENS, Meaning.REMINDS, Meaning.FAILS})


class Judged(NamedTuple):
    """Numbers of a pass: events and incidents that it has judged, and their alerts."""

    events: int
    alerts: int


def judge(
    storage: Storage, rules: Rules, partitions: Collection[int], topic: str, now: int, most: int = MOST_EVENTS
) -> Judged:
    """Judge incidents that have stopped flapping, then the oldest events of these partitions of ``topic``.

    At most ``most`` of both together: a pass of one that fails says which one it is (``pass_over``).
    """
    if not partitions:
        return Judged(0, 0)
    with storage.begin() as work:
        # mostly there is nothing, and then nothing is locked or written
        if not work.incidents_to_settle(partitions, now, 1) and not work.events_to_judge(partitions, now, 1):
            return Judged(0, 0)
        work.lock([Partition(topic, number) for number in partitions])
        settling = work.incidents_to_settle(partitions, now, most)
        events = work.events_to_judge(partitions, now, most - len(settling)) if len(settling) < most else []
        if not events and not settling:
            return Judged(0, 0)
        judging = _Judging(work, rules, now)
        judging.run(settling, events)
        return Judged(len(settling) + len(events), judging.write())


class _Judging:
    """One pass: what changes is gathered, and written at its end."""

    def __init__(self, work: Work, rules: Rules, now: int) -> None:
        self._work = work
        self._rules = rules
        self._now = now
        self._begun_at = work.begun_at(now)
        self._users: dict[str, PlaceholderUser] = {}
        self._incidents: dict[tuple[str, str], Incident | None] = {}
        self._changed: dict[tuple[str, str], tuple[int, Incident]] = {}
        self._stored: dict[tuple[str, str], str] = {}
        self._gone: set[tuple[str, str]] = set()
        self._verdicts: list[tuple[str, int | None, str]] = []
        self._alerts: list[Told] = []
        self._disabled: set[str] = set()
        self._acks: dict[str, Acknowledgement] = {}
        self._verified: set[str] = set()
        self._unverified: dict[str, PlaceholderUser] = {}
        self._silences: list[AlertSilence] = []
        self._correlating = Correlating(work, rules, now)

    def run(self, settling: list[tuple[int, Incident]], events: list[TakenTransition]) -> None:
        """Judge events in their order, after incidents that have kept their state for long enough."""
        keys = {(event.transition.user_id, event.transition.monitor_id) for event in events}
        users = {user_id for user_id, _ in keys} | {incident.user_id for _, incident in settling}
        self._meet(users)
        known = self._work.incidents(keys)
        self._acks = self._work.acks({incident.incident_id for incident in known.values()})
        targets = {incident.target for incident in known.values()} | {incident.target for _, incident in settling}
        transitions = [event.transition for event in events]
        self._correlating.meet(targets | {each.target for each in transitions}, transitions)
        stored = (*known.values(), *(incident for _, incident in settling))
        self._stored = {(each.user_id, each.monitor_id): each.incident_id for each in stored}
        self._settle(settling)
        self._incidents = {**known, **self._incidents}
        self._judge(events)

    def remind(self, incidents: Collection[Incident]) -> None:
        """Send that these incidents last; those under a silence are sent when it ends."""
        users = {incident.user_id for incident in incidents}
        self._meet(users)
        self._correlating.meet({incident.target for incident in incidents}, ())
        quiet = [incident for incident in incidents if self._silence_on(incident) is not None]
        put_reminders(self._work, self._users, quiet, self._now)
        for incident in incidents:
            if incident in quiet:
                continue
            alert = alert_of(incident, AlertKind.REMINDER, self._now)
            self._route((alert,), derived_id("snoozed", incident.incident_id, self._now), incident)

    def _meet(self, users: Collection[str]) -> None:
        """Learn what routes need of these users."""
        self._users = self._work.users(users)
        self._disabled = self._work.disabled_channels(users)
        self._silences = [each for each in self._work.silences_of(users, self._now) if each.is_on(self._now)]
        if self._rules.contacts.verify:
            self._verified = {each.contact_id for each in self._work.contacts_of(users) if each.verified_at}

    def _settle(self, settling: list[tuple[int, Incident]]) -> None:
        for number, before in settling:
            step = after_silence(before, self._now)
            if (silence := self._silence_on(before)) is not None:
                step = silenced(step, silence)
            key = before.user_id, before.monitor_id
            after = self._correlating.count(before, step)
            assert after is not None
            self._incidents[key] = after
            self._changed[key] = number, after
            self._route(step.alerts, derived_id("settled", *key, before.settles_at), after)

    def _judge(self, events: list[TakenTransition]) -> None:
        for event in events:
            transition = event.transition
            key = transition.user_id, transition.monitor_id
            waits = transition.user_id not in self._users and transition.reason != DELETED
            if waits and self._now - event.taken_at < USER_KNOWN_WITHIN_MS:
                self._verdicts.append((event.event_id, self._now + _LOOK_AGAIN_MS, "waits for its user"))
                continue
            silent = transition.at < self._begun_at
            before = self._incidents.get(key)
            silence = self._silence_of(transition)
            if silence is not None:
                transition = replace(transition, alert=False)
            step = after_transition(before, transition, silent=silent)
            if silence is not None:
                step = silenced(step, silence)
            after = self._incidents[key] = self._correlating.count(before, step, transition)
            if transition.reason == DELETED:
                self._gone.add(key)
                self._changed.pop(key, None)
            elif after is not None:
                self._gone.discard(key)
                self._changed[key] = event.partition, after
            verdict, told = step.verdict, step.alerts
            if after is not None and (ack := self._acks.get(after.incident_id)) is not None:
                told = tuple(alert for alert in told if not ack.silences(alert.kind, self._now))
                verdict = verdict if told == step.alerts else ack.verdict(self._now)
            routes = self._route(told, event.event_id, after)
            if told:
                verdict = f"{verdict}: {', '.join(routes)}" if routes else _untaken(told)
            self._verdicts.append((event.event_id, None, verdict))

    def _silence_of(self, transition: Transition) -> AlertSilence | None:
        """Return the silence that suppresses the message of a change, if any: the end of an incident is sent."""
        if not self._silences or not transition.alert or meaning_of(transition) not in _SILENCED:
            return None
        given = self._users.get(transition.user_id)
        plan = given.plan if given is not None else transition.plan
        return silence_of(
            self._silences, transition.user_id, plan, transition.kind, transition.target, transition.labels
        )

    def _silence_on(self, incident: Incident) -> AlertSilence | None:
        """Return the silence that suppresses the messages of an incident, if any."""
        given = self._users.get(incident.user_id)
        plan = given.plan if given is not None else ""
        return silence_of(
            self._silences, incident.user_id, plan, incident.monitor_kind, incident.target, incident.labels
        )

    def write(self) -> int:
        """Write the changes; return the number of alerts that wait now."""
        work = self._work
        self._alerts += self._correlating.told
        self._correlating.write()
        work.put_incidents(self._changed.values(), self._stored)
        work.put_verdicts(self._verdicts)
        work.delete_monitors(self._gone)
        put_alerts(work, self._now, self._alerts)
        # they were asked when their user came, unless the notifier was killed then, or did not verify yet
        ask(work, self._rules, self._unverified.values(), self._now)
        return len(self._alerts)

    def _route(self, alerts: tuple[Alert, ...], of: str, incident: Incident | None) -> list[str]:
        """Put alerts to the groups of the routes that take them; return the names of these."""
        names = []
        for number, alert in enumerate(alerts):
            given = self._users.get(alert.user_id)
            # one without an address, or whose address is given up, is passed over
            reaches = partial(self._has_address, given=given)
            for route in self._rules.routes_of(alert, given.plan if given else "", reaches):
                if by := self._correlating.stands_in(route, alert, incident):
                    names.append(f"{route.name} ({by})")
                    continue
                self._alerts.append((route, f"{of}/{number}" if number else of, alert))
                if alert.kind is AlertKind.ENDED and not route.keeps_incidents:
                    # it only takes back what has not been sent yet
                    continue
                is_held = route.audience is Audience.USERS and self._correlating.is_held(alert)
                names.append(f"{route.name} (held: executor {alert.executor} is doubted)" if is_held else route.name)
        return names

    def _has_address(self, route: AlertRoute, given: PlaceholderUser | None) -> bool:
        if route.audience is Audience.USERS and given is None:
            return False
        try:
            contact_id = contact_id_of(route, self._rules, given)
            if contact_id and contact_id not in self._verified:
                assert given is not None
                self._unverified[given.user_id] = given
                return False
            address = route.address(given)
        except NoAddress:
            return False
        # few are given up, and an id takes a hash
        return not self._disabled or channel_id_of(route, given, address) not in self._disabled


def _untaken(alerts: Collection[Alert]) -> str:
    """Return why alerts went to no route."""
    if all(alert.kind is AlertKind.ENDED for alert in alerts):
        return "no message about its end: no route that has this incident keeps incidents"
    return "no route takes it"


def put_alerts(work: Work, now: int, told: Collection[Told]) -> None:
    """Let alerts wait in the groups of their routes."""
    if not told:
        return
    items = [(route.group_id(alert), item_id, alert) for route, item_id, alert in told]
    found = work.groups({group_id for group_id, _, _ in items})
    changed: dict[str, Group] = {}
    for (group_id, _, alert), (route, _, _) in zip(items, told, strict=True):
        group = changed.get(group_id) or found.get(group_id)
        if group is None:
            whose = alert.user_id if route.audience is Audience.USERS else ""
            group = Group(group_id, route.name, whose, 0, 0, "")
        wanted = flush_at(route.timing, now, group.flushed_at, alert.severity)
        # one that holds alerts back sends new ones in its time
        if not group.flush_at or wanted < group.flush_at:
            changed[group_id] = group._replace(flush_at=wanted)
    work.put_groups(changed.values(), found)
    work.put_items(items)


def end_snoozes(storage: Storage, rules: Rules, now: int, most: int = MOST_EVENTS) -> int:
    """Tell again of incidents that were snoozed until now and go on; return how many snoozes are over."""
    with storage.begin() as work:
        over = work.snoozes_over(now, most)
        if not over:
            return 0
        found = work.incidents({(ack.user_id, ack.monitor_id) for ack in over})
        going_on = [
            incident
            for ack in over
            if (incident := found.get((ack.user_id, ack.monitor_id))) is not None
            and incident.incident_id == ack.incident_id
            and incident.phase is Phase.OPEN
        ]
        judging = _Judging(work, rules, now)
        judging.remind(going_on)
        judging.write()
        work.delete_acks([ack.incident_id for ack in over])
        return len(over)


def release_held(storage: Storage, rules: Rules, now: int) -> None:
    """Release alerts of executors that have been in doubt for long enough."""
    with storage.begin() as work:
        known = work.outages().values()
        if not any(each.is_over_time(rules.own_outage, now) or each.is_forgotten(now) for each in known):
            return
        correlating = Correlating(work, rules, now)
        correlating.meet((), ())
        correlating.release()
        put_alerts(work, now, correlating.told)
        correlating.write()


def ask_contacts(storage: Storage, rules: Rules, user_ids: Collection[str], now: int) -> int:
    """Send a code to each address of these users that is to be verified; return how many."""
    with storage.begin() as work:
        return ask(work, rules, work.users(user_ids).values(), now)
