"""A token of one user, and lists, filters and cursors of a store and a notifier that hold as much of another user."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.api import Api
from support.populated_api import HERS, OTHERS, populated_api

from everwatch.api.permissions import Reach, Role
from everwatch.api.routing import Route

NAMES_NOBODY = {"/v1/tasks/counts", "/v1/monitors/facets", "/v1/routes"}
"""Lists whose items name no user: what they count, or show, is compared instead."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Api]:
    """The API with as much of each of two users."""
    async with populated_api(tmp_path) as running:
        yield running


def lists_of(server: Api) -> list[Route]:
    routes: list[Route] = server.server.routes  # type: ignore[attr-defined]
    narrowed = [each for each in routes if each.permission.reach is Reach.NARROWED and each.method == "GET"]
    # what names one thing has tests of its own, and so has the stream
    return [each for each in narrowed if not each.parameters and each.path != "/v1/live"]


async def test_a_token_of_one_user_sees_hers_of_each_list_and_nothing_of_another(server: Api) -> None:
    hers = server.token(Role.OPERATOR, HERS)
    for route in lists_of(server):
        seen, everything = [await server.call("GET", route.path, token=token) for token in (hers, "")]
        assert (seen.status, everything.status) == (200, 200), route.path
        assert OTHERS not in seen.data.decode(), route.path
        if route.path in NAMES_NOBODY:
            assert seen.data != everything.data, route.path
        elif route.path == "/v1/views":
            theirs = await server.call("GET", route.path, token=server.token(Role.VIEWER, OTHERS))
            assert (HERS in seen.data.decode(), OTHERS in theirs.data.decode()) == (True, True)
        else:
            assert HERS in seen.data.decode(), route.path
            assert OTHERS in everything.data.decode(), f"nothing is shown by {route.path}"


async def test_a_cursor_of_more_leads_nowhere_with_the_token_of_one_user(server: Api) -> None:
    hers = server.token(Role.VIEWER, HERS)
    looked_at = set()
    for route in lists_of(server):
        if route.query is None or "cursor" not in route.query.__struct_fields__:
            continue
        # timelines take the cursors of the list of monitors
        paged = "/v1/monitors" if route.path == "/v1/timelines" else route.path
        cursor = cursor_of(await server.call("GET", f"{paged}?limit=1"))
        assert cursor, f"{route.path} has one page"
        url = f"{route.path}?limit=1&cursor={cursor}"
        assert (await server.call("GET", url)).status == 200, route.path
        assert (await server.call("GET", url, token=hers)).code == "invalid_cursor", route.path
        looked_at.add(route.path)
    assert looked_at >= {"/v1/users", "/v1/monitors", "/v1/results", "/v1/transitions", "/v1/tasks", "/v1/export"}


async def test_pages_of_one_item_go_through_each_list_and_its_total_is_told_on_request(server: Api) -> None:
    looked_at = set()
    for route in [*lists_of(server), *[r for r in server.server.routes if r.name == "GET /v1/tokens"]]:  # type: ignore[attr-defined]
        if route.query is None or "total" not in route.query.__struct_fields__ or route.path == "/v1/timelines":
            continue
        whole = (await server.call("GET", f"{route.path}?total=true")).json
        items = whole["items"]
        assert (whole["total"], whole["total_at_least"], whole["next"]) == (len(items), False, None), route.path
        found, cursor = [], ""
        while cursor or not found:
            page = await server.call("GET", f"{route.path}?limit=1&cursor={cursor}")
            found += page.json["items"]
            assert page.json["total"] is None
            cursor = page.json["next"] or ""
            assert cursor == cursor_of(page), "the Link has it too"
        assert found == items, route.path
        looked_at.add(route.path.removeprefix("/v1/"))
    assert looked_at >= {"users", "monitors", "tasks", "results", "transitions", "jobs", "incidents", "deliveries"}
    assert looked_at >= {"channels", "silences", "tokens"}
    assert (await server.call("GET", "/v1/timelines?total=true")).code == "invalid_parameter"


def cursor_of(page: Any) -> str:
    return str(page.headers.get("Link", "").partition("cursor=")[2].partition(">")[0])


async def test_a_filter_that_names_another_user_is_refused_to_the_token_of_one(server: Api) -> None:
    hers = server.token(Role.OPERATOR, HERS)
    filtered = [each for each in lists_of(server) if each.query and "user" in each.query.__struct_fields__]
    assert len(filtered) >= 12, [each.path for each in filtered]
    for route in filtered:
        assert (await server.call("GET", f"{route.path}?user={OTHERS}", token=hers)).code == "forbidden", route.path
        assert (await server.call("GET", f"{route.path}?user={HERS}", token=hers)).status == 200, route.path
    bodies: dict[str, Any] = {
        "/v1/jobs/preview": {"filter": {"user": OTHERS}},
        "/v1/jobs": {"action": "pause", "expect_count": 4, "filter": {"user": OTHERS}},
        "/v1/silences/preview": {"match": {"user": OTHERS}},
        "/v1/silences": {"match": {"user": OTHERS}, "for": "1h"},
        "/v1/deliveries/replay": {"since": 0, "state": "sent", "user": OTHERS},
    }
    for path, body in bodies.items():
        refused = await server.call("POST", path, body=body, token=hers)
        assert (refused.status, refused.code) == (403, "forbidden"), path
        assert OTHERS not in refused.data.decode()


async def test_what_is_counted_before_a_write_is_of_the_tokens_user_alone(server: Api) -> None:
    hers = server.token(Role.OPERATOR, HERS)
    asked: dict[str, tuple[Any, str]] = {
        "/v1/jobs/preview": ({"filter": {"kind": "noop"}}, "count"),
        "/v1/silences/preview": ({"match": {"kind": "noop"}}, "monitors"),
        "/v1/deliveries/replay": ({"since": 0, "state": "sent", "dry_run": True}, "messages"),
    }
    for path, (body, counted) in asked.items():
        seen, everything = [await server.call("POST", path, body=body, token=token) for token in (hers, "")]
        assert 0 < seen.json[counted] < everything.json[counted], path
        assert OTHERS not in seen.data.decode()
