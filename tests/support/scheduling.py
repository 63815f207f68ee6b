"""Which worker of pytest-xdist runs which module: those that start processes beside those that only calculate.

Left to itself, ``--dist loadfile`` begins with the modules of the most tests, so that all modules that start brokers
and processes meet at the end of a run: what they wait for then takes many times longer than it needs.
"""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

PROCESSES = ("tests/integration/", "tests/chaos/")
# those that take long begin first, so that nothing is left to wait for at the end
LONG = (
    "tests/integration/test_demo.py",
    "tests/integration/test_commands_cli.py",
    "tests/integration/test_doctor.py",
    "tests/integration/test_embedded_kafka.py",
    "tests/chaos/test_fencing.py",
    "tests/integration/test_secured_kafka.py",
    "tests/integration/test_examples.py",
    "tests/chaos/test_audit_of_a_demo.py",
    "tests/chaos/test_postgresql.py",
    "tests/integration/test_up_keeps_kafka.py",
    "tests/chaos/test_takeover.py",
    "tests/integration/test_bulk_recovery.py",
)


class SideBySide(LoadFileScheduling):
    """The last of three workers or more takes only modules without processes, and the second half prefers them."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        chosen = self._next_for(node)
        if chosen is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)

    def _next_for(self, node: WorkerController) -> str | None:
        number = int(node.gateway.id.removeprefix("gw"))
        with_processes = [scope for scope in self.workqueue if scope.startswith(PROCESSES)]
        without = [scope for scope in self.workqueue if not scope.startswith(PROCESSES)]
        with_processes.sort(key=lambda scope: LONG.index(scope) if scope in LONG else len(LONG))
        if number == self.numnodes - 1 > 1:
            with_processes = []
        preferred = [with_processes, without] if number < self.numnodes / 2 else [without, with_processes]
        return next((scopes[0] for scopes in preferred if scopes), None)
