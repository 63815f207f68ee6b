"""The API's users, monitors and commands, over HTTP, on the store in memory.

All in one file: one resource with its sub-resources.
"""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson
import pytest
from msgspec.structs import replace
from support.api import CHANGELOG, START, Api, api

from everwatch.api.batch import BODY_LIMIT, MOST_LINES
from everwatch.api.permissions import Role
from everwatch.api.problems import BEHIND
from everwatch.api.routing import Route
from everwatch.core.errors import BrokerUnavailable, StoreError
from everwatch.encoding.input_models import LONGEST_SIGNAL_BODY
from everwatch.model import SignalState
from everwatch.store import CatalogueEntry

SITE = {"kind": "noop", "schedule": {"every": "1m"}}


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


async def test_a_user_is_signed_up_shown_changed_and_ended(server: Api) -> None:
    made = await server.call("PUT", "/v1/users/ann", body={"monitors": [SITE | {"monitor_id": "a"}]})
    assert (made.status, made.json["answer"], made.headers["Location"]) == (201, "registered", "/v1/users/ann")
    again = await server.call("PUT", "/v1/users/ann", body={"monitors": [SITE | {"monitor_id": "a"}]})
    assert (again.status, again.json["answer"]) == (200, "unchanged")
    shown = await server.call("GET", "/v1/users/ann")
    assert shown.json["monitors"] == {"new": 1}
    ended = await server.call("DELETE", "/v1/users/ann")
    assert (ended.status, ended.data) == (204, b"")
    assert (await server.call("GET", "/v1/users/ann")).code == "not_found"
    assert (await server.call("DELETE", "/v1/users/ann")).status == 404


async def test_a_purge_is_kept_carried_out_and_its_report_is_shown(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={"monitors": [SITE | {"monitor_id": "a"}]})
    path, key = "/v1/users/ann/purges", {"Idempotency_Key": "p-1"}
    assert (await server.call("POST", path, token=server.texts[Role.OPERATOR])).status == 403
    server.worker.silent = True
    kept = await server.call("POST", path, **key, Prefer="wait=1")
    assert (kept.status, kept.json["state"], kept.headers["Location"]) == (202, "asked", f"{path}/p-1")
    assert (await server.call("GET", f"{path}/p-1")).json["state"] == "asked"
    assert (await server.call("GET", f"{path}/p-0")).code == "not_found"
    # to the worker that has the user, whatever partitioner its signups were produced with
    assert server.worker.inputs[-1].partition == CHANGELOG.number
    server.worker.silent, server.worker.sink_is_away = False, True
    asked = await server.call("POST", path, **key)
    assert (asked.status, asked.json["state"], asked.json["was_watched"]) == (202, "ended", True)
    assert (await server.call("GET", f"{path}/p-1")).json["state"] == "ended"
    server.worker.sink_is_away = False
    again = await server.call("POST", path, Idempotency_Key="p-2")
    assert again.json["was_watched"] is False
    done = (await server.call("GET", f"{path}/p-2")).json
    assert (done["state"], done["purge_id"], done["deleted"]["monitor_history"]) == ("done", "p-2", 1)
    assert [each["topic"] for each in done["remains"]] == ["results", "audit"]
    assert (await server.call("GET", "/v1/users/ann")).status == 404
    # asked for again, an earlier report is not that of this one
    server.worker.silent = True
    await server.call("POST", path, Idempotency_Key="p-2", Prefer="wait=1")
    assert (await server.call("GET", f"{path}/p-2")).json["state"] == "asked"
    entry = server.audit.entries[-1]
    assert (entry.command, entry.user_id, entry.status, entry.outcome) == ("purge", "ann", 202, "accepted")


async def test_what_a_process_wrote_it_waits_for_when_it_reads_but_not_for_good() -> None:
    async with api(is_behind=True) as server:
        written = await server.call("PUT", "/v1/users/ann", body={})
        position = written.headers["Everwatch-Position"]
        assert (await server.call("GET", "/v1/users/ann")).status == 200
        assert server.waited_for == [position]
        await server.call("GET", "/v1/users/ann")
        await server.call("GET", "/v1/users/bob")
        assert len(server.waited_for) == 1
        told = await server.call("GET", "/v1/users/ann", Everwatch_After=position)
        assert (told.status, told.code) == (503, BEHIND)


async def test_a_monitor_is_created_once_and_changed_only_by_who_has_seen_it(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={})
    made = await server.call("PUT", "/v1/users/ann/monitors/site", body=SITE)
    assert (made.status, made.headers["ETag"]) == (201, '"1"')
    # nothing was read before: it may not be what its writer believes
    blind = await server.call("PUT", "/v1/users/ann/monitors/site", body=SITE | {"name": "x"})
    assert (blind.status, blind.code) == (428, "precondition_required")
    seen = await server.call("GET", "/v1/users/ann/monitors/site")
    changed = await server.call(
        "PUT", "/v1/users/ann/monitors/site", body=SITE | {"name": "x"}, If_Match=seen.headers["ETag"]
    )
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    late = await server.call("PUT", "/v1/users/ann/monitors/site", body=SITE, If_Match=seen.headers["ETag"])
    assert (late.status, late.code) == (412, "version_mismatch")
    only_new = await server.call("PUT", "/v1/users/ann/monitors/site", body=SITE, If_None_Match="*")
    assert only_new.status == 412


async def test_of_two_who_change_a_user_that_they_have_seen_only_the_first_succeeds(server: Api) -> None:
    path, site = "/v1/users/ann", SITE | {"monitor_id": "site"}
    only_there = await server.call("PUT", path, body={}, If_Match="*")
    assert (only_there.status, only_there.code, server.store.user("ann")) == (412, "version_mismatch", None)
    assert (await server.call("PUT", path, body={"monitors": [site]}, If_None_Match="*")).status == 201
    assert (await server.call("PUT", path, body={}, If_None_Match="*")).code == "version_mismatch"

    async def tag() -> str:
        return str((await server.call("GET", path)).headers["ETag"])

    seen = await tag()
    first = await server.call("PATCH", path, body={"attributes": {"city": "Bern"}}, If_Match=seen)
    assert first.status == 200
    for method, body in (("PATCH", {"attributes": {"city": "Thun"}}), ("PUT", {"monitors": [site]})):
        late = await server.call(method, path, body=body, If_Match=seen)
        assert (late.status, late.code) == (412, "version_mismatch")
    seen = await tag()
    # a monitor of the registration that changed is a change of it; the state of one is not
    await server.call("PATCH", f"{path}/monitors/site", body={"name": "x"}, If_Match="*")
    assert (await server.call("PUT", path, body={"monitors": [site]}, If_Match=seen)).status == 412
    seen = await tag()
    await server.call("POST", f"{path}/monitors/site/pause", body={})
    assert (await tag()) != seen
    assert (await server.call("PUT", path, body={"monitors": [site]}, If_Match=seen)).status == 200
    for wrong in ('"1"', "x"):
        assert (await server.call("PATCH", path, body={}, If_Match=wrong)).status == 412
    assert (await server.call("PATCH", path, body={}, If_None_Match="*")).code == "invalid_header"


async def test_a_put_of_whatever_is_there_changes_it_and_creates_nothing(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={})
    path = "/v1/users/ann/monitors/site"
    nothing = await server.call("PUT", path, body=SITE, If_Match="*")
    assert (nothing.status, nothing.code) == (412, "version_mismatch")
    assert server.store.monitor("ann", "site") is None
    await server.call("PUT", path, body=SITE)
    changed = await server.call("PUT", path, body=SITE | {"name": "x"}, If_Match="*")
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    wrong = await server.call("PUT", path, body={"kind": "htpp"}, If_Match="*")
    assert (wrong.status, wrong.json["errors"][0]["path"]) == (422, "$.kind")


async def test_a_patch_changes_what_it_names(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={})
    await server.call("PUT", "/v1/users/ann/monitors/site", body=SITE | {"labels": {"env": "prod", "team": "a"}})
    patch = {"schedule": {"every": "5m"}, "labels": {"team": None}}
    path = "/v1/users/ann/monitors/site"
    assert (await server.call("PATCH", path, body=patch)).status == 428
    done = await server.call("PATCH", path, body=patch, If_Match='"1"', Content_Type="application/merge-patch+json")
    assert (done.status, done.headers["ETag"]) == (200, '"2"')
    spec = (await server.call("GET", path)).json["spec"]
    assert (spec["schedule"], spec["labels"]) == ({"every": "5m"}, {"env": "prod"})
    wrong = await server.call("PATCH", path, body={"schedule": {"every": "1ms"}}, If_Match="*")
    assert (wrong.status, wrong.json["errors"][0]["path"]) == (422, "$.schedule.every")


async def test_a_monitor_is_put_into_maintenance_which_changes_no_version_and_is_ended(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={})
    await server.call("PUT", "/v1/users/ann/monitors/site", body=SITE)
    path, until = "/v1/users/ann/monitors/site", server.clock.now_ms() + 3_600_000
    done = await server.call("POST", f"{path}/maintenance", body={"until": until, "reason": "new disks"})
    assert (done.status, done.json["answer"], done.headers["ETag"]) == (200, "done", '"1"')
    agenda = (await server.call("GET", path)).json["agenda"]
    assert (agenda["maintained_until"], agenda["maintained_why"]) == (until, "new disks")
    assert (await server.call("GET", f"{path}/explain")).json["maintenance_until"] == until
    for wrong in ({}, {"until": None}, {"until": 1}):
        assert (await server.call("POST", f"{path}/maintenance", body=wrong)).status == 422
    ended = await server.call("DELETE", f"{path}/maintenance")
    assert (ended.status, ended.json["answer"]) == (200, "done")
    assert (await server.call("GET", f"{path}/explain")).json["maintenance_until"] == 0


async def test_an_input_that_is_wrong_is_refused_with_its_field_and_nothing_is_sent(server: Api) -> None:
    for body, path in (
        ({"kind": "htpp"}, "$.kind"),
        ({"schedule": {"every": "1ms"}}, "$.schedule.every"),
        ({"nonsense": 1}, "$.nonsense"),
    ):
        refused = await server.call("PUT", "/v1/users/ann/monitors/site", body=body)
        assert (refused.status, refused.json["errors"][0]["path"]) == (422, path)
    assert (await server.call("PUT", "/v1/users/ann", body=b"{")).code == "malformed"
    too_large = await server.call("PUT", "/v1/users/ann", body=b" " * (1024 * 1024 + 1))
    assert (too_large.status, too_large.code) == (413, "too_large")
    packed = gzip.compress(b" " * (8 * 1024 * 1024))
    unpacked = await server.call("PUT", "/v1/users/ann", body=packed, Content_Encoding="gzip")
    assert (len(packed) < 100_000, unpacked.status, unpacked.code) == (True, 413, "too_large")
    lines = b'{"command": "resume", "user_id": "u", "monitor_id": "m"}\n' * (MOST_LINES + 1)
    assert (await server.call("POST", "/v1/batch", body=lines)).code == "too_many"
    assert (await server.call("POST", "/v1/batch", body=b" " * (BODY_LIMIT + 1))).code == "too_large"
    assert server.worker.inputs == []


async def test_a_command_that_comes_again_with_its_key_is_carried_out_once(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={"monitors": [SITE | {"monitor_id": "a"}]})
    path = "/v1/users/ann/monitors/a/pause"
    first = await server.call("POST", path, body={}, Idempotency_Key="k-1")
    again = await server.call("POST", path, body={}, Idempotency_Key="k-1")
    assert (first.json["answer"], again.json["answer"]) == ("done", "repeated")
    outcome = await server.call("GET", "/v1/users/ann/commands/k-1")
    assert outcome.json["answer"] == "repeated"


async def test_a_command_that_nobody_answers_is_accepted_with_the_place_of_its_outcome(server: Api) -> None:
    server.worker.silent = True
    kept = await server.call("PUT", "/v1/users/a%2Fb", body={}, Idempotency_Key="k/1", Prefer="wait=0")
    assert (kept.status, kept.json["answer"]) == (202, None)
    assert kept.headers["Location"] == "/v1/commands/k%2F1?user=a%2Fb"
    assert (await server.call("GET", kept.headers["Location"])).status == 404


async def test_with_kafka_away_nothing_is_acknowledged(server: Api) -> None:
    server.worker.failure = BrokerUnavailable("no broker")
    key = (await server.call("GET", "/v1/users/ann/ping-key")).json["key"]
    for method, path, body in (
        ("PUT", "/v1/users/ann", {}),
        ("POST", "/v1/signals", {"signals": [{"user_id": "ann", "monitor_id": "job"}]}),
        ("GET", f"/ping/{key}/job", None),
    ):
        away = await server.call(method, path, body=body)
        assert (away.status, away.code, away.headers["Retry-After"]) == (503, "kafka_unavailable", "1")


async def test_with_the_database_away_writes_and_pings_go_on(server: Api) -> None:
    server.failure = StoreError("the database is away")
    assert (await server.call("GET", "/v1/users")).code == "database_unavailable"
    assert (await server.call("PUT", "/v1/users/ann", body={})).status == 201
    key = (await server.call("GET", "/v1/users/ann/ping-key")).json["key"]
    assert (await server.call("GET", f"/ping/{key}/job", token=None)).data == b"OK"


async def test_a_ping_says_what_its_url_says(server: Api) -> None:
    key = (await server.call("GET", "/v1/users/ann/ping-key")).json["key"]
    pings = ("POST", "job"), ("GET", "job/start?rid=r-1"), ("HEAD", "job/fail"), ("POST", "job/0"), ("HEAD", "job/7")
    for method, path in pings:
        answered = await server.call(method, f"/ping/{key}/{path}", token=None)
        assert (answered.status, answered.data) == (200, b"" if method == "HEAD" else b"OK")
    sent = [each.value.decode() for each in server.worker.inputs]
    about = f'{{"user_id":"ann","monitor_id":"job","at":{START}'
    assert sent == [
        about + "}",
        about + ',"type":"start","run":"r-1"}',
        about + ',"type":"fail"}',
        about + "}",
        about + ',"exit_code":7}',
    ]
    for path in (f"{key}x/job", "YW5u.AAAA/job", f"{key}/job/256", f"{key}/job/other"):
        assert (await server.call("GET", f"/ping/{path}", token=None)).code == "not_found"


async def test_what_a_ping_brings_along_is_kept_as_far_as_there_is_room(server: Api) -> None:
    key = (await server.call("GET", "/v1/users/ann/ping-key")).json["key"]

    async def said(path: str, body: bytes) -> dict[str, Any]:
        assert (await server.call("POST", f"/ping/{key}/{path}", token=None, body=body)).status == 200
        found: dict[str, Any] = orjson.loads(server.worker.inputs[-1].value)
        return found

    assert (await said("job/log", b"2 files\n"))["type"] == "log"
    assert (await said("job/log", "größe\n\u202e\x1b[2J".encode()))["body"] == "größe\n\\u202e\\u001b[2J"
    assert (await said("job/7", b"\xff no space"))["body"] == "\ufffd no space"
    assert (await said("job", b"x" * 90_000))["body"] == "x" * LONGEST_SIGNAL_BODY
    assert (await server.call("POST", f"/ping/{key}/job/log", token=None)).code == "empty"
    assert (await server.call("POST", f"/ping/{key}/job/log", token=None, body=b"x" * 100_001)).status == 413


async def test_what_a_job_printed_last_is_shown_with_its_monitor(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={"monitors": [{"kind": "heartbeat", "config": {"period": "1h"}}]})
    [job] = server.store.monitors("ann")
    assert (await server.call("GET", "/v1/users/ann/monitors/heartbeat")).json["last_body_at"] == 0
    printed = replace(job, signals=SignalState(body="2 files", body_at=START))
    server.worker.put(CatalogueEntry("ann", "heartbeat", printed))
    shown = (await server.call("GET", "/v1/users/ann/monitors/heartbeat")).json
    assert (shown["last_body"], shown["last_body_at"]) == ("2 files", START)


async def test_a_key_that_was_that_of_another_request_is_refused(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={"monitors": [{"kind": "noop", "schedule": {"every": "1m"}}]})
    path = "/v1/users/ann/monitors/noop"
    for _ in range(2):
        paused = await server.call("POST", f"{path}/pause", body={"reason": "new disks"}, Idempotency_Key="k-1")
        assert paused.status == 200
    other = await server.call("POST", f"{path}/pause", body={"reason": "moved"}, Idempotency_Key="k-1")
    assert (other.status, other.code) == (422, "reused_key")
    elsewhere = await server.call("POST", f"{path}/resume", Idempotency_Key="k-1")
    assert (elsewhere.status, elsewhere.code) == (422, "reused_key")
    assert (await server.call("GET", path)).json["reason"] == "paused: new disks"
    # what is made of the body may differ, as the monitor is another one by then
    for status in (200, 200, 422):
        patch = {"name": "a"} if status == 200 else {"name": "b"}
        changed = await server.call("PATCH", path, body=patch, If_Match="*", Idempotency_Key="k-2")
        assert changed.status == status


async def test_a_key_of_another_signup_is_refused_and_a_signup_that_comes_late_changes_nothing(server: Api) -> None:
    async def put(city: str, key: str) -> tuple[int, str]:
        body = {"attributes": {"city": city}}
        answer = await server.call("PUT", "/v1/users/ann", body=body, Idempotency_Key=key)
        return answer.status, answer.code if answer.status >= 400 else answer.json["answer"]

    assert await put("Bern", "k-1") == (201, "registered")
    assert await put("Basel", "k-1") == (422, "reused_key")
    assert await put("Basel", "k-2") == (200, "updated")
    # the first request once more, by a client that had no answer
    assert await put("Bern", "k-1") == (200, "repeated")
    assert (await server.call("GET", "/v1/users/ann")).json["attributes"] == {"city": "Basel"}


async def test_a_ping_creates_its_monitor_once(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={})
    key = (await server.call("GET", "/v1/users/ann/ping-key")).json["key"]
    url = f"/ping/{key}/backup?create=1&period=1d&grace=1h"
    assert [(await server.call("GET", url, token=None)).status for _ in range(2)] == [201, 200]
    assert (await server.call("GET", "/v1/users/ann/monitors/backup")).json["spec"]["kind"] == "heartbeat"
    wrong = await server.call("GET", f"/ping/{key}/other?create=1&period=never", token=None)
    assert wrong.status == 422


async def test_a_batch_gives_each_line_its_outcome(server: Api) -> None:
    lines = b"\n".join(
        (
            b'{"command":"signup","user_id":"ann"}',
            b'{"command":"put","user_id":"ann","monitor_id":"a","monitor":{"kind":"noop","schedule":{"every":"1m"}}}',
            b"",
            b"nonsense",
            b'{"command":"delete","user_id":"bob","monitor_id":"a"}',
            b'{"command":"purge","user_id":"bob"}',
        )
    )
    token = server.texts[Role.OPERATOR]
    done = await server.call("POST", "/v1/batch", body=lines, token=token, Content_Type="application/x-ndjson")
    outcomes = [orjson.loads(line) for line in done.data.splitlines()]
    assert done.status == 207
    assert [(each["line"], each["status"]) for each in outcomes] == [(1, 200), (2, 200), (4, 422), (5, 404), (6, 403)]


async def test_a_batch_that_comes_again_with_its_key_is_carried_out_once(server: Api) -> None:
    async def sent(*lines: bytes) -> list[tuple[int, str]]:
        body = b"\n".join(lines)
        done = await server.call(
            "POST", "/v1/batch", body=body, Idempotency_Key="k", Content_Type="application/x-ndjson"
        )
        outcomes = [orjson.loads(line) for line in done.data.splitlines()]
        return [(each["status"], each.get("code") or each["outcome"]["answer"]) for each in outcomes]

    signup = b'{"command":"signup","user_id":"ann"}'
    put = b'{"command":"put","user_id":"ann","monitor_id":"a","monitor":{"kind":"noop","schedule":{"every":"1m"}}}'
    assert await sent(signup, put) == [(200, "registered"), (200, "done")]
    assert await sent(signup, put) == [(200, "repeated"), (200, "repeated")]
    other = put.replace(b"1m", b"5m")
    assert await sent(signup, other) == [(200, "repeated"), (422, "reused_key")]
    # ids that lines have are theirs
    own = put.replace(b'"command":"put"', b'"command":"put","command_id":"c-1"')
    assert await sent(signup, own) == [(200, "repeated"), (200, "unchanged")]


async def test_a_line_that_is_nested_too_deeply_is_refused_and_the_others_are_carried_out(server: Api) -> None:
    nested = b'{"a":' * 300 + b"1" + b"}" * 300
    lines = b'{"command":"signup","user_id":"ann","attributes":' + nested + b'}\n{"command":"signup","user_id":"bob"}'
    done = await server.call("POST", "/v1/batch", body=lines, Content_Type="application/x-ndjson")
    assert [orjson.loads(line)["status"] for line in done.data.splitlines()] == [422, 200]


async def test_a_patch_of_any_depth_is_refused_and_not_a_bug(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={"monitors": [SITE | {"monitor_id": "a"}]})
    for depth in range(900, 1_000):  # what can be decoded, and yet not merged or written, is somewhere between
        nested = b'{"config":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        refused = await server.call("PATCH", "/v1/users/ann/monitors/a", body=nested, If_Match="*")
        assert refused.status in (400, 422), depth


async def test_pages_go_through_all_monitors_and_their_cursors_belong_to_their_filters(server: Api) -> None:
    monitors = [SITE | {"monitor_id": f"m-{number:02}"} for number in range(7)]
    await server.call("PUT", "/v1/users/ann", body={"monitors": monitors})
    path, seen = "/v1/monitors?limit=3&kind=noop", []
    while path:
        page = await server.call("GET", path)
        seen += [each["monitor_id"] for each in page.json["items"]]
        link = page.headers.get("Link", "")
        assert bool(link) == bool(page.json["next"])
        path = link.partition("<")[2].partition(">")[0]
    assert seen == [each["monitor_id"] for each in monitors]
    cursor = (await server.call("GET", "/v1/monitors?limit=3")).json["next"]
    other = await server.call("GET", f"/v1/monitors?limit=3&state=up&cursor={cursor}")
    assert other.code == "invalid_cursor"
    assert (await server.call("GET", "/v1/monitors?cursor=%2A%2A")).code == "invalid_cursor"
    assert (await server.call("GET", "/v1/monitors?limit=501")).code == "invalid_parameter"
    assert (await server.call("GET", "/v1/monitors?colour=red")).code == "invalid_parameter"


async def test_a_filter_with_what_no_database_may_be_asked_for_is_refused(server: Api) -> None:
    routes: list[Route] = server.server.routes  # type: ignore[attr-defined]
    looked_at = 0
    for route in routes:
        if route.query is None or route.method != "GET" or "key" in route.parameters:
            continue
        path = route.path.format(user_id="ann", monitor_id="m", command_id="c")
        for field in msgspec.structs.fields(route.query):
            if field.name != "cursor" and "string" in json.dumps(msgspec.json.schema(field.type)):
                refused = await server.call("GET", f"{path}?{field.name}=a%00")
                assert (refused.status, refused.code) == (400, "invalid_parameter"), (route.name, field.name)
                looked_at += 1
    assert looked_at > 20


async def test_a_task_is_created_once_listed_in_pages_and_cancelled(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={})
    for name in ("a", "b", "c"):
        made = await server.call("POST", "/v1/users/ann/tasks", body={"kind": "noop", "task_id": name, "in": "1h"})
        assert (made.status, made.headers["Location"]) == (201, f"/v1/users/ann/tasks/{name}")
    again = await server.call("POST", "/v1/users/ann/tasks", body={"kind": "noop", "task_id": "a", "in": "2h"})
    assert again.code == "version_mismatch"
    assert (await server.call("POST", "/v1/users/ann/tasks", body={"kind": "noop"})).status == 422
    path, seen = "/v1/tasks?limit=2&status=pending", []
    while path:
        page = await server.call("GET", path)
        seen += [each["task_id"] for each in page.json["items"]]
        path = page.headers.get("Link", "").partition("<")[2].partition(">")[0]
    assert seen == ["a", "b", "c"]
    assert (await server.call("DELETE", "/v1/users/ann/tasks/b")).status == 204
    assert (await server.call("GET", "/v1/users/ann/tasks/b")).json["status"] == "cancelled"
    nothing = await server.call("GET", f"/v1/tasks?since={START}&until={START}")
    assert nothing.code == "invalid_parameter"


async def test_a_task_without_a_name_is_the_same_one_when_its_request_is_sent_again(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={})
    task = {"kind": "noop", "in": "1h"}
    first, again = [
        await server.call("POST", "/v1/users/ann/tasks", body=task, Idempotency_Key="k-1") for _ in range(2)
    ]
    assert again.json["answer"] == "repeated"
    assert first.headers["Location"] == again.headers["Location"]
    other = await server.call("POST", "/v1/users/ann/tasks", body=task)
    assert other.headers["Location"] != first.headers["Location"]
    assert (await server.call("GET", again.headers["Location"])).status == 200


async def test_a_precondition_that_nothing_would_look_at_is_refused(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={"monitors": [SITE | {"monitor_id": "a"}]})
    for method, path, body in (
        ("DELETE", "/v1/users/ann/monitors/a", None),
        ("POST", "/v1/users/ann/monitors/a/pause", {}),
        ("DELETE", "/v1/users/ann", None),
    ):
        refused = await server.call(method, path, body=body, If_Match='"7"')
        assert (refused.status, refused.code) == (400, "invalid_header")
    assert (await server.call("GET", "/v1/users/ann/monitors/a")).json["state"] == "new"


async def test_how_long_a_write_waits_is_what_prefer_says_in_any_order(server: Api) -> None:
    for prefer, status in (("respond-async", 202), ("respond-async, wait=9", 201), ("wait=9, respond-async", 200)):
        assert (await server.call("PUT", "/v1/users/bob", body={}, Prefer=prefer)).status == status, prefer


async def test_only_who_has_a_token_can_make_a_read_wait_for_a_position() -> None:
    async with api(is_behind=True) as running:
        assert (await running.call("GET", "/v1/users", Everwatch_After="0@1")).code == "behind"
        key = (await running.call("GET", "/v1/users/ann/ping-key")).json["key"]
        for path in (f"/ping/{key}/job", "/healthz"):
            assert (await running.call("GET", path, token=None, Everwatch_After="0@1")).status == 200


async def test_what_has_not_changed_is_not_sent_again(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={"monitors": [SITE | {"monitor_id": "a"}]})
    for path in ("/v1/users", "/v1/users/ann", "/v1/users/ann/monitors/a"):
        first = await server.call("GET", path)
        again = await server.call("GET", path, If_None_Match=first.headers["ETag"])
        assert (again.status, again.data) == (304, b"")
