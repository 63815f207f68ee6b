"""Facts of a user's status page: states, 90 days of availability, outages and maintenance, from the database.

Names, states and times only: reasons of failures, targets and attributes are not among them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from everwatch.model import At, Cron, Maintenance, Monitor, State, Transition, User
from everwatch.notifier.page_access import PageAccess
from everwatch.notifier.status_file import OperatorPage
from everwatch.rules.lifecycle import maintained_until
from everwatch.schedule.cron import cron_times
from everwatch.schedule.duration import DAY_MS
from everwatch.store.availability import Availability, Bar
from everwatch.store.interface import Reader
from everwatch.store.past_reading import read_availabilities
from everwatch.store.selections import Selection, TransitionSelection, When

DAYS = 90
OUTAGE_DAYS = 14
AHEAD_DAYS = 14
MOST_MONITORS = 60
MOST_OUTAGES = 50
MOST_WINDOWS = 20
_MOST_TRANSITIONS = 500
# tasks and hidden monitors are among them
_MOST_LISTED = 500
_MOST_HEADINGS = 4
HIDDEN = ("status", "hidden")
"""The label of a monitor that is not shown."""
GROUP = "group"
"""The label whose value is the heading that a monitor stands under."""
ACCESS = "status_page"
"""The attribute of a user that says who may read the user's page: ``link`` (without it, too) or ``signed-in``."""
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
    """All of a page, as of ``at`` (ms). ``groups``: by heading. ``left_out``: monitors beyond ``MOST_MONITORS``.

    ``page``: what operators say of a page of theirs, None for a user's page; there ``left_out`` is -1 if any are.
    ``access``: who may read it; ``user_id``: the one user whose monitors it shows, "" for several.
    """

    title: str
    at: int
    groups: dict[str, list[ShownMonitor]]
    outages: list[Outage]
    windows: list[Window]
    left_out: int
    page: OperatorPage | None = None
    access: PageAccess = PageAccess.PUBLIC
    user_id: str = ""

    @property
    def parts(self) -> list[ShownMonitor]:
        """The parts of all groups."""
        return [part for some in self.groups.values() for part in some]

    @property
    def wrong(self) -> list[ShownMonitor]:
        """The parts that are down or late, and not in maintenance."""
        return [part for part in self.parts if part.state in WRONG and not part.in_maintenance]


def operator_facts(reader: Reader, page: OperatorPage, now: int) -> StatusFacts:
    """Gather the facts of an operators' page: of the monitors of all users that its selector has. Raises StoreError."""
    match = page.match
    which = Selection(match.user, "", match.kind, match.plan, tuple(match.label.items()), match.target)
    listed = reader.list_monitors(which, limit=_MOST_LISTED)
    public = [each for each in listed if _is_public(each)]
    of_users: dict[str, list[Monitor]] = {}
    for monitor in public[:MOST_MONITORS]:
        of_users.setdefault(monitor.user_id, []).append(monitor)
    groups: dict[str, list[ShownMonitor]] = {}
    outages: list[Outage] = []
    windows: list[Window] = [Window(each.title, each.begin, each.end) for each in page.maintenance if each.end > now]
    for user_id, shown in of_users.items():
        user = reader.user(user_id)
        if user is None:
            continue  # it has gone since
        facts = _facts_of(reader, user, shown, now)
        for heading, parts in facts.groups.items():
            groups.setdefault(heading or facts.title, []).extend(parts)
        headings = {each.monitor_id: _group_of(each) or facts.title for each in shown}
        outages += [each._replace(name=f"{headings[each.monitor_id]}: {each.name}") for each in facts.outages]
        windows += [window._replace(name=window.name or facts.title) for window in facts.windows]
    return StatusFacts(
        title=page.title,
        at=now,
        groups=joined(dict(sorted(groups.items()))),
        outages=sorted(outages, key=lambda each: each.begin, reverse=True)[:MOST_OUTAGES],
        windows=sorted(set(windows), key=lambda each: (each.begin, each.name))[:MOST_WINDOWS],
        left_out=-1 if len(public) > MOST_MONITORS or listed.next else 0,
        page=page,
        access=page.access,
        user_id=match.user,
    )


def joined(groups: dict[str, list[ShownMonitor]]) -> dict[str, list[ShownMonitor]]:
    """Return groups of one part each as one group: a heading for each part would hide how many there are."""
    parts = [(heading, part) for heading, some in groups.items() for part in some]
    if len(parts) > len(groups) or len(groups) < _MOST_HEADINGS:
        return groups
    is_one_name = len({part.name for _, part in parts}) == 1
    return {
        "": [part._replace(name=heading if is_one_name else f"{heading}: {part.name}") for heading, part in parts],
    }


def status_facts(reader: Reader, user_id: str, now: int) -> StatusFacts | None:
    """Gather the facts of a user's page; None if there is no such user. Raises StoreError."""
    user = reader.user(user_id)
    if user is None:
        return None
    public = [each for each in reader.monitors(user_id) if _is_public(each)]
    return _facts_of(reader, user, public[:MOST_MONITORS], now)._replace(left_out=max(0, len(public) - MOST_MONITORS))


def _facts_of(reader: Reader, user: User, shown: Sequence[Monitor], now: int) -> StatusFacts:
    """Return the facts of some monitors of a user."""
    user_id = user.user_id
    by_id = {each.spec.monitor_id: each for each in shown}
    had = read_availabilities(reader, user_id, by_id, now - DAYS * DAY_MS, now, DAYS)
    groups: dict[str, list[ShownMonitor]] = {}
    for monitor in sorted(shown, key=lambda each: (_group_of(each), _name_of(each))):
        groups.setdefault(_group_of(monitor), []).append(_part(user, monitor, had[monitor.spec.monitor_id], now))
    wrong = {each.spec.monitor_id for each in shown if each.state in WRONG and not _is_in_maintenance(user, each, now)}
    changes = reader.transitions(
        TransitionSelection(user_id), when=When(since=now - OUTAGE_DAYS * DAY_MS), limit=_MOST_TRANSITIONS
    )
    return StatusFacts(
        title=str(user.attributes.get("name") or user_id),
        at=now,
        groups=groups,
        outages=outages_of(changes, shown, wrong),
        windows=windows_of(user, shown, now),
        left_out=0,
        access=_access_of(user),
        user_id=user_id,
    )


def _access_of(user: User) -> PageAccess:
    """Return the readers of a user's page, as an attribute says; any other value keeps the page from strangers, too."""
    said = user.attributes.get(ACCESS, PageAccess.LINK)
    return PageAccess.LINK if said in (PageAccess.LINK, PageAccess.PUBLIC) else PageAccess.SIGNED_IN


def outages_of(changes: Iterable[Transition], monitors: Sequence[Monitor], wrong: Collection[str] = ()) -> list[Outage]:
    """Return the times in which monitors were down or late, the latest first.

    ``changes``: the latest first; an outage that began before them is among the times, too. ``wrong``: the monitors
    that are down or late now, by id.
    """
    names = {each.spec.monitor_id: _name_of(each) for each in monitors}
    ended: dict[str, int] = {}
    earliest: dict[str, Transition] = {}
    found = []
    for change in changes:
        monitor_id = change.monitor_id
        if monitor_id not in names or change.reminder:
            continue
        if change.to_state in WRONG:
            found.append(Outage(names[monitor_id], monitor_id, change.to_state, change.at, ended.get(monitor_id, 0)))
        ended[monitor_id] = change.at
        earliest[monitor_id] = change
    for monitor in monitors:
        monitor_id = monitor.spec.monitor_id
        first = earliest.get(monitor_id)
        if first is None and monitor_id in wrong:
            found.append(Outage(names[monitor_id], monitor_id, monitor.state, monitor.state_since, 0))
        elif first is not None and first.from_state in WRONG and first.lasted_ms:
            found.append(Outage(names[monitor_id], monitor_id, first.from_state, first.at - first.lasted_ms, first.at))
    return sorted(found, key=lambda each: each.begin, reverse=True)[:MOST_OUTAGES]


def windows_of(user: User, monitors: Iterable[Monitor], now: int) -> list[Window]:
    """Return the maintenance that is on, or begins within two weeks, the earliest first."""
    windows = [Window("", *span) for span in _spans(user.maintenance, now)]
    for monitor in monitors:
        windows += [Window(_name_of(monitor), *span) for span in _spans(monitor.maintenance, now)]
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


def _part(user: User, monitor: Monitor, had: Availability, now: int) -> ShownMonitor:
    in_maintenance = _is_in_maintenance(user, monitor, now)
    return ShownMonitor(_name_of(monitor), monitor.state, in_maintenance, had.total.availability, had.bars)


def _is_in_maintenance(user: User, monitor: Monitor, now: int) -> bool:
    return maintained_until(monitor, user, now) > 0


def _is_public(monitor: Monitor) -> bool:
    return not isinstance(monitor.spec.schedule, At) and HIDDEN not in monitor.spec.labels


def _group_of(monitor: Monitor) -> str:
    return dict(monitor.spec.labels).get(GROUP, "")


def _name_of(monitor: Monitor) -> str:
    return monitor.spec.name or monitor.spec.monitor_id
