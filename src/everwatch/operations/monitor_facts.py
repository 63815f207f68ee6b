"""Gathering of the facts about a monitor from database and broker, for its explanation."""

from everwatch.kafka.process_figures import GroupMembers
from everwatch.kinds import registry
from everwatch.model import Monitor
from everwatch.operations.explanation import MOST_SHOWN, MonitorFacts
from everwatch.store.interface import Reader
from everwatch.store.selections import ResultSelection, TransitionSelection

# manual runs among them are no ticks, and as a rule there are few
RESULTS_LOOKED_AT = 100


def known_of(reader: Reader, monitor: Monitor, partition: int | None, owners: GroupMembers | None) -> MonitorFacts:
    """Gather the facts about a monitor. ``owners``: its processes, None if they are not known.

    Raises StoreError.
    """
    user_id, monitor_id = monitor.user_id, monitor.monitor_id
    newest = reader.results(limit=1)
    return MonitorFacts(
        monitor=monitor,
        user=reader.user(user_id),
        partition=partition,
        results=tuple(reader.results(ResultSelection(user_id, monitor_id), limit=RESULTS_LOOKED_AT)),
        transitions=tuple(reader.transitions(TransitionSelection(user_id, monitor_id), limit=MOST_SHOWN)),
        stored_at=newest[0].stored_at if newest else 0,
        owners=owners,
        inline=registry.is_inline(monitor.spec.kind),
    )
