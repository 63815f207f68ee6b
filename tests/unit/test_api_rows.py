"""Users and monitors out of one installation by HTTP, and into another one."""

import orjson
from support.api import api

from everwatch.api.permissions import Role

SITE = {"kind": "http", "config": {"url": "https://a.example", "bearer": "s3cret"}}
NOOP = {"kind": "noop", "schedule": {"every": "1m"}}
NDJSON = "application/x-ndjson"


async def test_what_is_exported_in_pages_is_imported_as_it_was() -> None:
    async with api() as one, api() as other:
        for user in ("ann", "bob", "eve"):
            body = {"attributes": {"city": "Bern"}, "monitors": [{"monitor_id": "m", **NOOP}]}
            await one.call("PUT", f"/v1/users/{user}", body=body)
        await one.call("PUT", "/v1/users/ann/monitors/own", body={**NOOP, "name": "Own"})
        rows, path = b"", "/v1/export?limit=2"
        pages = 0
        while path:
            page = await one.call("GET", path)
            assert (page.status, page.headers["Content-Type"]) == (200, NDJSON)
            rows, pages = rows + page.data, pages + 1
            path = page.headers.get("Link", "").partition(">")[0].removeprefix("<")
        assert pages == 2
        taken = await other.call("POST", "/v1/imports", body=rows, Content_Type=NDJSON)
        assert taken.status == 207
        assert [orjson.loads(line)["status"] for line in taken.data.splitlines()] == [200] * 4
        again = await other.call("GET", "/v1/export")
        assert again.data == rows
        assert (await other.call("GET", "/v1/users/ann/monitors/own")).json["spec"]["name"] == "Own"


async def test_a_limited_token_exports_and_imports_its_own_user_and_no_secrets_are_told() -> None:
    async with api() as server:
        for user in ("ann", "bob"):
            await server.call("PUT", f"/v1/users/{user}", body={"monitors": [{"monitor_id": "m", **SITE}]})
        hers = server.token(Role.OPERATOR, "ann")
        told = (await server.call("GET", "/v1/export", token=hers)).data
        assert (b"ann" in told, b"bob" in told, b"s3cret" in told) == (True, False, False)
        assert (await server.call("GET", "/v1/export?user=bob", token=hers)).status == 403
        keys = server.token(Role.VIEWER, with_secrets=True)
        assert b"s3cret" in (await server.call("GET", "/v1/export", token=keys)).data
        rows = b'{"user_id":"bob"}\n{"command":"purge","user_id":"ann"}\n{"user_id":"ann","monitor":{"kind":"x"}}\n1'
        taken = await server.call("POST", "/v1/imports", body=rows, token=hers, Content_Type=NDJSON)
        outcomes = [orjson.loads(line) for line in taken.data.splitlines()]
        assert [(each["line"], each["status"]) for each in outcomes] == [(1, 403), (2, 422), (3, 422), (4, 422)]
