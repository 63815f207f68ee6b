"""Verdicts: results change the states of monitors, and changes of state become transitions."""

from collections.abc import Callable, Iterable

import msgspec

from everwatch.model import Monitor, Result, User
from everwatch.rules import lifecycle
from everwatch.schedule.maintenance import maintenance_end
from streams.outputs.transitions import Transitions
from streams.state.unit_of_work import UnitOfWork


class Judging:
    """Applies results to monitors within a unit of work. ``tasks_kept_ms``: for how long tasks that are over stay."""

    def __init__(self, transitions: Transitions, now_ms: Callable[[], int], tasks_kept_ms: int) -> None:
        self._transitions = transitions
        self._now_ms = now_ms
        self._tasks_kept_ms = tasks_kept_ms

    def after(
        self, work: UnitOfWork, partition: int, monitor: Monitor, results: Iterable[Result], earliest: int
    ) -> Monitor:
        """Return the monitor after results, and send its transitions; the same value if nothing changes.

        ``earliest``: no retry before that instant.
        """
        for result in results:
            monitor = self._after(work, partition, monitor, result, earliest)
        return monitor

    def _after(self, work: UnitOfWork, partition: int, monitor: Monitor, result: Result, earliest: int) -> Monitor:
        after = lifecycle.after_result(monitor, result, earliest)
        if after is monitor:
            return monitor
        transition = lifecycle.transition_between(monitor, after)
        if transition is None:
            return after
        transition = msgspec.structs.replace(
            transition, executor=result.executor, unreached=result.unreached, region=result.region
        )
        user = work.user(partition, monitor.user_id)
        muted_until = muted(user, monitor, transition.at)
        if muted_until:
            transition = msgspec.structs.replace(transition, alert=False)
        after = lifecycle.with_reminder(monitor, after, muted_until)
        after = lifecycle.forgotten_at(after, self._now_ms() + self._tasks_kept_ms)
        self._transitions.send(partition, transition, after, user)
        return after


def muted(user: User | None, monitor: Monitor, at: int) -> int:
    """Return the end of the maintenance window of a monitor, or its user, that is open at ``at``; 0 if none is."""
    windows = monitor.spec.policy.maintenance + (user.maintenance if user else ())
    return maintenance_end(windows, at) if windows else 0
