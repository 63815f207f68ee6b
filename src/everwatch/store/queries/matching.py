"""Matching of monitors against the filters of a list. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from everwatch.store.search import monitor_text, needles_of
from everwatch.store.selections import Selection


class Facts(NamedTuple):
    """Fields of a monitor that filters look at."""

    user_id: str
    monitor_id: str
    state: str
    kind: str
    plan: str
    target: str
    name: str
    labels: Mapping[str, str]


def is_selected(which: Selection, monitor: Facts) -> bool:
    """Tell whether a selection has a monitor; ``contains`` and ``prefix`` are those of monitors."""
    return (
        which.user_id in ("", monitor.user_id)
        and which.state in ("", monitor.state)
        and which.kind in ("", monitor.kind)
        and which.plan in ("", monitor.plan)
        and which.target in ("", monitor.target)
        and all(key in monitor.labels and value in (None, monitor.labels[key]) for key, value in which.labels)
        and _is_found(which, monitor)
    )


def _is_found(which: Selection, monitor: Facts) -> bool:
    needles = needles_of(which)
    if not needles:
        return True
    text = monitor_text(monitor.monitor_id, monitor.name, monitor.target)
    return all(needle in text for needle in needles)
