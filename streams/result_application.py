"""Results applied to monitors: how each changes its monitor's state, and the transition of each change.

For feedback and the runner of agendas, hence beside their packages.
"""

from collections.abc import Callable, Iterable

from everwatch.model import Monitor, Result, Transition, User
from everwatch.rules import lifecycle
from everwatch.rules.regional_runs import after_region
from streams.outputs.transitions import Transitions
from streams.state.owned_partition import OwnedPartition
from streams.state.unit_of_work import MonitorWithUser
from streams.transport.output_record import OutputRecord


class ResultApplication:
    """Applies results to monitors. ``tasks_kept_ms``: for how long tasks that are over stay."""

    def __init__(self, transitions: Transitions, now_ms: Callable[[], int], tasks_kept_ms: int) -> None:
        self._transitions = transitions
        self._now_ms = now_ms
        self._tasks_kept_ms = tasks_kept_ms

    def after_result(
        self, partition: OwnedPartition, key: bytes, before: MonitorWithUser, result: Result, earliest: int
    ) -> tuple[Monitor, list[OutputRecord]]:
        """Return the monitor after a result, the same value if nothing changes, and the records to announce.

        ``key``: the monitor's table key. ``earliest``: no retry before that instant.
        """
        monitor, user = before
        if not monitor.spec.policy.regions:
            return self.after(monitor, user, (result,), earliest)
        waiting, verdicts = after_region(monitor, result, partition.regional_answers_of(key), partition.opened_at)
        return self.after(waiting, user, verdicts, earliest)

    def record(self, transition: Transition, monitor: Monitor, user: User | None) -> OutputRecord:
        """Return the record that announces a transition to which no result leads."""
        return self._transitions.record(transition, monitor, user)

    def after(
        self, monitor: Monitor, user: User | None, results: Iterable[Result], earliest: int
    ) -> tuple[Monitor, list[OutputRecord]]:
        """Return the monitor after results, the same value if nothing changes, and the records to announce.

        ``earliest``: no retry before that instant.
        """
        announced = []
        for result in results:
            after = lifecycle.after_result(monitor, result, earliest)
            if after.state is not monitor.state:
                forget_at = self._now_ms() + self._tasks_kept_ms
                after, transition = lifecycle.with_transition(monitor, after, result, user, forget_at)
                announced.append(self._transitions.record(transition, after, user))
            monitor = after
        return monitor, announced
