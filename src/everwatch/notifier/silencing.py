"""Silences and incidents: a silenced incident raises no alert, until the silence ends and it is still open."""

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from everwatch.model import State, Transition
from everwatch.notifier.alerts import RESOLVING
from everwatch.notifier.incidents import Incident, Phase, Step
from everwatch.notifier.intake import event_row
from everwatch.notifier.silences import AlertSilence, silence_of
from everwatch.notifier.storage import Storage, Work
from everwatch.plans.placeholders import PlaceholderUser

_PAGE = 1_000
_MOST = 100


def silenced(step: Step, silence: AlertSilence) -> Step:
    """Return what a transition does whose alerts are silenced: the end of an incident that was sent is sent."""
    incident = step.incident
    if incident is not None and incident.is_open:
        incident = replace(incident, silenced=True)
    alerts = tuple(alert for alert in step.alerts if alert.kind in RESOLVING)
    return replace(
        step,
        incident=incident,
        alerts=alerts,
        verdict=silence.verdict if step.verdict == "suppressed" else step.verdict,
    )


def end_silences(storage: Storage, now: int) -> int:
    """Send reminders of incidents whose alerts were silenced and that no silence covers any more.

    Each gets a reminder, as at the end of maintenance. Returns how many silences are over.
    """
    with storage.begin() as work:
        over = work.silences_over(now, _MOST)
        if not over:
            return 0
        still_on = [each for each in work.silences(now) if each.is_on(now)]
        after = "", ""
        while page := work.open_incidents_after(after, _PAGE):
            after = page[-1][1].user_id, page[-1][1].monitor_id
            _remind(work, [each for each in page if _waits(each[1])], over, still_on, now)
        for each in over:
            work.delete_silence(each.silence_id)
        return len(over)


def _remind(
    work: Work, waiting: list[tuple[int, Incident]], over: list[AlertSilence], still_on: list[AlertSilence], now: int
) -> None:
    if not waiting:
        return
    users = work.users({incident.user_id for _, incident in waiting})
    free = []
    for _, each in waiting:
        given = users.get(each.user_id)
        known = each.user_id, given.plan if given is not None else "", each.monitor_kind, each.target, each.labels
        if silence_of(over, *known) is not None and silence_of(still_on, *known) is None:
            free.append(each)
    put_reminders(work, users, free, now)


def put_reminders(work: Work, users: Mapping[str, PlaceholderUser], incidents: Collection[Incident], now: int) -> None:
    """Have it judged that these incidents go on, as if a worker reminded of them."""
    numbers = work.partitions_of_incidents({(each.user_id, each.monitor_id) for each in incidents})
    rows = []
    for each in incidents:
        if (number := numbers.get((each.user_id, each.monitor_id))) is None:
            continue  # its monitor was deleted this instant
        given, state = users.get(each.user_id), State(each.state)
        reminder = Transition(
            each.user_id,
            each.monitor_id,
            now,
            state,
            state,
            each.reason,
            0,
            alert=True,
            reminder=True,
            kind=each.monitor_kind,
            target=each.target,
            plan=given.plan if given is not None else "",
            labels=each.labels,
            executor=each.executor,
        )
        rows.append(event_row(number, 0, reminder, now))
    work.put_events(rows)


def _waits(incident: Incident) -> bool:
    return incident.silenced and incident.phase is Phase.OPEN
