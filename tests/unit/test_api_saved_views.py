"""Saved views of the console over HTTP: shared, replaced, deleted, bounded, and read again from their topic."""

from collections.abc import AsyncIterator

import pytest_asyncio
from support.api import Api, api

from everwatch.api import saved_views
from everwatch.api.permissions import Role
from everwatch.api.saved_views import SavedViews
from everwatch.kafka.consumed_record import Record

VIEW = {"page": "monitors", "name": "Broken checkouts", "query": "state=down&q=ck"}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


async def names(server: Api, token: str = "") -> list[str]:
    return [each["name"] for each in (await server.call("GET", "/v1/views", token=token)).json["items"]]


async def test_a_view_is_shared_replaced_and_deleted(server: Api) -> None:
    saved = await server.call("PUT", "/v1/views", body=VIEW, token=server.texts[Role.OPERATOR])
    assert (saved.status, saved.json["created_by"]) == (200, "test")
    await server.call("PUT", "/v1/views", body=VIEW | {"query": "state=late"})
    [shown] = (await server.call("GET", "/v1/views", token=server.texts[Role.VIEWER])).json["items"]
    assert (shown["page"], shown["query"]) == ("monitors", "state=late")
    place = f"/v1/views/{shown['view_id']}"
    assert (await server.call("DELETE", place, token=server.texts[Role.VIEWER])).status == 403
    assert (await server.call("DELETE", place)).status == 204
    assert await names(server) == []
    assert (await server.call("DELETE", place)).status == 404
    done = [each.command for each in server.audit.entries if each.outcome == "done"]
    assert done == ["save_view", "save_view", "delete_view"]


async def test_a_user_sees_own_views_only_and_fills_no_others_place(server: Api) -> None:
    hers = server.token(Role.OPERATOR, "ann")
    await server.call("PUT", "/v1/views", body=VIEW)
    for number in range(saved_views.MOST_OF_USER):
        await server.call("PUT", "/v1/views", body=VIEW | {"name": f"Mine {number}"}, token=hers)
    assert (await server.call("PUT", "/v1/views", body=VIEW, token=hers)).code == "too_many_views"
    assert (await server.call("PUT", "/v1/views", body=VIEW | {"name": "Mine 1"}, token=hers)).status == 200
    assert await names(server) == ["Broken checkouts"]
    assert len(await names(server, hers)) == saved_views.MOST_OF_USER


async def test_what_is_no_view_is_refused(server: Api) -> None:
    wrong = [{"name": " "}, {"name": "x" * 61}, {"page": "../x"}, {"query": "a b"}, {"query": "x" * 2_001}]
    for each in wrong:
        assert (await server.call("PUT", "/v1/views", body=VIEW | each)).status == 422, each
    assert await names(server) == []


async def test_another_process_reads_the_same_views_and_passes_wrong_records_over(server: Api) -> None:
    sent: list[Record] = []
    taken = server.records.takers["jobs"]
    server.records.takers = {"jobs": lambda records: (sent.extend(records), taken(records))[1]}
    await server.call("PUT", "/v1/views", body=VIEW)
    other = SavedViews()
    other.take([*sent, Record("jobs", 0, 0, 0, b"view/x", b"{"), Record("jobs", 0, 0, 0, b"view/x", sent[0].value)])
    assert [each.name for each in other.of("")] == ["Broken checkouts"]
    other.take([Record("jobs", 0, 0, 0, sent[0].key, None)])
    assert other.of("") == []
    assert server.jobs.all() == []
