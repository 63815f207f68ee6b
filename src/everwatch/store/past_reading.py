"""A monitor's availability, from what a reader's other methods know of its past."""

from everwatch.store.availability import Availability, Past, availability
from everwatch.store.interface import Reader, When

MOST_TRANSITIONS = 1_000_000


def read_availability(reader: Reader, user_id: str, monitor_id: str, begin: int, end: int, bars: int) -> Availability:
    """See ``interface.Reader.availability``."""
    before = reader.transitions(user_id, monitor_id, when=When(0, begin), limit=1) if begin else []
    within = reader.transitions(user_id, monitor_id, when=When(begin, end), limit=MOST_TRANSITIONS)
    active = [(each.since, each.until) for each in reader.history(user_id) if each.monitor_id == monitor_id]
    monitor, user = reader.monitor(user_id, monitor_id), reader.user(user_id)
    windows = (*(monitor.spec.policy.maintenance if monitor else ()), *(user.maintenance if user else ()))
    return availability(Past(before[0] if before else None, within[::-1], active, monitor), windows, begin, end, bars)
