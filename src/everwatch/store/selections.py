"""Filters of what the database is asked for: results, transitions, users and monitors, and the interval."""

from typing import NamedTuple


class When(NamedTuple):
    """An interval of instants, ms: ``since`` <= t < ``until``; 0: without end."""

    since: int = 0
    until: int = 0


ALWAYS = When()


class ResultSelection(NamedTuple):
    """A filter of results; an empty field matches all. ``status``: the text of a ``model.Status``."""

    user_id: str = ""
    monitor_id: str = ""
    status: str = ""
    kind: str = ""
    region: str = ""


class TransitionSelection(NamedTuple):
    """A filter of changes of state and reminders; an empty field matches all.

    ``state``: the one that was entered. ``plan``, ``kind`` and ``target`` (the host) as they were at that time.
    ``alerts``: only those that a person is alerted of.
    """

    user_id: str = ""
    monitor_id: str = ""
    state: str = ""
    kind: str = ""
    plan: str = ""
    target: str = ""
    alerts: bool = False


EVERY_RESULT = ResultSelection()
EVERY_TRANSITION = TransitionSelection()


class Selection(NamedTuple):
    """A filter of users or monitors; an empty field matches all.

    ``plan`` is the user's; ``state``, ``kind``, ``labels`` (key and value, None for any value) and ``target`` (the
    host) are those of monitors, and all of them count. A user is shown if all of these apply to one of its monitors.
    ``contains`` and ``prefix``, whatever their case: a part and the beginning of the id, of a monitor's name or target
    too; of a list of users, of their ids.
    """

    user_id: str = ""
    state: str = ""
    kind: str = ""
    plan: str = ""
    labels: tuple[tuple[str, str | None], ...] = ()
    target: str = ""
    contains: str = ""
    prefix: str = ""

    @property
    def names_monitors(self) -> bool:
        """Tell whether a user is chosen by its monitors."""
        return bool(self.state or self.kind or self.labels or self.target)
