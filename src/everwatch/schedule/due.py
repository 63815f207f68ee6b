"""Due instants of a monitor, whatever its schedule. Pure.

Code that shows or audits runs asks here; the timetable comes to the same instants by shorter ways. ``key`` is always
the monitor's table key, ``since`` the instant after which it is due at all.
"""

from collections.abc import Iterator, Sequence

from everwatch.model import Align, At, Cron, Every, Monitor, MonitorSpec, Schedule, State
from everwatch.schedule.at import due_instant
from everwatch.schedule.duration import DAY_MS
from everwatch.schedule.every import due_between, phase_of
from everwatch.schedule.spread import spread_of
from everwatch.schedule.wall_times import Times, wall_times

# a run that is still further away need not be known yet, and to find it takes long
HORIZON_MS = 50 * 366 * DAY_MS


class NeverDue(ValueError):
    """Under its bounds a monitor is not due even once."""


def due_in(schedule: Schedule, key: bytes, since: int, after: int, upto: int) -> Sequence[int]:
    """Every due instant t with max(after, since) < t <= upto, in order."""
    begin = max(after, since)
    match schedule:
        case At():
            instant = due_instant(schedule, since)
            return (instant,) if begin < instant <= upto else ()
        case Every(align=Align.PHASE | Align.EPOCH):
            return due_between(schedule, phase_of(key, schedule), begin, upto)
        case _:
            times, offset = _by_the_wall(schedule, key)
            found = times.between(begin - offset, upto - offset)
            return [t + offset for t in found] if offset else found


def next_due(schedule: Schedule, key: bytes, since: int, after: int) -> int | None:
    """The first due instant t with max(after, since) < t; None if there is none."""
    begin = max(after, since)
    match schedule:
        case At():
            instant = due_instant(schedule, since)
            return instant if begin < instant else None
        case Every(align=Align.PHASE | Align.EPOCH):
            return due_between(schedule, phase_of(key, schedule), begin, begin + schedule.interval_ms)[0]
        case _:
            times, offset = _by_the_wall(schedule, key)
            following = times.next_after(begin - offset)
            return None if following is None else following + offset


def last_due(schedule: Schedule, key: bytes, since: int, upto: int) -> int | None:
    """The last due instant t with since < t <= upto; None if there is none."""
    match schedule:
        case At() | Every(align=Align.PHASE | Align.EPOCH):
            found = due_in(schedule, key, since, since, upto)
            return found[-1] if found else None
        case _:
            times, offset = _by_the_wall(schedule, key)
            last = times.last_between(since - offset, upto - offset)
            return None if last is None else last + offset


def nth_due(schedule: Schedule, key: bytes, since: int, n: int) -> int | None:
    """The ``n``-th due instant after ``since``, n >= 1; None if it is not due so often.

    By a wall clock that costs as many steps, and None is given too for what lies more than fifty years ahead.
    """
    match schedule:
        case At():
            return due_instant(schedule, since) if n == 1 else None
        case Every(align=Align.PHASE | Align.EPOCH):
            upto = since + n * schedule.interval_ms
            return due_between(schedule, phase_of(key, schedule), since, upto)[n - 1]
        case _:
            nth = since
            for _ in range(n):
                following = next_due(schedule, key, since, nth)
                if following is None or following - since > HORIZON_MS:
                    return None
                nth = following
            return nth


def count_due(schedule: Schedule, key: bytes, since: int, upto: int, most: int) -> int:
    """Count the due instants t with since < t <= upto, up to ``most``.

    By a wall clock that costs as many steps.
    """
    match schedule:
        case At() | Every(align=Align.PHASE | Align.EPOCH):
            return min(most, len(due_in(schedule, key, since, since, upto)))
        case _:
            return sum(1 for _ in _following(schedule, key, since, since, upto, most))


def ends_at_of(spec: MonitorSpec, key: bytes, since: int, runs: int) -> int:
    """The last instant at which a monitor is due under ``end_at`` and ``max_runs``; 0 if it goes on forever.

    ``runs`` of its runs are used up, and it is due strictly after ``since`` (and from ``start_at`` on). 0 for a task,
    which ends by itself, and where the last of ``max_runs`` is too far ahead to be known. Raises NeverDue, with one
    sentence, if nothing is due any more.
    """
    schedule = spec.schedule
    if isinstance(schedule, At):
        if schedule.at < spec.start_at:
            raise NeverDue("it would never be due: at lies before start_at")
        if spec.end_at and schedule.at > spec.end_at:
            raise NeverDue("it would never be due: at lies after end_at")
        return 0
    if not (spec.start_at or spec.end_at or spec.max_runs):
        return 0
    begin = max(since, spec.start_at - 1)
    bounds: list[int | None] = []
    if spec.max_runs:
        if runs >= spec.max_runs:
            raise NeverDue("it would never be due: its max_runs are used up")
        bounds.append(nth_due(schedule, key, begin, spec.max_runs - runs))
    if spec.end_at:
        if (last := last_due(schedule, key, begin, spec.end_at)) is None:
            raise NeverDue("it would never be due: end_at lies before its first run")
        bounds.append(last)
    elif next_due(schedule, key, begin, begin) is None:
        raise NeverDue("it would never be due: its schedule does not come true any more")
    return min((bound for bound in bounds if bound is not None), default=0)


def upcoming(monitor: Monitor, after: int, most: int) -> list[int]:
    """The next due instants of a monitor after ``after``, ``most`` of them or as many as there are, in order.

    Within its bounds, and as if it stayed unchanged. Of a paused monitor those after its pause is over, if that is
    known; a task whose instant passes in a pause is due when the pause is over.
    """
    spec, agenda, key = monitor.spec, monitor.agenda, monitor.key
    since, runs, ends_at = monitor.since, agenda.runs, agenda.ends_at
    if monitor.state is State.DONE or (monitor.state is State.PAUSED and not agenda.resume_at):
        return []
    if monitor.state is State.PAUSED:
        # what is not run in the pause does not count, so the last run moves
        if spec.max_runs:
            begin = max(since, spec.start_at - 1)
            runs += count_due(spec.schedule, key, begin, monitor.state_since, spec.max_runs)
        since, ends_at = max(since, agenda.resume_at), 0
    try:
        ends_at = ends_at or ends_at_of(spec, key, since, runs)
    except NeverDue:
        return []
    return list(_following(spec.schedule, key, since, max(after, spec.start_at - 1), ends_at, most))


def _following(schedule: Schedule, key: bytes, since: int, after: int, upto: int, most: int) -> Iterator[int]:
    """``most`` due instants after ``after``; none after ``upto``, unless that is 0."""
    following = next_due(schedule, key, since, after)
    for _ in range(most):
        if following is None or 0 < upto < following:
            return
        yield following
        following = next_due(schedule, key, since, following)


def _by_the_wall(schedule: Cron | Every, key: bytes) -> tuple[Times, int]:
    """Shared due instants, and how much later than those this monitor is due."""
    offset = spread_of(key, schedule.spread_ms) if isinstance(schedule, Cron) else 0
    return wall_times(schedule), offset
