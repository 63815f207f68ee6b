"""Runs of the tick audit over HTTP: made, carried out in the background, taken over after a kill."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.api import START, Api, api

from everwatch.api.audit_runs import MOST_RUNNING, SETTLE_MS, AuditRunWork
from everwatch.api.database import Database
from everwatch.api.job_records import KEPT_MS, LEASE_MS
from everwatch.api.job_writing import JobWriter
from everwatch.api.leased_work import LeasedRunner, Leases
from everwatch.api.permissions import Role
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, StoreError
from everwatch.kafka.topics import Topics

MINUTE = 60_000
PORT = {"kind": "tcp", "config": {"host": "127.0.0.1", "port": 9}}
RUNS = "/v1/audit/runs"


def no_lag() -> Any:
    raise BrokerUnavailable("Kafka is away.")


def runner(server: Api, name: str) -> LeasedRunner:
    database = Database(lambda: server.store, server.clock)
    leases = Leases(name, server.jobs, JobWriter(server.records, "jobs", server.jobs), server.clock)
    work = AuditRunWork(server.jobs, leases, database, Topics.of(Settings()), no_lag, server.clock)
    return LeasedRunner(leases, [work], server.clock)


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        for user in ("ann", "bob"):
            body = {"monitors": [{"monitor_id": "m", "schedule": {"every": "1m"}, **PORT}]}
            await running.call("PUT", f"/v1/users/{user}", body=body)
        running.clock.advance(10 * MINUTE)
        yield running


async def made(server: Api, **body: Any) -> Any:
    answer = await server.call("POST", RUNS, body={"since": START, **body})
    assert answer.status == 202, answer.data
    assert answer.headers["Location"] == f"{RUNS}/{answer.json['run_id']}"
    return answer.json


async def found(server: Api, run: Any) -> Any:
    return (await server.call("GET", f"{RUNS}/{run['run_id']}")).json


async def test_a_run_tells_what_was_due_and_did_not_run(server: Api) -> None:
    run = await made(server)
    assert (run["state"], run["until"], run["report"]) == ("running", server.clock.now_ms() - SETTLE_MS, None)
    assert server.audit.entries[-1].command == "audit_run"
    await runner(server, "a").run_once()
    over = await found(server, run)
    assert (over["state"], over["clean"], over["results_read"]) == ("done", False, 0)
    report = over["report"]
    # no result is stored: each monitor was due at least nine times, and the lag that would say more is not known
    assert (report["users"], report["monitors"]) == (2, 2)
    assert report["counts"]["missed"] >= 18
    assert {each["user_id"] for each in report["missed"]} <= {"ann", "bob"}
    assert over["problem"] == "Kafka is away."
    [listed] = (await server.call("GET", RUNS)).json["items"]
    assert listed == over


async def test_a_run_of_one_user_looks_at_that_user_alone(server: Api) -> None:
    run = await made(server, user="bob", until=START + 5 * MINUTE)
    await runner(server, "a").run_once()
    report = (await found(server, run))["report"]
    assert (report["users"], report["end"]) == (1, START + 5 * MINUTE)
    nobody = await made(server, user="nobody")
    await runner(server, "a").run_once()
    assert (await found(server, nobody))["clean"]


async def test_the_same_request_again_makes_no_second_run(server: Api) -> None:
    first, again = [await server.call("POST", RUNS, body={"since": START}, Idempotency_Key="k") for _ in range(2)]
    assert first.json == again.json
    other = await server.call("POST", RUNS, body={"since": START + 1}, Idempotency_Key="k")
    assert (other.status, other.code) == (422, "reused_key")
    assert len(server.jobs.audit_runs()) == 1


async def test_what_cannot_be_looked_at_is_refused(server: Api) -> None:
    empty = await server.call("POST", RUNS, body={"since": server.clock.now_ms()})
    assert (empty.status, empty.json["errors"][0]["path"]) == (422, "$.since")
    assert (await server.call("GET", f"{RUNS}/none")).code == "not_found"
    for role, user in ((Role.VIEWER, ""), (Role.ADMIN, "ann")):
        assert (await server.call("GET", RUNS, token=server.token(role, user))).status == 403
    for number in range(MOST_RUNNING):
        await made(server, since=START + number)
    assert (await server.call("POST", RUNS, body={"since": START})).code == "too_many_jobs"


async def test_a_run_whose_process_is_killed_is_begun_again_by_another_one(server: Api) -> None:
    run = await made(server)
    store = server.store

    def killed(*_: Any) -> Any:
        raise StoreError("the process is killed meanwhile")

    known_since = store.known_since
    store.known_since = killed  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        await runner(server, "a").run_once()
    store.known_since = known_since  # type: ignore[method-assign]
    await runner(server, "b").run_once()
    assert (await found(server, run))["state"] == "running", "the lease of the first one is not over"
    server.clock.advance(LEASE_MS + 1)
    await runner(server, "b").run_once()
    assert (await found(server, run))["state"] == "done"
    server.clock.advance(KEPT_MS + 1)
    await runner(server, "b").run_once()
    assert (await server.call("GET", RUNS)).json["items"] == []
