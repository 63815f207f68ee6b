"""Rows of a file over HTTP: judged in a dry run, imported, and each refused one with its line and reason."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from support.api import Api, api
from support.waiting import PATIENCE

from everwatch.api.import_stream import AT_ONCE, MOST_BYTES_OF_ROW
from everwatch.api.permissions import Role
from everwatch.api.tokens import token_id_of
from everwatch.core.errors import BrokerUnavailable

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


async def streamed(server: Api, query: str, data: Any, token: str = "", **headers: str) -> list[Any]:
    """Send a file as a stream; gives the lines of the answer."""
    headers["Authorization"] = f"Bearer {token or server.texts[Role.ADMIN]}"
    async with server.session.post(f"{server.url}/v1/imports?{query}", data=data, headers=headers) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
        return [json.loads(line) async for line in response.content if line.strip()]


async def test_a_file_of_any_length_is_judged_while_it_is_sent(server: Api) -> None:
    told = asyncio.Event()
    rows = b'{"user_id":7}\n' + b'{"user_id":"ann"}\n' * AT_ONCE

    async def file() -> AsyncIterator[bytes]:
        yield rows
        # the first rows are answered while the last one is not sent yet
        await asyncio.wait_for(told.wait(), PATIENCE * 5)
        yield b'{"user_id":"bob"}\n'

    headers = {"Authorization": f"Bearer {server.texts[Role.ADMIN]}"}
    url = f"{server.url}/v1/imports?dry_run=true"
    async with server.session.post(url, data=file(), headers=headers) as response:
        wrong = json.loads(await response.content.readline())
        assert (wrong["line"], wrong["code"]) == (1, "invalid")
        told.set()
        assert await response.content.readline() == b"\n", "no row of the second part is refused"
        last = json.loads(await response.content.readline())
    assert (last["rows"], last["accepted"], last["refused_rows"]) == (AT_ONCE + 2, AT_ONCE + 1, 1)
    assert server.worker.inputs == []


async def test_a_stream_of_rows_is_carried_out_once_with_its_key_and_a_table_too(server: Api) -> None:
    for answer in ("registered", "repeated"):
        [wrong, last] = await streamed(server, "map=id=user_id", CSV, **{"Idempotency-Key": "k-1"})
        assert (wrong["line"], last["rows"], last["accepted"], last["kept"]) == (4, 3, 2, 0)
        assert server.audit.entries[-1].outcome == answer
    ann = (await server.call("GET", "/v1/users/ann")).json
    assert ann["attributes"] == {"city": "Bern,\r\nold town"}
    hers, rows = server.token(Role.OPERATOR, "ann"), b'{"user_id":"ann"}\n{"user_id":"bob"}\n'
    [other, last] = await streamed(server, "", rows, token=hers)
    assert (other["user_id"], other["code"], last["accepted"]) == ("bob", "forbidden", 1)


async def test_a_stream_that_stops_says_at_which_line(server: Api) -> None:
    server.worker.failure = BrokerUnavailable("no broker")
    [away] = await streamed(server, "", b'{"user_id":"ann"}\n')
    assert (away["stopped_at"], away["code"]) == (1, "kafka_unavailable")
    server.worker.failure = None
    for query, data, code in (
        ("map=x", CSV, "invalid_parameter"),
        ("map=id=user_id", b"id\n", "empty"),
        ("", b"id,city\n", "invalid"),
    ):
        refused = await server.call("POST", f"/v1/imports?{query}", body=data)
        assert refused.code == code


async def test_a_stream_ends_with_its_token(server: Api) -> None:
    told, token = asyncio.Event(), server.token(Role.OPERATOR)

    async def file() -> AsyncIterator[bytes]:
        yield b'{"user_id":"ann"}\n' * (AT_ONCE + 1)
        await asyncio.wait_for(told.wait(), PATIENCE * 5)
        yield b'{"user_id":"bob"}\n' * AT_ONCE

    headers = {"Authorization": f"Bearer {token}"}
    async with server.session.post(f"{server.url}/v1/imports?dry_run=true", data=file(), headers=headers) as response:
        assert await response.content.readline() == b"\n"
        server.tokens.revoke(token_id_of(token))
        told.set()
        last = json.loads(await response.content.readline())
    assert (last["stopped_at"], last["code"]) == (AT_ONCE + 1, "invalid_token")


async def test_a_row_without_end_takes_no_memory_without_end(server: Api) -> None:
    row = b"x" * 1_000_000

    async def file() -> AsyncIterator[bytes]:
        yield b"user_id\nann\n"
        for _ in range(MOST_BYTES_OF_ROW // len(row) + 2):
            yield row

    headers = {"Authorization": f"Bearer {server.texts[Role.ADMIN]}"}
    async with server.session.post(f"{server.url}/v1/imports?dry_run=true", data=file(), headers=headers) as response:
        lines = [json.loads(line) async for line in response.content if line.strip()]
    assert (lines[-1]["stopped_at"], lines[-1]["code"]) == (3, "malformed")
    assert lines[-1]["reason"] == f"The file cannot be read: a row has more than {MOST_BYTES_OF_ROW} bytes."


async def test_a_file_that_cannot_be_read_is_refused_as_a_whole(server: Api) -> None:
    nameless = await post(server, "", b"id,city\nann,Bern\n")
    assert nameless.code == "invalid"
    assert "The file has no column user_id but id, city" in nameless.json["detail"]
    assert (await post(server, "map=x", CSV)).code == "invalid_parameter"
    assert (await post(server, "map=id=user_id", b"id\n")).code == "empty"
