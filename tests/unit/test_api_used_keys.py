"""Idempotency keys of requests that no worker carries out: of silences here, as of all that the notifier does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.api import OF_THE_CONSOLE, START, Api, api
from support.notifying import Notifying

from everwatch.api.permissions import Role
from everwatch.api.problems import Problem
from everwatch.api.routing import PARAMETER, Route
from everwatch.api.used_keys import KEPT_MS, UsedKeys
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.kafka.consumed_record import Record

PATH = "/v1/silences"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Api]:
    notifying = Notifying(Settings(data_dir=tmp_path))
    async with api() as running:
        running.stand_beside(notifying)
        yield running
    notifying.close()


async def silenced(server: Api, target: str, token: str = "", key: str = "k-1") -> tuple[int, str]:
    body = {"match": {"target": target}, "for": "2h"}
    answer = await server.call("POST", PATH, body=body, token=token, Idempotency_Key=key)
    return answer.status, answer.code if answer.status >= 400 else answer.json["silence_id"]


async def test_a_key_of_another_silence_is_refused_and_the_same_request_makes_one(server: Api) -> None:
    status, made = await silenced(server, "db.example")
    assert status == 201
    assert await silenced(server, "db.example") == (201, made)
    assert await silenced(server, "shop.example") == (422, "reused_key")
    # whatever path it comes with
    ended = await server.call("DELETE", f"{PATH}/{made}", Idempotency_Key="k-1")
    assert (ended.status, ended.code) == (422, "reused_key")
    assert len((await server.call("GET", PATH)).json["items"]) == 1
    # keys of a user's own token are the user's
    hers = server.token(Role.OPERATOR, "ann")
    assert (await silenced(server, "shop.example", hers))[0] == 201


async def test_every_write_that_takes_a_key_may_be_refused_for_it(server: Api) -> None:
    paths = (await server.call("GET", "/openapi.json")).json["paths"]
    keyed = {
        (method, path): operation["responses"]
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "Idempotency-Key" in str(operation.get("parameters", ()))
    }
    assert ("post", "/v1/silences") in keyed
    assert [name for name, responses in keyed.items() if "422" not in responses] == []


async def test_a_write_that_would_not_remember_a_key_refuses_it(server: Api) -> None:
    routes: list[Route] = server.server.routes  # type: ignore[attr-defined]
    names = {"user_id": "ann", "monitor_id": "m"}
    refusing = []
    for route in routes:
        if route.method == "GET" or route.permission.is_open:
            continue
        path = PARAMETER.sub(lambda found: names.get(found[1], "0" * 16), route.path)
        answer = await server.call(route.method, path, body={}, Idempotency_Key="k-9", **OF_THE_CONSOLE)
        is_refused = answer.status == 400 and "Idempotency-Key" in answer.json["detail"]
        assert is_refused == (not route.command), route.name
        if is_refused:
            refusing.append(route.name)
    assert {"POST /v1/tokens", "POST /v1/deliveries/replay", "PUT /v1/views", "POST /v1/signals"} <= {*refusing}
    # who sends a ping may have such a header of its own
    key = server.ping_keys.key_of("ann")
    assert (await server.call("POST", f"/ping/{key}/m", token=None, Idempotency_Key="k-9")).status == 200


class Topic:
    """The topic, whose records every process takes in."""

    def __init__(self, *readers: UsedKeys) -> None:
        self._readers = readers
        self.sent: list[tuple[bytes, bytes | None]] = []

    async def send(self, topic: str, key: bytes, value: bytes | None) -> None:
        self.sent.append((key, value))
        for each in self._readers:
            each.take([Record(topic, 0, len(self.sent), 0, key, value)])


async def test_processes_agree_on_which_request_a_key_is_of_and_forget_it_after_its_time() -> None:
    clock = SettableClock(START)
    one, other = UsedKeys(clock), UsedKeys(clock)
    topic = Topic(one, other)
    await one.claim(topic, "jobs", "", "k", "first")
    await other.claim(topic, "jobs", "", "k", "first")
    with pytest.raises(Problem, match="another request"):
        await other.claim(topic, "jobs", "", "k", "second")
    assert len(topic.sent) == 1
    clock.advance(KEPT_MS)
    await other.claim(topic, "jobs", "", "other", "third")
    assert [value is None for _, value in topic.sent] == [False, True, False], "the old one is deleted"
    await one.claim(topic, "jobs", "", "k", "second")
    one.take([Record("jobs", 0, 9, 0, b"key/x", b"no json"), Record("jobs", 0, 9, 0, b"view/x", b"{}")])
