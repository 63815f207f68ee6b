"""``/v1/monitors/try`` and the same for a change of a monitor that is there."""

from collections.abc import AsyncIterator

import orjson
import pytest
from support.api import Api, api

from everwatch.api.permissions import Role
from everwatch.api.trying import TRIALS_PER_MIN
from everwatch.client import AsyncClient
from everwatch.encoding.trial_records import GRACE_MS, LONGEST_TRIAL_MS
from everwatch.model import Status

TRY = "/v1/monitors/try"
SITE = {"kind": "http", "config": {"url": "https://shop.example/", "bearer": "hush"}, "schedule": {"every": "1m"}}
PATCH = "application/merge-patch+json"


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        await running.call("PUT", "/v1/users/ann", body={"monitors": [{"monitor_id": "site", **SITE}]})
        yield running


async def test_a_monitor_is_tried_by_an_executor_and_nothing_is_stored(server: Api) -> None:
    before = len(server.worker.inputs)
    tried = await server.call("POST", TRY, body=SITE | {"policy": {"timeout": "3s"}})
    assert tried.status == 200
    assert tried.json == {
        "status": "success",
        "reason": "",
        "started_at": server.clock.now_ms(),
        "duration_ms": 12.5,
        "timings": {"connect": 3.0},
        "detail": "",
        "executor": "executor-bern-1",
    }
    [request] = server.trials.requests
    assert (request.kind, request.timeout_ms) == ("http", 3_000)
    assert request.expires_at == server.clock.now_ms() + 3_000 + GRACE_MS
    assert orjson.loads(request.config)["bearer"] == "hush"
    assert len(server.worker.inputs) == before
    assert (server.audit.entries[-1].command, server.audit.entries[-1].status) == ("try", 200)


async def test_a_change_is_tried_with_the_secrets_that_are_stored(server: Api) -> None:
    path, patch = "/v1/users/ann/monitors/site/try", {"config": {"url": "https://shop.example/up"}}
    tried = await server.call("POST", path, body=patch, Content_Type=PATCH)
    assert tried.status == 200
    assert b"hush" not in tried.data
    config = orjson.loads(server.trials.requests[-1].config)
    assert (config["url"], config["bearer"]) == ("https://shop.example/up", "hush")
    held = (await server.call("GET", "/v1/users/ann/monitors/site")).json
    assert held["spec"]["config"]["url"] == "https://shop.example/"
    wrong = await server.call("POST", path, body={"config": {"url": 3}}, Content_Type=PATCH)
    assert (wrong.status, wrong.code) == (422, "invalid")
    gone = await server.call("POST", "/v1/users/ann/monitors/other/try", body={}, Content_Type=PATCH)
    assert gone.code == "not_found"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kind": "http", "config": {}}, 422, "invalid"),
        ({"kind": "nothing", "config": {}}, 422, "invalid"),
        ({"kind": "heartbeat", "config": {"period": "1d"}}, 409, "wrong_kind"),
    ],
)
async def test_what_cannot_be_tried_says_why_and_reaches_no_executor(
    server: Api, body: dict[str, object], status: int, code: str
) -> None:
    refused = await server.call("POST", TRY, body=body)
    assert (refused.status, refused.code) == (status, code)
    assert server.trials.requests == []


async def test_a_long_timeout_is_cut_and_no_answer_is_said(server: Api) -> None:
    server.trials.silent = True
    lost = await server.call("POST", TRY, body=SITE | {"policy": {"timeout": "5m"}})
    assert (lost.status, lost.code) == (503, "no_answer")
    assert "executor" in lost.json["detail"]
    assert server.trials.requests[0].timeout_ms == LONGEST_TRIAL_MS


async def test_a_token_tries_so_many_a_minute(server: Api) -> None:
    token = server.token(Role.OPERATOR)
    for _ in range(TRIALS_PER_MIN):
        assert (await server.call("POST", TRY, body=SITE, token=token)).status == 200
    refused = await server.call("POST", TRY, body=SITE, token=token)
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await server.call("POST", TRY, body=SITE)).status == 200, "another token's are its own"
    assert (await server.call("POST", TRY, body=SITE, token=server.token(Role.VIEWER))).status == 403


async def test_the_client_tries_a_monitor_and_a_change(server: Api) -> None:
    async with AsyncClient(server.url, server.texts[Role.ADMIN]) as client:
        assert (await client.try_monitor(SITE)).status is Status.SUCCESS
        tried = await client.try_change("ann", "site", {"config": {"url": "https://shop.example/up"}})
        assert tried.executor == "executor-bern-1"
