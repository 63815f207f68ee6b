"""The audit log of the API: who asked for which change, and what came of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest
from support.api import OF_THE_CONSOLE, Api, api

from everwatch.api import metrics
from everwatch.api.client_address import TrustedProxies
from everwatch.api.permissions import Role
from everwatch.core.errors import BrokerUnavailable

SITE = {"kind": "noop", "schedule": {"every": "1m"}}


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


def told(server: Api) -> list[tuple[str, str, str, int, str]]:
    return [(e.command, e.user_id, e.monitor_id, e.status, e.outcome) for e in server.audit.entries]


async def test_who_paused_a_monitor_is_told(server: Api) -> None:
    operator = server.token(Role.OPERATOR)
    await server.call("PUT", "/v1/users/ann", body={"monitors": [SITE | {"monitor_id": "site"}]})
    paused = await server.call(
        "POST", "/v1/users/ann/monitors/site/pause", token=operator, body={}, Idempotency_Key="p-1",
        X_Request_Id="r-1",
    )  # fmt: skip
    assert paused.status == 200
    found = await server.call("GET", "/v1/audit?user=ann&monitor=site", token=operator)
    [entry] = found.json["items"]
    who = server.tokens.principal(operator, server.clock.now_ms())
    assert who is not None
    assert entry | {"entry_id": ""} == {
        "entry_id": "", "at": server.clock.now_ms(), "token_id": who.token_id, "token_name": "test", "role": "operator",
        "address": "127.0.0.1", "forwarded_for": "", "status": 200, "outcome": "done",
        "route": "POST /v1/users/{user_id}/monitors/{monitor_id}/pause", "command": "pause", "user_id": "ann",
        "monitor_id": "site", "command_id": "p-1", "request_id": "r-1", "change": "",
    }  # fmt: skip


async def test_what_a_change_of_a_monitor_changed_is_told_without_secrets(server: Api) -> None:
    site = {"kind": "http", "name": "Shop", "config": {"url": "https://a.example", "bearer": "s3cret"}}
    await server.call("PUT", "/v1/users/ann", body={})
    path = "/v1/users/ann/monitors/site"
    await server.call("PUT", path, body={**site, "schedule": {"every": "1m"}})
    change = {"name": None, "schedule": {"every": "5m"}, "config": {"bearer": "n3w", "method": "HEAD"}}
    merge = {"If_Match": "*", "Content_Type": "application/merge-patch+json"}
    without = {**site, "schedule": {"every": "5m"}, "config": {"url": "https://a.example"}}
    for method, body, headers in [
        ("PATCH", change, merge),
        ("PUT", without, {"If_Match": "*"}),
        ("PATCH", {"kind": "none"}, merge),
    ]:
        server.clock.advance(1)
        await server.call(method, path, body=body, **headers)
    entries = (await server.call("GET", "/v1/audit?user=ann&monitor=site")).json["items"]
    refused, put, patched, created = entries
    assert (refused["status"] >= 400, refused["change"], created["change"]) == (True, "", "")
    assert [each["path"] for each in json.loads(put["change"])] == ["$.config.bearer", "$.config.method", "$.name"]
    told_of = json.loads(patched["change"])
    assert [each["path"] for each in told_of] == ["$.config.bearer", "$.config.method", "$.name", "$.schedule.every"]
    secret, verb, name, every = told_of
    assert secret["before"] == secret["after"] != "n3w"
    assert (verb, name) == ({"path": "$.config.method", "after": "HEAD"}, {"path": "$.name", "before": "Shop"})
    assert (every["before"], every["after"]) == ("1m", "5m")
    changes = (await server.call("GET", f"{path}/changes")).json["items"]
    assert [(each["version"], each["origin"], each["fields"]) for each in changes] == [
        (3, "command", json.loads(put["change"])),
        (2, "command", told_of),
    ]
    assert "s3cret" not in str([entries, changes])
    assert "n3w" not in str([entries, changes])


async def test_what_a_signup_changed_of_a_monitor_is_told_too(server: Api) -> None:
    for every, name in (("1m", "Shop"), ("1m", "Shop"), ("5m", "Shop of Ann")):
        monitors = [{"monitor_id": "site", "kind": "noop", "name": name, "schedule": {"every": every}}]
        answer = await server.call("PUT", "/v1/users/ann", body={"monitors": monitors})
        assert answer.status < 300, answer.data
    told = (await server.call("GET", "/v1/users/ann/monitors/site/changes")).json["items"]
    assert [(each["version"], each["origin"]) for each in told] == [(2, "signup")]
    assert told[0]["fields"] == [
        {"path": "$.name", "before": "Shop", "after": "Shop of Ann"},
        {"path": "$.schedule.every", "before": "1m", "after": "5m"},
    ]
    assert (await server.call("GET", "/v1/users/ann/monitors/none/changes")).status == 404


@pytest.mark.parametrize(("trusted", "told_from"), [("", ""), ("127.0.0.0/8", "198.51.100.7")])
async def test_the_clients_address_is_what_a_trusted_proxy_says_and_nobody_else(trusted: str, told_from: str) -> None:
    proxies = TrustedProxies([ip_network(trusted)] if trusted else [])
    async with api(proxies=proxies) as running:
        await running.call("PUT", "/v1/users/ann", body={}, X_Forwarded_For="203.0.113.9, 198.51.100.7")
        [entry] = (await running.call("GET", "/v1/audit")).json["items"]
        assert (entry["address"], entry["forwarded_for"]) == ("127.0.0.1", told_from)


async def test_every_change_is_logged_as_carried_out_kept_or_refused_and_nothing_else(server: Api) -> None:
    await server.call("PUT", "/v1/users/ann", body={})
    await server.call("PUT", "/v1/users/ann/monitors/site", body=SITE)
    await server.call("PUT", "/v1/users/ann/monitors/site", body=SITE, If_Match='"7"')
    made = await server.call("POST", "/v1/users/ann/tasks", body={"kind": "noop", "in": "1h"})
    await server.call("DELETE", "/v1/users/ann/tasks/none")
    await server.call("DELETE", "/v1/users/ann", token=server.token(Role.VIEWER))
    await server.call("GET", "/v1/users/ann")
    await server.call("POST", "/v1/signals", body={"signals": [{"user_id": "ann", "monitor_id": "job"}]})
    await server.call("PUT", "/v1/users/ann", body=b"{")
    await server.call("PUT", "/v1/users/ann", token=None, body={})
    server.worker.silent = True
    await server.call("DELETE", "/v1/users/ann", Prefer="wait=0")
    assert told(server) == [
        ("signup", "ann", "", 201, "registered"),
        ("put", "ann", "site", 201, "done"),
        ("put", "ann", "site", 412, "version_mismatch"),
        ("put", "ann", made.json["monitor_id"], 201, "done"),
        ("cancel", "ann", "none", 404, "not_found"),
        ("deregister", "ann", "", 403, "forbidden"),
        ("deregister", "ann", "", 202, "accepted"),
    ]
    assert len({entry.command_id for entry in server.audit.entries}) == len(server.audit.entries)


async def test_each_line_of_a_batch_is_a_change_of_its_own(server: Api) -> None:
    lines = (
        b'{"command": "signup", "user_id": "ann", "signup_id": "s-1"}\n'
        b'{"command": "signal", "user_id": "ann", "monitor_id": "job"}\n'
        b'{"command": "pause", "user_id": "ann", "monitor_id": "none", "command_id": "c-1"}\n'
        b"not JSON\n"
    )
    await server.call("POST", "/v1/batch", body=lines, Content_Type="application/x-ndjson")
    assert told(server) == [("signup", "ann", "", 200, "registered"), ("pause", "ann", "none", 404, "not_found")]
    assert [entry.command_id for entry in server.audit.entries] == ["s-1", "c-1"]


async def test_logins_and_tokens_are_logged_with_who_they_are_for(server: Api) -> None:
    token = server.token(Role.OPERATOR)
    login = await server.call("POST", "/login", token=None, body={"token": token}, **OF_THE_CONSOLE)
    assert login.status == 204
    made = await server.call("POST", "/v1/tokens", body={"name": "x", "role": "viewer", "user_id": "ann"})
    token_id = made.json["stored"]["token_id"]
    await server.call("DELETE", f"/v1/tokens/{token_id}")
    assert told(server) == [
        ("login", "", "", 204, "done"), ("create_token", "ann", "", 201, "done"), ("revoke_token", "", "", 204, "done"),
    ]  # fmt: skip
    entries = server.audit.entries
    assert (entries[0].role, entries[1].command_id, entries[2].command_id) == ("operator", token_id, token_id)
    assert made.json["token"] not in str(entries)


async def test_only_who_may_see_all_users_sees_the_log(server: Api) -> None:
    for role, user_id, status in (
        (Role.VIEWER, "", 403), (Role.OPERATOR, "", 200), (Role.ADMIN, "", 200), (Role.OPERATOR, "ann", 403),
    ):  # fmt: skip
        assert (await server.call("GET", "/v1/audit", token=server.token(role, user_id))).status == status
    assert (await server.call("GET", "/v1/audit?monitor=m")).code == "invalid_parameter"


async def test_what_a_path_names_harms_no_entry(server: Api) -> None:
    await server.call("DELETE", "/v1/users/a%0Ab%00%E2%80%AE" + "x" * 400)
    [entry] = server.audit.entries
    assert entry.user_id.startswith(r"a\nb\u0000\u202e")
    assert (len(entry.user_id), entry.status) == (256, 422)


def lost() -> float:
    [metric] = metrics.AUDIT_LOST.collect()
    return next(sample.value for sample in metric.samples if sample.name.endswith("_total"))


async def test_a_change_stands_without_its_entry_and_that_is_counted(server: Api) -> None:
    before = lost()
    server.audit.failure = BrokerUnavailable("away")
    assert (await server.call("PUT", "/v1/users/ann", body={})).status == 201
    assert lost() == before + 1


async def test_a_server_that_stops_waits_for_entries_under_way() -> None:
    async with api() as server:
        goes_on = asyncio.Event()
        server.audit.before = lambda _: goes_on.wait()
        server.worker.failure = BrokerUnavailable("Kafka is away.")
        assert (await server.call("PUT", "/v1/users/ann", body={})).status == 503
        assert told(server) == []
        asyncio.get_running_loop().call_soon(goes_on.set)
    assert told(server) == [("signup", "ann", "", 503, "kafka_unavailable")]


async def test_entries_of_many_changes_do_not_wait_for_each_other(server: Api) -> None:
    lines, begun, all_begun = 1_000, list[Any](), asyncio.Event()

    async def slow(records: Any) -> None:
        begun.extend(records)
        if len(begun) == lines:
            all_begun.set()
        # the broker answers once it has all of them
        await all_begun.wait()

    server.audit.before = slow
    batch = "\n".join(f'{{"command":"signup","user_id":"u-{number:03}"}}' for number in range(lines))
    assert (
        await server.call("POST", "/v1/batch", body=batch.encode(), Content_Type="application/x-ndjson")
    ).status == 207
    assert len({entry.user_id for entry in server.audit.entries}) == lines
