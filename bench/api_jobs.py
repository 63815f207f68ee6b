"""A bulk job by filter whose API process is killed while it is carried out, and goes on in another one."""

from collections.abc import Callable
from typing import Any

from bench.api_process import ApiProcess, call, start_api, start_sink
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Signups
from bench.report import Figure
from bench.rig import Rig, rig
from everwatch.api.job_records import command_id_of
from everwatch.encoding import codec

MONITORS, FEWER_MONITORS, OF_A_USER = 1_000_000, 20_000, 10
"""Of the job, without and with ``--quick``; and of each user."""
KILLED_AFTER = 1 / 3
"""Share of the monitors that are dealt with when the process is killed."""
ASKED_FOR = 500
_DAY_MS = 86_400_000
_LOOK_S, _WITHIN_S = 0.5, 7_200.0
_MONITORS = tuple(Recurring(f"m-{number}", _DAY_MS) for number in range(OF_A_USER))
_FILTER = {"filter": {"kind": "tcp"}}


def measure_jobs(plan: Plan) -> list[Figure]:
    """Pause all monitors by one job. ``--users`` says how many users there are, of ten monitors each."""
    users = plan.users or (FEWER_MONITORS if plan.quick else MONITORS) // OF_A_USER
    with rig() as bench:
        bench.start_worker("1")
        start_sink(bench)
        first = start_api(bench, "api-1")
        bench.wait_on_time()
        monitors = users * OF_A_USER
        bench.say(f"{monitors:,} monitors of {users:,} users")
        bench.publish(bench.topics.signups, Signups(Population(_MONITORS, users)))
        bench.wait_taken_in(bench.topics.signups)
        _wait_for(bench, lambda: _preview(first)["count"] == monitors, "the database has all monitors")
        return _measured(bench, first, monitors)


def _measured(bench: Rig, first: ApiProcess, monitors: int) -> list[Figure]:
    begun_s = bench.clock.monotonic_s()
    expected = _preview(first)["count"]
    previewed_s = bench.clock.monotonic_s() - begun_s
    replies = bench.ends(bench.topics.replies)
    job = call(first, "POST", "/v1/jobs", {"action": "pause", "expect_count": expected} | _FILTER)
    path, begun_s = f"/v1/jobs/{job['job_id']}", bench.clock.monotonic_s()
    _wait_for(bench, lambda: call(first, "GET", path)["done"] >= KILLED_AFTER * monitors, "a third is dealt with")
    bench.workers.remove(first.worker)
    first.worker.kill()
    killed_s = bench.clock.monotonic_s()
    second = start_api(bench, "api-2")
    seen = call(second, "GET", path)["done"]
    bench.say(f"killed after {seen:,} monitors")
    _wait_for(bench, lambda: call(second, "GET", path)["done"] > seen, "another process goes on")
    resumed_s = bench.clock.monotonic_s()
    _wait_for(bench, lambda: call(second, "GET", path)["state"] == "done", "the job is done")
    over_s = bench.clock.monotonic_s()
    over, resident = call(second, "GET", path), second.worker.resident_mib()
    bench.say("an outcome of each monitor")
    outcomes = _outcomes(bench, job["job_id"], replies)
    _wait_for(bench, lambda: _paused(second) >= monitors, "the database has all outcomes")
    names = sorted(outcomes)[:: max(1, len(outcomes) // ASKED_FOR)]
    told = sum(_tells(second, job["job_id"], *name) for name in names)
    return [
        Figure("monitors that a preview of a job counts", expected, "monitors", f">= {monitors}"),
        Figure("a preview", 1000 * previewed_s, "ms"),
        Figure(
            "monitors that a job paused, its process killed after a third", over["done"], "monitors", f">= {monitors}"
        ),
        Figure("refused", over["refused"], "monitors", "<= 0"),
        Figure("monitors of the job with an outcome on the topic", len(outcomes), "monitors", f">= {monitors}"),
        Figure(f"of {len(names)} asked for, outcomes that the API tells", told, "outcomes", f">= {len(names)}"),
        Figure("from the kill until another process goes on", resumed_s - killed_s, "s"),
        Figure("resident of the process that ended it", resident, "MiB"),
        Figure("monitors", monitors / (over_s - begun_s - (resumed_s - killed_s)), "a second, while it is carried out"),
    ]


def _wait_for(bench: Rig, condition: Callable[[], bool], what: str) -> None:
    bench.wait_until(condition, what, _WITHIN_S, _LOOK_S)


def _preview(api: ApiProcess) -> dict[str, Any]:
    found: dict[str, Any] = call(api, "POST", "/v1/jobs/preview", _FILTER)
    return found


def _paused(api: ApiProcess) -> int:
    return int(call(api, "GET", "/v1/monitors/facets?kind=tcp")["states"].get("paused", 0))


def _outcomes(bench: Rig, job_id: str, begin: list[int]) -> set[tuple[str, str]]:
    """User and monitor of each command of a job that a worker has answered, and not refused."""
    found: set[tuple[str, str]] = set()
    for _, record in bench.client.records(bench.topics.replies, begin, bench.ends(bench.topics.replies)):
        reply = codec.decode_reply(bytes(record.value))
        if reply.command_id.startswith(f"job-{job_id}-") and not reply.code:
            found.add((reply.user_id, reply.monitor_id))
    return found


def _tells(api: ApiProcess, job_id: str, user_id: str, monitor_id: str) -> bool:
    outcome = call(api, "GET", f"/v1/users/{user_id}/commands/{command_id_of(job_id, user_id, monitor_id)}")
    return outcome["answer"] in ("done", "unchanged", "repeated")
