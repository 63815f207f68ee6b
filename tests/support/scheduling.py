"""Scheduling of modules on the workers of pytest-xdist: those that start processes beside those that only calculate.

Left to itself, ``--dist loadfile`` begins with the modules of the most tests, so that all modules that start brokers
and processes meet at the end of a run: what they wait for then takes many times longer than it needs.
"""

from collections.abc import Iterable

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

PROCESSES = ("tests/integration/", "tests/chaos/")
# those that take long begin first, so that nothing is left to wait for at the end
LONG = (
    "tests/integration/test_console.py",
    "tests/integration/test_doctor.py",
    "tests/integration/test_console_keyboard.py",
    "tests/integration/test_commands_cli.py",
    "tests/chaos/test_postgresql.py",
    "tests/integration/test_examples.py",
    "tests/chaos/test_fencing.py",
    "tests/integration/test_signals.py",
    "tests/chaos/test_takeover.py",
    "tests/integration/test_mutants.py",
    "tests/integration/test_up_under_fire.py",
    "tests/integration/test_unreadable.py",
    "tests/integration/test_delayed_tasks.py",
    "tests/chaos/test_audit_of_a_demo.py",
    "tests/integration/test_api.py",
    "tests/integration/test_up_keeps_kafka.py",
    "tests/integration/test_demo.py",
    "tests/integration/test_secured_kafka.py",
    "tests/integration/test_executor_balance.py",
    "tests/integration/test_purge.py",
    "tests/chaos/test_executor_standstill.py",
    "tests/chaos/test_broker_away.py",
    "tests/integration/test_cancelled_backlog.py",
    "tests/integration/test_pipeline.py",
    "tests/chaos/test_leader_change.py",
    "tests/integration/test_life_of_a_monitor.py",
    "tests/integration/test_embedded_kafka.py",
    "tests/integration/test_lost_changelog.py",
    "tests/integration/test_regions.py",
    "tests/integration/test_worker_put_away.py",
    "tests/integration/test_stamped_ticks.py",
    "tests/integration/test_bulk_recovery.py",
)
_HEAVY = "pytest.mark.heavy"


class SideBySide(LoadFileScheduling):
    """The second half of the workers prefers modules without processes, and takes the others when none is left.

    Of the modules marked ``heavy`` one runs at a time: the next one is begun when no other worker has one to do.
    """

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._heavy: dict[str, bool] = {}

    def _assign_work_unit(self, node: WorkerController) -> None:
        chosen = self._next_for(node)
        if chosen is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)

    def _has_heavy(self, nodes: Iterable[WorkerController]) -> bool:
        units = (unit for node in nodes for unit in self.assigned_work[node].items())
        return any(self._is_heavy(scope) and not all(done.values()) for scope, done in units)

    def _is_heavy(self, scope: str) -> bool:
        if scope not in self._heavy:
            self._heavy[scope] = _HEAVY in (self.config.rootpath / scope).read_text("utf-8")
        return self._heavy[scope]

    def _next_for(self, node: WorkerController) -> str | None:
        number = int(node.gateway.id.removeprefix("gw"))
        with_processes = [scope for scope in self.workqueue if scope.startswith(PROCESSES)]
        without = [scope for scope in self.workqueue if not scope.startswith(PROCESSES)]
        with_processes.sort(key=lambda scope: LONG.index(scope) if scope in LONG else len(LONG))
        if self._has_heavy(other for other in self.assigned_work if other is not node):
            with_processes.sort(key=self._is_heavy)
        preferred = [with_processes, without] if number < self.numnodes / 2 else [without, with_processes]
        return next((scopes[0] for scopes in preferred if scopes), None)
