"""Users and monitors as rows over HTTP: what the command line exports, in pages."""

import io

import orjson
from support.api import api

from everwatch.api.permissions import Role
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
