"""Verdicts: results change the states of monitors, and changes of state become transitions."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from everwatch.model import Monitor, Result, Transition, User
from everwatch.rules import lifecycle
from streams.outputs.transitions import Transitions
from streams.state.unit_of_work import UnitOfWork


class ChangedState(NamedTuple):
    """A transition, the monitor after it, and its user."""

    transition: Transition
    monitor: Monitor
    user: User | None


class ResultApplication:
    """Applies results to monitors within a unit of work. ``tasks_kept_ms``: for how long tasks that are over stay."""

    def __init__(self, transitions: Transitions, now_ms: Callable[[], int], tasks_kept_ms: int) -> None:
        self._transitions = transitions
        self._now_ms = now_ms
        self._tasks_kept_ms = tasks_kept_ms

    def after(
        self, work: UnitOfWork, partition: int, monitor: Monitor, results: Iterable[Result], earliest: int
    ) -> tuple[Monitor, list[ChangedState]]:
        """Return the monitor after results, the same value if nothing changes, and what ``send`` is to send of it.

        ``earliest``: no retry before that instant.
        """
        changes = []
        for result in results:
            after = lifecycle.after_result(monitor, result, earliest)
            if after.state is not monitor.state:
                user = work.user(partition, monitor.user_id)
                forget_at = self._now_ms() + self._tasks_kept_ms
                after, transition = lifecycle.with_transition(monitor, after, result, user, forget_at)
                changes.append(ChangedState(transition, after, user))
            monitor = after
        return monitor, changes

    def send(self, partition: int, changes: Iterable[ChangedState]) -> None:
        """Send the transitions; only when the entry is in the unit of work, which refuses one that is too large."""
        for transition, monitor, user in changes:
            self._transitions.send(partition, transition, monitor, user)
