"""Rows of a file over HTTP: judged in a dry run, imported, and each refused one with its line and reason."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from support.api import Api, api

from everwatch.api.permissions import Role

CSV = b'id,city,plan\r\nann,"Bern,\r\nold town",default\r\n,Graz,default\r\nbob,Lyon,default\r\n'


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


async def post(server: Api, query: str, data: bytes, **more: Any) -> Any:
    return await server.call("POST", f"/v1/import?{query}", body=data, Content_Type="application/octet-stream", **more)


async def test_a_table_is_judged_first_and_imported_then(server: Api) -> None:
    tried = (await post(server, "map=id=user_id&dry_run=true", CSV)).json
    assert (tried["rows"], tried["accepted"], tried["refused_rows"]) == (3, 2, 1)
    assert server.worker.inputs == []
    done = (await post(server, "map=id=user_id", CSV)).json
    assert (done["accepted"], done["kept"]) == (2, 0)
    [wrong] = done["refused"]
    # the second row begins on the fourth line, as a cell of the first one has two
    assert (wrong["line"], wrong["path"]) == (4, "$.user_id")
    ann = (await server.call("GET", "/v1/users/ann")).json
    assert ann["attributes"] == {"city": "Bern,\r\nold town"}
    assert [each.user_id for each in server.audit.entries] == ["ann", "bob"]


async def test_lines_of_json_are_imported_and_a_part_of_a_file_says_its_lines(server: Api) -> None:
    lines = b'{"user_id":"ann"}\n{"user_id":"ann","monitor":{"kind":"noop","schedule":{"every":"1m"}}}\n{"user_id":7}\n'
    done = (await post(server, "line=501", lines)).json
    assert (done["accepted"], done["refused_rows"]) == (2, 1)
    assert done["refused"][0]["line"] == 503
    assert (await server.call("GET", "/v1/users/ann/monitors/noop")).status == 200


async def test_what_a_token_may_not_do_is_refused_row_by_row(server: Api) -> None:
    hers = server.token(Role.OPERATOR, "ann")
    rows = b'{"user_id":"ann","monitor":{"kind":"noop","schedule":{"every":"1m"}}}\n{"user_id":"bob"}\n'
    done = (await post(server, "", rows, token=hers)).json
    assert [(each["user_id"], each["code"]) for each in done["refused"]] == [("bob", "forbidden")]
    assert (await post(server, "", rows, token=server.texts[Role.VIEWER])).status == 403


async def test_a_file_that_cannot_be_read_is_refused_as_a_whole(server: Api) -> None:
    nameless = await post(server, "", b"id,city\nann,Bern\n")
    assert nameless.code == "invalid"
    assert "The file has no column user_id but id, city" in nameless.json["detail"]
    assert (await post(server, "map=x", CSV)).code == "invalid_parameter"
    assert (await post(server, "map=id=user_id", b"id\n")).code == "empty"
