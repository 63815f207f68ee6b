"""Users and monitors as rows over HTTP: what the command line exports, in pages."""

import io
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec
import orjson
import pytest
from support.api import Api, api

from everwatch.api.export_views import ExportQuery
from everwatch.api.permissions import Role
from everwatch.api.problems import Problem
from everwatch.api.responses import SECURITY_HEADERS
from everwatch.api.stream_places import MOST, StreamPlaces
from everwatch.api.tokens import token_id_of
from everwatch.client import AsyncClient
from everwatch.core.errors import StoreError
from everwatch.encoding.export_marks import MARK, ExportLine
from everwatch.store import MemoryStore
from everwatch.transfer.exported_rows import Exported, export_rows, write_rows
from everwatch.transfer.row_files import Format

SITE = {"kind": "http", "config": {"url": "https://a.example", "bearer": "s3cret"}, "schedule": {"every": "1m"}}
NOOP = {"kind": "noop", "schedule": {"every": "1m"}}


async def test_pages_of_an_export_are_what_the_command_line_writes() -> None:
    async with api() as server:
        for user in ("ann", "bob", "eve"):
            body = {"attributes": {"city": "Bern"}, "monitors": [{"monitor_id": "m", **NOOP}]}
            await server.call("PUT", f"/v1/users/{user}", body=body)
        await server.call("PUT", "/v1/users/ann/monitors/own", body={**NOOP, "name": "Own"})
        rows, path, pages = b"", "/v1/export?limit=2", 0
        while path:
            page = await server.call("GET", path)
            assert (page.status, page.headers["Content-Type"]) == (200, "application/x-ndjson")
            rows, pages = rows + page.data, pages + 1
            path = page.headers.get("Link", "").partition(">")[0].removeprefix("<")
        written = io.BytesIO()
        catalogue = server.store.catalogue()
        write_rows(export_rows(catalogue, Exported(), None, users_only=False, everything=False), Format.JSONL, written)
        assert (pages, rows) == (2, written.getvalue())
        users = [orjson.loads(line)["user_id"] for line in rows.splitlines()]
        assert users == ["ann", "ann", "bob", "eve"]
        assert (await server.call("GET", "/v1/export?cursor=x")).code == "invalid_cursor"


async def test_a_limited_token_exports_its_own_user_and_no_secrets_are_told() -> None:
    async with api() as server:
        for user in ("ann", "bob"):
            await server.call("PUT", f"/v1/users/{user}", body={"monitors": [{"monitor_id": "m", **SITE}]})
        hers = server.token(Role.OPERATOR, "ann")
        told = (await server.call("GET", "/v1/export", token=hers)).data
        assert (b"ann" in told, b"bob" in told, b"s3cret" in told) == (True, False, False)
        assert (await server.call("GET", "/v1/export?user=bob", token=hers)).status == 403
        keys = server.token(Role.VIEWER, with_secrets=True)
        assert b"s3cret" in (await server.call("GET", "/v1/export", token=keys)).data


class Interrupted:
    """A reader of a store in memory, before whose pages of users something happens."""

    def __init__(self, store: MemoryStore, *happens: Callable[[], object]) -> None:
        self._store = store
        self._happens = list(happens)

    def list_users(self, *asked: Any, **more: Any) -> Any:
        if self._happens:
            self._happens.pop(0)()
        return self._store.list_users(*asked, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def nothing() -> None:
    """Nothing happens."""


def is_away() -> None:
    raise StoreError("its server is away")


async def filled(server: Api) -> None:
    for user in ("ann", "bob", "eve"):
        await server.call("PUT", f"/v1/users/{user}", body={"monitors": [{"monitor_id": "m", **SITE}]})
    await server.call("POST", "/v1/users/bob/monitors/m/pause", body={})


async def test_a_stream_of_an_export_has_all_pages_with_a_mark_behind_each_which_an_import_passes_over() -> None:
    async with api() as server:
        await filled(server)
        whole = await server.call("GET", "/v1/export?stream=true&limit=2")
        assert whole.status == 200
        assert SECURITY_HEADERS.items() <= dict(whole.headers).items()
        lines = whole.data.splitlines()
        marks = [msgspec.json.decode(line, type=ExportLine).export for line in lines if line.startswith(MARK)]
        assert [(bool(each.cursor), each.paused, each.redacted) for each in marks] == [(True, 1, 2), (False, 0, 1)]
        paged = (await server.call("GET", "/v1/export")).data
        assert [line for line in lines if not line.startswith(MARK)] == paged.splitlines()
        behind = (await server.call("GET", f"/v1/export?stream=true&cursor={marks[0].cursor}")).data
        assert behind.splitlines() == lines[-2:]
        keys = server.token(Role.ADMIN, with_secrets=True)
        rows = (await server.call("GET", "/v1/export?stream=true&limit=1", token=keys)).data
        dry = await server.call("POST", "/v1/imports?dry_run=true", body=rows, Content_Type="application/x-ndjson")
        assert orjson.loads(dry.data)["rows"] == 3


async def test_a_stream_of_an_export_ends_with_its_token_and_says_why_and_where() -> None:
    async with api() as server:
        await filled(server)
        token = server.token(Role.VIEWER)
        server.store = Interrupted(server.store, nothing, lambda: server.tokens.revoke(token_id_of(token)))  # type: ignore[assignment]
        told = (await server.call("GET", "/v1/export?stream=true&limit=1", token=token)).data.splitlines()
        mark = msgspec.json.decode(told[-1], type=ExportLine).export
        assert (mark.code, bool(mark.cursor)) == ("invalid_token", True)
        assert [orjson.loads(line)["user_id"] for line in told if not line.startswith(MARK)] == ["ann", "bob"]


async def test_the_client_goes_on_behind_the_last_page_where_a_stream_ends_early() -> None:
    async with api() as server:
        await filled(server)
        server.store = Interrupted(server.store, nothing, is_away)  # type: ignore[assignment]
        async with AsyncClient(server.url, server.texts[Role.ADMIN], sleep=no_pause) as client:
            pages = [page async for page in client.export(ExportQuery(limit=1))]
        assert [[row["user_id"] for row in page.rows] for page in pages] == [["ann"], ["bob"], ["eve"]]
        assert [page.paused for page in pages] == [0, 1, 0]


async def no_pause(_: float) -> None:
    """Wait for nothing."""


async def test_a_process_has_so_many_streams_of_exports_and_fewer_for_one_user() -> None:
    places = StreamPlaces("exports")
    with places.taken("ann"), pytest.raises(Problem, match="as many exports") as refused, places.taken("ann"):
        pass
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    with ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(places.taken(""))
        with pytest.raises(Problem), places.taken(""):
            pass
    with places.taken("ann"):
        pass
