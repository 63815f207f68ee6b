"""The OpenAPI document says what the API does: its shape, and requests made of it at random."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from support.api import Api, api
from support.api_shape import broken, other_permissions, shape_of
from support.notifying import Notifying

from everwatch.api.permissions import Reach, Role
from everwatch.core.config import Settings

EXAMPLES = 2


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Api]:
    notifying = Notifying(Settings(data_dir=tmp_path))
    async with api() as running:
        running.storage, running.take_incidents = notifying.storage, notifying.ask
        body = {"monitors": [{"monitor_id": "m", "kind": "noop", "schedule": {"every": "1m"}}]}
        await running.call("PUT", "/v1/users/ann", body=body)
        yield running
    notifying.close()


async def test_the_document_names_every_route_and_what_each_takes(server: Api) -> None:
    document = (await server.call("GET", "/openapi.json", token=None)).json
    assert document["openapi"].startswith("3.1")
    named = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routes = server.server.routes  # type: ignore[attr-defined]
    routes = [route for route in routes if route.documented]
    assert named == {(route.method, route.path) for route in routes}
    for route in routes:
        operation = document["paths"][route.path][route.method.lower()]
        is_open = route.permission.reach in (Reach.ANYONE, Reach.KEY)
        assert operation["security"] == ([] if is_open else [{"token": []}])
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


async def test_every_reference_of_the_document_leads_somewhere(server: Api) -> None:
    document = (await server.call("GET", "/openapi.json", token=None)).json

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return found + [each for inner in value.values() for each in references(inner)]
        return [each for inner in value for each in references(inner)] if isinstance(value, list) else []

    for reference in set(references(document)):
        place: Any = document
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


async def test_clients_of_v1_find_all_that_there_ever_was(server: Api) -> None:
    # of the last release; .ci/api_v1.py writes it anew
    golden = json.loads((Path(__file__).parents[1] / "data" / "golden" / "api-v1.json").read_text())
    shape = shape_of((await server.call("GET", "/openapi.json", token=None)).json)
    assert list(broken(golden, shape)) == []
    # the matrix of test_api_access takes from the document who may do what: here is what the document has to say
    assert list(other_permissions(golden, shape)) == []


def test_an_operation_that_is_open_to_more_is_seen() -> None:
    mine = {"scope": "write", "reach": "user", "signs_up": False}
    old = {"PUT /x": {"permission": mine}}
    assert not list(other_permissions(old, old))
    for wider in ({"scope": "read"}, {"reach": "narrowed"}, {"scope": None}):
        [said] = other_permissions(old, {"PUT /x": {"permission": mine | wider}})
        assert said.startswith("PUT /x was open to")
    assert list(other_permissions({}, old)) == [f"PUT /x was open to None, and is now to {mine}"]


def test_what_would_break_a_client_is_seen() -> None:
    fields = {"fields": ["a", "a.b"], "must": ["a"]}
    old = {"GET /x": {"query": ["q"], "must": [], "body": fields, "answers": {"200": fields, "202": fields}}}
    less = {"fields": ["a"], "must": ["a", "c"]}
    new = {"GET /x": {"query": [], "must": ["r"], "body": less, "answers": {"200": less}}}
    assert list(broken(old, new)) == [
        "GET /x takes no q any more",
        "GET /x must have r now",
        "GET /x answers no a.b any more",
        "GET /x answers no 202 any more",
        "GET /x takes no a.b any more",
        "GET /x must have c now",
    ]
    assert list(broken(old, {})) == ["GET /x is gone"]
    assert not list(broken(old, old))


async def test_requests_made_at_random_of_the_document_are_answered_as_it_says(server: Api) -> None:
    # seconds of CPU time, which each process that collects tests would take
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schemathesis.serializer.alias("application/x-ndjson", "text/plain")
    schemathesis.serializer.alias("*/*", "text/plain")
    document = (await server.call("GET", "/openapi.json", token=None)).json
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    headers = {"Authorization": f"Bearer {server.texts[Role.ADMIN]}"}

    def failures() -> Iterator[str]:
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.path == "/v1/live":  # it does not end
                continue

            @settings(
                max_examples=EXAMPLES,
                database=None,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def check(case: Any) -> None:
                # what a schema cannot say may be refused: that a schedule is one of every, cron and at
                case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

            try:
                check()
            except Exception as error:
                yield f"{operation.label}: {str(error)[:1_500]}"

    found = await asyncio.get_running_loop().run_in_executor(None, lambda: list(failures()))
    assert not found, "\n".join(found)
