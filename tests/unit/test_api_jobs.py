"""Bulk jobs: previewed, carried out page by page, taken over after a kill; and monitors that are only judged.

All in one file: one life of a job, from its preview to its end.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from support.api import START, Api, api

from everwatch.api import jobs
from everwatch.api.auditing import AuditLog
from everwatch.api.bulk_job_work import BulkJobWork, JobPace
from everwatch.api.database import Database
from everwatch.api.job_records import LEASE_MS, MOST_ENDED, BulkJob, command_id_of, encoded, is_taken
from everwatch.api.job_views import JobAction, JobState
from everwatch.api.job_writing import JobWriter
from everwatch.api.leased_work import LeasedRunner, Leases
from everwatch.api.permissions import Role
from everwatch.api.queries import FacetsQuery
from everwatch.core.errors import EverwatchError
from everwatch.core.output_format import OutputFormat
from everwatch.kafka.command_client import Asked
from everwatch.kafka.consumed_record import Record
from everwatch.model import CommandOutcome, Reply, State

SITE = {"kind": "noop", "schedule": {"every": "1m"}}


class Killed(BaseException):
    """A kill of the process: nothing of it runs on."""


class Commands:
    """A worker's commands that go wrong as the test says.

    ``killed_at``: the process is killed when the answers of this call would come. ``refused``: monitors of these names.
    """

    def __init__(self, server: Api) -> None:
        self._worker = server.worker
        self.asked: list[list[str]] = []
        self.killed_at = 0
        self.refused: set[str] = set()

    async def ask(self, inputs: Sequence[Asked], wait_s: float) -> list[Reply | EverwatchError | None]:
        replies = await self._worker.ask(inputs, wait_s)
        self.asked.append([each.asker.command_id for each in inputs])
        if len(self.asked) == self.killed_at:
            raise Killed
        return [
            _refusal(each) if isinstance(each, Reply) and each.monitor_id in self.refused else each for each in replies
        ]

    async def tell(self, inputs: Sequence[Asked]) -> None: ...

    def reply(self, user_id: str, command_id: str) -> Reply | None:
        return None


def _refusal(reply: Reply) -> Reply:
    return Reply(
        reply.command_id, reply.user_id, reply.monitor_id, reply.command, CommandOutcome.REFUSED, "no such monitor",
        "$.monitor_id", 0, reply.at, "not_found",
    )  # fmt: skip


PACE = JobPace(monitors=2, pages=1, again_s=0.0)


def runner(
    server: Api, name: str, commands: Any = None, pace: JobPace = PACE, most_ended: int = MOST_ENDED
) -> LeasedRunner:
    audit = AuditLog(server.audit, "audit", server.clock, OutputFormat.AVRO)
    database = Database(lambda: server.store, server.clock)
    leases = Leases(name, server.jobs, JobWriter(server.records, "jobs", server.jobs), server.clock)
    work = BulkJobWork(leases, database, commands or server.worker, audit, server.clock, pace)
    return LeasedRunner(leases, [work], server.clock, most_ended=most_ended)


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        for user_id in ("ann", "bob"):
            monitors = [SITE | {"monitor_id": f"m-{number}", "labels": {"of": user_id}} for number in range(3)]
            await running.call("PUT", f"/v1/users/{user_id}", body={"monitors": monitors})
        running.audit.entries.clear()
        yield running


async def made(server: Api, token: str = "", **body: Any) -> Any:
    answer = await server.call("POST", "/v1/jobs", token=token, body={"action": "pause", "expect_count": 6, **body})
    assert answer.status == 202, answer.data
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json['job_id']}"
    return answer.json


async def test_a_job_by_names_goes_on_after_a_kill_and_is_about_no_other_monitor(server: Api) -> None:
    ids = [{"user_id": user, "monitor_id": name} for user, name in (("ann", "m-0"), ("bob", "m-1"), ("bob", "none"))]
    job = await made(server, expect_count=3, ids=[*ids, ids[0]])
    assert (job["total"], job["by_ids"]) == (3, True)
    dying = Commands(server)
    dying.killed_at = 2
    with pytest.raises(Killed):
        await runner(server, "one", dying).run_once()
    server.clock.advance(LEASE_MS + 1)
    await runner(server, "two").run_once()
    told = (await server.call("GET", f"/v1/jobs/{job['job_id']}")).json
    assert (told["state"], told["done"], told["refused"]) == ("done", 2, 1)
    [refused] = (await server.call("GET", f"/v1/jobs/{job['job_id']}/errors")).json["items"]
    assert (refused["user_id"], refused["monitor_id"], refused["code"]) == ("bob", "none", "not_found")
    paused = [
        (m.user_id, m.monitor_id) for u in ("ann", "bob") for m in server.store.monitors(u) if m.state == "paused"
    ]
    assert paused == [("ann", "m-0"), ("bob", "m-1")]


async def test_names_of_a_job_are_of_the_tokens_user_and_stand_alone(server: Api) -> None:
    hers, body = server.token(Role.OPERATOR, "ann"), {"action": "pause", "expect_count": 1}
    for ids, more, status in (
        ([{"user_id": "bob", "monitor_id": "m-0"}], {}, 403),
        ([{"user_id": "ann", "monitor_id": "m-0"}], {"filter": {"kind": "noop"}}, 422),
        ([{"user_id": "ann", "monitor_id": f"m-{n}"} for n in range(2)], {}, 409),
        ([{"user_id": "ann", "monitor_id": ""}], {}, 422),
    ):
        refused = await server.call("POST", "/v1/jobs", body={**body, "ids": ids, **more}, token=hers)
        assert refused.status == status, refused.data
    first = [{"user_id": "ann", "monitor_id": "m-0"}]
    assert (await server.call("POST", "/v1/jobs", body={**body, "ids": first}, Idempotency_Key="k")).status == 202
    other = [{"user_id": "ann", "monitor_id": "m-1"}]
    again = await server.call("POST", "/v1/jobs", body={**body, "ids": other}, Idempotency_Key="k")
    assert again.code == "reused_key"


def states(server: Api) -> list[State]:
    return [monitor.state for user_id in ("ann", "bob") for monitor in server.store.monitors(user_id)]


async def test_a_job_is_previewed_carried_out_and_says_who_it_was(server: Api) -> None:
    operator = server.token(Role.OPERATOR)
    seen = (await server.call("POST", "/v1/jobs/preview", token=operator, body={"filter": {"kind": "noop"}})).json
    assert (seen["count"], seen["sample"][0]) == (6, {"user_id": "ann", "monitor_id": "m-0"})
    job = await made(server, operator, filter={"kind": "noop"})
    assert (job["state"], job["total"], job["done"]) == ("running", 6, 0)
    await runner(server, "a").run_once()
    assert states(server) == [State.PAUSED] * 6
    over = (await server.call("GET", f"/v1/jobs/{job['job_id']}")).json
    assert (over["state"], over["done"], over["refused"], over["ended_at"]) == ("done", 6, 0, START)
    who = server.tokens.principal(operator, START)
    assert who is not None
    [made_entry, *entries] = server.audit.entries
    assert (made_entry.command, made_entry.command_id) == ("job", job["job_id"])
    assert {(e.token_id, e.command, e.outcome) for e in entries} == {(who.token_id, "pause", "done")}
    command_id = command_id_of(job["job_id"], "ann", "m-1")
    outcome = await server.call("GET", f"/v1/users/ann/commands/{command_id}")
    assert outcome.json["answer"] == "done"


async def test_a_count_that_has_moved_is_refused_and_nothing_is_done(server: Api) -> None:
    moved = await server.call("POST", "/v1/jobs", body={"action": "delete", "expect_count": 7})
    assert (moved.status, moved.code) == (409, "count_moved")
    none = await server.call("POST", "/v1/jobs", body={"action": "delete"})
    assert none.status == 422
    late = await server.call("POST", "/v1/jobs", body={"action": "delete", "expect_count": 6, "until": START})
    assert late.status == 422
    assert server.jobs.all() == []


async def test_a_job_whose_process_is_killed_is_finished_by_another_one(server: Api) -> None:
    job = await made(server)
    commands = Commands(server)
    commands.killed_at = 2
    with pytest.raises(Killed):
        await runner(server, "a", commands).run_once()
    held = server.jobs.get(job["job_id"])
    assert held is not None
    assert (held.done, held.owner) == (2, "a")
    # its lease is not over: it may be alive
    other = Commands(server)
    await runner(server, "b", other).run_once()
    assert other.asked == []
    server.clock.advance(LEASE_MS)
    await runner(server, "b", other).run_once()
    over = server.jobs.get(job["job_id"])
    assert over is not None
    assert (over.state, over.done, over.refused) == (JobState.DONE, 6, 0)
    assert states(server) == [State.PAUSED] * 6
    # the page that was under way is sent with the same ids
    assert commands.asked[1] == other.asked[0]
    assert len({command_id for page in (*commands.asked, *other.asked) for command_id in page}) == 6


async def test_pages_that_were_under_way_together_are_sent_again_with_their_ids(server: Api) -> None:
    job = await made(server)
    commands = Commands(server)
    commands.killed_at = 3
    pace = JobPace(monitors=1, pages=3, again_s=0.0)
    with pytest.raises(Killed):
        await runner(server, "a", commands, pace).run_once()
    held = server.jobs.get(job["job_id"])
    assert held is not None
    # a page is done once those before it are: nothing behind the page without an answer is passed over
    assert held.done == 2
    server.clock.advance(LEASE_MS)
    other = Commands(server)
    await runner(server, "b", other, pace).run_once()
    over = server.jobs.get(job["job_id"])
    assert over is not None
    assert (over.state, over.done, over.refused) == (JobState.DONE, 6, 0)
    assert other.asked[0] == commands.asked[2]
    assert len({command_id for page in (*commands.asked, *other.asked) for command_id in page}) == 6


async def test_pages_without_an_answer_are_sent_again(server: Api) -> None:
    job = await made(server)

    class SilentOnce(Commands):
        async def ask(self, inputs: Sequence[Asked], wait_s: float) -> list[Reply | EverwatchError | None]:
            replies = await super().ask(inputs, wait_s)
            return [None for _ in replies] if len(self.asked) == 2 else replies

    commands = SilentOnce(server)
    await runner(server, "a", commands, JobPace(monitors=1, pages=3, again_s=0.0)).run_once()
    over = server.jobs.get(job["job_id"])
    assert over is not None
    assert (over.state, over.done, over.refused) == (JobState.DONE, 6, 0)
    assert commands.asked[1] in commands.asked[2:]


async def test_a_monitor_that_is_gone_before_its_deletion_is_not_refused(server: Api) -> None:
    job = await made(server, action="delete")
    commands = Commands(server)
    commands.refused = {"m-1"}
    await runner(server, "a", commands).run_once()
    over = server.jobs.get(job["job_id"])
    assert over is not None
    assert (over.state, over.done, over.refused) == (JobState.DONE, 6, 0)


async def test_what_is_refused_is_listed_with_why(server: Api) -> None:
    job = await made(server)
    commands = Commands(server)
    commands.refused = {"m-1"}
    await runner(server, "a", commands).run_once()
    over = (await server.call("GET", f"/v1/jobs/{job['job_id']}")).json
    assert (over["state"], over["done"], over["refused"]) == ("done", 4, 2)
    errors = (await server.call("GET", f"/v1/jobs/{job['job_id']}/errors")).json["items"]
    assert [(e["user_id"], e["monitor_id"], e["code"]) for e in errors] == [
        ("ann", "m-1", "not_found"), ("bob", "m-1", "not_found"),
    ]  # fmt: skip


async def test_a_job_that_is_cancelled_goes_no_further(server: Api) -> None:
    job = await made(server)

    class Cancelling(Commands):
        async def ask(self, inputs: Sequence[Asked], wait_s: float) -> list[Reply | EverwatchError | None]:
            assert (await server.call("DELETE", f"/v1/jobs/{job['job_id']}")).status == 204
            return await super().ask(inputs, wait_s)

    await runner(server, "a", Cancelling(server)).run_once()
    assert (await server.call("GET", f"/v1/jobs/{job['job_id']}")).json["state"] == "cancelled"
    assert states(server).count(State.PAUSED) == 2
    assert (await server.call("DELETE", f"/v1/jobs/{job['job_id']}")).code == "not_pending"


async def test_the_same_request_again_makes_no_second_job(server: Api) -> None:
    body = {"action": "pause", "expect_count": 6}
    first = await server.call("POST", "/v1/jobs", body=body, Idempotency_Key="k")
    again = await server.call("POST", "/v1/jobs", body=body, Idempotency_Key="k")
    assert first.json["job_id"] == again.json["job_id"]
    assert len(server.jobs.all()) == 1
    other = await server.call("POST", "/v1/jobs", body=body | {"action": "resume"}, Idempotency_Key="k")
    assert (other.status, other.code) == (422, "reused_key")


async def test_two_users_may_use_one_idempotency_key(server: Api) -> None:
    made_by_user = {}
    for user_id in ("ann", "bob"):
        token = server.token(Role.OPERATOR, user_id)
        body = {"action": "pause", "expect_count": 3}
        made_by_user[user_id] = (
            await server.call("POST", "/v1/jobs", token=token, body=body, Idempotency_Key="1")
        ).json["job_id"]
    await runner(server, "a").run_once()
    assert [server.jobs.get(job_id).user_id for job_id in made_by_user.values()] == ["ann", "bob"]  # type: ignore[union-attr]
    assert states(server) == [State.PAUSED] * 6


async def test_a_record_with_an_unknown_role_is_passed_over(server: Api) -> None:
    job = await made(server)
    held = server.jobs.get(job["job_id"])
    assert held is not None
    value = encoded(held).replace(b'"role":"admin"', b'"role":"owner"').replace(held.job_id.encode(), b"other")
    server.jobs.take([Record("jobs", 0, 9, START, b"other", value)])
    assert server.jobs.all() == [held]
    await runner(server, "a").run_once()
    assert states(server) == [State.PAUSED] * 6


async def test_refusals_and_ended_jobs_are_kept_within_bounds(server: Api) -> None:
    commands = Commands(server)
    commands.refused = {"m-0", "m-1", "m-2"}
    first = await made(server)
    await runner(server, "a", commands, PACE._replace(most_errors=2)).run_once()
    over = (await server.call("GET", f"/v1/jobs/{first['job_id']}")).json
    assert (over["state"], over["refused"]) == ("done", 6)
    errors = (await server.call("GET", f"/v1/jobs/{first['job_id']}/errors")).json["items"]
    assert [(e["user_id"], e["monitor_id"]) for e in errors] == [("ann", "m-0"), ("ann", "m-1")]
    server.clock.advance(1_000)
    second = await made(server)
    await runner(server, "a").run_once()
    await runner(server, "a", most_ended=1).run_once()
    assert [job.job_id for job in server.jobs.all()] == [second["job_id"]]
    assert server.jobs.errors(first["job_id"]) == []


async def test_a_token_of_one_user_makes_and_sees_jobs_of_that_user_alone(server: Api) -> None:
    hers = server.token(Role.OPERATOR, "ann")
    everybodys = await made(server)
    assert (await server.call("GET", f"/v1/jobs/{everybodys['job_id']}", token=hers)).status == 404
    assert (await server.call("DELETE", f"/v1/jobs/{everybodys['job_id']}", token=hers)).status == 404
    refused = await server.call(
        "POST", "/v1/jobs", token=hers, body={"action": "pause", "expect_count": 3, "filter": {"user": "bob"}}
    )
    assert (refused.status, refused.code) == (403, "forbidden")
    own = await made(server, hers, expect_count=3)
    assert [job["job_id"] for job in (await server.call("GET", "/v1/jobs", token=hers)).json["items"]] == [
        own["job_id"]
    ]
    await server.call("DELETE", f"/v1/jobs/{everybodys['job_id']}")
    await runner(server, "a").run_once()
    assert states(server) == [State.PAUSED] * 3 + [State.NEW] * 3
    viewer = await server.call("POST", "/v1/jobs", token=server.token(Role.VIEWER), body={})
    assert viewer.status == 403


async def test_jobs_of_one_user_take_no_place_from_operators(server: Api) -> None:
    hers = server.token(Role.OPERATOR, "ann")
    body = {"action": "run_now", "expect_count": 3}
    for _ in range(jobs.MOST_OF_USER):
        await made(server, hers, expect_count=3)
    assert (await server.call("POST", "/v1/jobs", token=hers, body=body)).code == "too_many_jobs"
    for _ in range(jobs.MOST_RUNNING):
        await made(server)
    assert (await server.call("POST", "/v1/jobs", body=body | {"expect_count": 6})).code == "too_many_jobs"


async def test_jobs_that_ended_are_forgotten_after_their_time(server: Api) -> None:
    job = await made(server)
    for _ in range(jobs.MOST_RUNNING - 1):
        await made(server)
    assert (
        await server.call("POST", "/v1/jobs", body={"action": "run_now", "expect_count": 6})
    ).code == "too_many_jobs"
    commands = Commands(server)
    commands.refused = {"m-1"}
    await runner(server, "a", commands).run_once()
    server.clock.advance(8 * 86_400_000)
    await runner(server, "a").run_once()
    assert (server.jobs.all(), server.jobs.errors(job["job_id"])) == ([], [])


def test_of_two_processes_that_take_a_job_at_once_one_has_it() -> None:
    def job(owner: str, written_at: int, **more: Any) -> BulkJob:
        given: dict[str, Any] = {"owner": owner, "written_at": written_at, "lease_until": written_at + LEASE_MS} | more
        return BulkJob("j", JobAction.PAUSE, FacetsQuery(), 0, "t", "", Role.ADMIN, "", None, 1, **given)

    unowned = job("", 0, lease_until=0)
    assert is_taken(unowned, job("a", 5))
    assert not is_taken(job("a", 5), job("b", 6))
    assert is_taken(job("a", 5), job("a", 6))
    assert is_taken(job("a", 5), job("b", 5 + LEASE_MS))
    assert is_taken(job("a", 5), job("b", 6, state=JobState.CANCELLED))
    assert not is_taken(job("a", 5, state=JobState.DONE), job("a", 6))


async def test_a_monitor_is_judged_and_not_stored(server: Api) -> None:
    right = (await server.call("POST", "/v1/monitors/validate", body=SITE)).json
    assert (right["valid"], right["errors"], len(right["next_runs"])) == (True, [], 5)
    assert right["spec"]["schedule"] == {"every": "1m"}
    wrong = (await server.call("POST", "/v1/monitors/validate", body=SITE | {"schedule": {"every": "1ms"}})).json
    assert (wrong["valid"], wrong["errors"][0]["path"], wrong["spec"]) == (False, "$.schedule.every", None)
    config = {"url": "https://example.com/", "secret_headers": {"Authorization": "Bearer s3cret"}}
    secret = await server.call("POST", "/v1/monitors/validate", body={"kind": "http", "config": config})
    assert secret.json["valid"]
    assert b"s3cret" not in secret.data
    assert len(server.worker.inputs) == 2
