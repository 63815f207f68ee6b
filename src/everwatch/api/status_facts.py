"""What a status page tells of a user: states, 90 days of availability, outages and maintenance, from the database.

It tells names, states and times only: reasons of failures, targets and attributes stay inside.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from everwatch.model import At, Cron, Maintenance, Monitor, State, Transition, User
from everwatch.schedule.cron import cron_times
from everwatch.schedule.duration import DAY_MS
from everwatch.schedule.maintenance import maintenance_end
from everwatch.store.availability import Bar
from everwatch.store.interface import Reader, When

DAYS = 90
OUTAGE_DAYS = 14
AHEAD_DAYS = 14
MOST_MONITORS = 60
MOST_OUTAGES = 50
MOST_WINDOWS = 20
_MOST_TRANSITIONS = 500
HIDDEN = ("status", "hidden")
"""The label of a monitor that is not shown."""
GROUP = "group"
"""The label whose value is the heading that a monitor stands under."""
WRONG = (State.DOWN, State.LATE)


class ShownMonitor(NamedTuple):
    """A monitor: its state now, in maintenance or not, and a bar for each of 90 days, the oldest first."""

    name: str
    state: State
    in_maintenance: bool
    availability: float | None
    days: Sequence[Bar]


class Outage(NamedTuple):
    """A time in which a monitor was down or late; ``end`` 0: it still is. Several monitors may have one name."""

    name: str
    monitor_id: str
    state: State
    begin: int
    end: int


class Window(NamedTuple):
    """Maintenance that is on or ahead. ``name``: of a monitor; "": of all."""

    name: str
    begin: int
    end: int


class StatusFacts(NamedTuple):
    """All of a page, as of ``at`` (ms). ``groups``: by heading. ``left_out``: monitors beyond ``MOST_MONITORS``."""

    title: str
    at: int
    groups: dict[str, list[ShownMonitor]]
    outages: list[Outage]
    windows: list[Window]
    left_out: int

    @property
    def parts(self) -> list[ShownMonitor]:
        """The parts of all groups."""
        return [part for some in self.groups.values() for part in some]

    @property
    def wrong(self) -> list[ShownMonitor]:
        """What does not work, and is not in maintenance."""
        return [part for part in self.parts if part.state in WRONG and not part.in_maintenance]


def status_facts(reader: Reader, user_id: str, now: int) -> StatusFacts | None:
    """Gather what a user's page tells; None if there is no such user. Raises StoreError."""
    user = reader.user(user_id)
    if user is None:
        return None
    public = [each for each in reader.monitors(user_id) if _is_public(each)]
    shown = public[:MOST_MONITORS]
    groups: dict[str, list[ShownMonitor]] = {}
    for monitor in sorted(shown, key=lambda each: (_group_of(each), _name_of(each))):
        groups.setdefault(_group_of(monitor), []).append(_part(reader, user, monitor, now))
    changes = reader.transitions(user_id, when=When(since=now - OUTAGE_DAYS * DAY_MS), limit=_MOST_TRANSITIONS)
    return StatusFacts(
        title=str(user.attributes.get("name") or user_id),
        at=now,
        groups=groups,
        outages=outages_of(changes, shown),
        windows=windows_of(user, shown, now),
        left_out=len(public) - len(shown),
    )


def outages_of(changes: Iterable[Transition], monitors: Iterable[Monitor]) -> list[Outage]:
    """Return the times in which monitors were down or late, the latest first, of changes that have the latest first."""
    names = {each.spec.monitor_id: _name_of(each) for each in monitors}
    ended: dict[str, int] = {}
    found = []
    for change in changes:
        monitor_id = change.monitor_id
        if monitor_id not in names or change.reminder:
            continue
        if change.to_state in WRONG:
            found.append(Outage(names[monitor_id], monitor_id, change.to_state, change.at, ended.get(monitor_id, 0)))
        ended[monitor_id] = change.at
    return found[:MOST_OUTAGES]


def windows_of(user: User, monitors: Iterable[Monitor], now: int) -> list[Window]:
    """Return the maintenance that is on, or begins within two weeks, the earliest first."""
    windows = [Window("", *span) for span in _spans(user.maintenance, now)]
    for monitor in monitors:
        windows += [Window(_name_of(monitor), *span) for span in _spans(monitor.spec.policy.maintenance, now)]
    return sorted(windows, key=lambda each: (each.begin, each.name))[:MOST_WINDOWS]


def _spans(maintenance: Iterable[Maintenance], now: int) -> Iterator[tuple[int, int]]:
    upto = now + AHEAD_DAYS * DAY_MS
    for each in maintenance:
        if not each.cron:
            if each.end > now and each.start < upto:
                yield each.start, each.end
            continue
        times = cron_times(Cron(each.cron, each.timezone))
        begin = times.last_between(now - each.duration_ms, now)
        if begin is None:
            begin = times.next_after(now)
        if begin is not None and begin < upto:
            yield begin, begin + each.duration_ms


def _part(reader: Reader, user: User, monitor: Monitor, now: int) -> ShownMonitor:
    had = reader.availability(user.user_id, monitor.spec.monitor_id, now - DAYS * DAY_MS, now, DAYS)
    windows = (*user.maintenance, *monitor.spec.policy.maintenance)
    in_maintenance = maintenance_end(windows, now) > 0
    return ShownMonitor(_name_of(monitor), monitor.state, in_maintenance, had.total.availability, had.bars)


def _is_public(monitor: Monitor) -> bool:
    return not isinstance(monitor.spec.schedule, At) and HIDDEN not in monitor.spec.labels


def _group_of(monitor: Monitor) -> str:
    return dict(monitor.spec.labels).get(GROUP, "")


def _name_of(monitor: Monitor) -> str:
    return monitor.spec.name or monitor.spec.monitor_id
