"""Shares of the checks of two, three and (one killed) two executors under load, with 12 (default) and 24 partitions.

2,000 http monitors every 5 s. An executor's share is the number of results that its processes sent; with
``--processes 2`` each executor has two of them.
"""

from collections import Counter
from threading import Event

from bench.http_users import AT_ONCE, HttpUsers, Results, process_ids, start
from bench.plan import Plan
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.target import target
from bench.worker import Worker

INTERVAL_MS = 5_000
_SPREAD_WITHIN_S = 60.0
_WATCHED_S = 30.0


def measure(plan: Plan) -> Outcome:
    """Start three executors one after the other and kill the third; then the same with 24 partitions."""
    users = 500 if plan.quick else 2_000
    figures: list[Figure] = []
    for partitions in (12,) if plan.quick else (12, 24):
        with rig(partitions=partitions) as bench, target() as probed:
            start(bench, HttpUsers("user", users, probed.url, INTERVAL_MS))
            figures += _stages(bench, plan, f"{partitions} partitions")
    return Outcome(figures)


def _stages(bench: Rig, plan: Plan, on: str) -> list[Figure]:
    executors: list[Worker] = []
    figures: list[Figure] = []
    for name in ("a", "b", "c"):
        executors.append(bench.start_executor(plan.processes, AT_ONCE, f"executor-{name}"))
        if len(executors) > 1:
            figures += _watched(bench, executors, plan, f"{len(executors)} executors, {on}")
    killed = executors.pop()
    bench.workers.remove(killed)
    killed.kill()
    figures += _watched(bench, executors, plan, f"2 executors after the third was killed, {on}")
    return figures


def _watched(bench: Rig, executors: list[Worker], plan: Plan, what: str) -> list[Figure]:
    bench.say(what)
    group = f"{bench.settings.application}-executors"
    processes = len(executors) * plan.processes
    bench.wait_until(
        lambda: _is_even(bench.claims(group, bench.topics.ticks), processes),
        f"{processes} processes share {bench.partitions} partitions",
        _SPREAD_WITHIN_S,
    )
    Event().wait(5.0)
    results = Results(bench)
    Event().wait(_WATCHED_S / 3 if plan.quick else _WATCHED_S)
    came = Counter(int(result.executor.rpartition("-")[2]) for result in results.new())
    shares = [sum(came[number] for number in process_ids(executor)) for executor in executors]
    total = max(1, came.total())
    # 3 of 8 partitions are half as much again as 2 of 8
    target = "<= 20" if not bench.partitions % processes else ""
    return [
        *(
            Figure(f"share of executor {number}, {what}", 100 * share / total, "%")
            for number, share in enumerate(shares, 1)
        ),
        Figure(f"largest share above the smallest, {what}", 100 * (max(shares) / max(1, min(shares)) - 1), "%", target),
    ]


def _is_even(claims: list[int], processes: int) -> bool:
    return len(claims) == processes and max(claims) - min(claims) <= 1
