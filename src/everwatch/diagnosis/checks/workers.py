"""Check of the workers: who owns which users, and how far each input is handled."""

from collections.abc import Iterator

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.diagnosis.waiting_partitions import by_owner, numbers_of, stands_still, unowned, waiting

# a worker handles an input within a second; a rebalance takes several
BEHIND_S = 15.0
_SEE = "See the worker's log; restart the worker if it does not go on."


def check_workers(system: System) -> Iterator[Finding]:
    """Compare the inputs with what the workers have handled, and the partitions with their owners."""
    lag = system.lag
    rows = lag.of("worker")
    faults = 0
    for name, pid in system.stopped_workers.items():
        faults += 1
        holds = any(member.client_id == name for member in lag.members["worker"])
        yield fault(
            "workers",
            f"{name} is frozen: process {pid} of this machine is stopped by a signal;"
            f" {'it holds its partitions until its session ends' if holds else 'its session has ended'}",
            f"Continue it ('kill -CONT {pid}') or end it ('kill -KILL {pid}').",
        )
    if not lag.members["worker"]:
        remedy = "Start another one" if faults else "Start one"
        yield fault(
            "workers", "no worker is running: no monitor runs", f"{remedy}: 'everwatch up' or 'everwatch worker'."
        )
        return
    if alone := unowned(system, "worker"):
        faults += 1
        yield fault(
            "workers",
            f"no worker owns partitions {numbers_of(alone)}: their monitors do not run",
            "Start a worker, or see in the logs of the running ones why they take no partitions.",
        )
    for (owner, topic), behind in by_owner(row for row in rows if (row.lag_s or 0) > BEHIND_S).items():
        faults += 1
        stopped = "stands still" if stands_still(system, behind) else "is behind"
        yield fault(
            "workers",
            f"{owner or 'the worker'} {stopped} on {topic}, partitions {numbers_of(behind)}:"
            f" {waiting(behind, 'record')}",
            _SEE,
        )
    if not faults:
        names = ", ".join(member.client_id for member in lag.members["worker"])
        yield well("workers", f"{names}: every partition has an owner, every input is handled")
