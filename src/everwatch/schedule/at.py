"""One instant: a delayed task, due once. Pure."""

from everwatch.model import At


def due_instant(schedule: At, since: int) -> int:
    """Return the due instant of a task that was put or resumed at ``since``.

    An instant that has passed by then is due right away, so that a late signup loses nothing.
    """
    return max(schedule.at, since + 1)
