"""Availability of monitors, from what a reader's other methods know of their past."""

from collections.abc import Mapping

from everwatch.model import Monitor
from everwatch.store.availability import Availability, KnownPast, availability
from everwatch.store.interface import Reader
from everwatch.store.selections import TransitionSelection, When

MOST_TRANSITIONS = 1_000_000


def read_availability(reader: Reader, user_id: str, monitor_id: str, begin: int, end: int, bars: int) -> Availability:
    """See ``interface.Reader.availability``."""
    monitor = reader.monitor(user_id, monitor_id)
    return read_availabilities(reader, user_id, {monitor_id: monitor}, begin, end, bars)[monitor_id]


def read_availabilities(
    reader: Reader, user_id: str, monitors: Mapping[str, Monitor | None], begin: int, end: int, bars: int
) -> dict[str, Availability]:
    """Return the availability of a user's monitors (None: a deleted one); the history is read once for all of them.

    A history has every monitor that the user ever had: read for each monitor, it would cost the square of their number.
    """
    user = reader.user(user_id)
    active: dict[str, list[tuple[int, int | None]]] = {monitor_id: [] for monitor_id in monitors}
    for each in reader.history(user_id):
        if each.monitor_id in active:
            active[each.monitor_id].append((each.since, each.until))
    found = {}
    for monitor_id, monitor in monitors.items():
        changes = TransitionSelection(user_id, monitor_id)
        before = reader.transitions(changes, when=When(0, begin), limit=1) if begin else []
        within = reader.transitions(changes, when=When(begin, end), limit=MOST_TRANSITIONS)
        windows = (*(monitor.maintenance if monitor else ()), *(user.maintenance if user else ()))
        past = KnownPast(before[0] if before else None, within[::-1], active[monitor_id], monitor)
        found[monitor_id] = availability(past, windows, begin, end, bars)
    return found
