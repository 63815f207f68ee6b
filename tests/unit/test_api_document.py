"""The OpenAPI document says what the API does: its shape, and requests made of it at random."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.api import Api, api
from support.api_shape import broken, other_permissions, shape_of
from support.populated_api import HERS, MONITOR, populated_api

from everwatch.api.permissions import Reach, Role

LONGEST_LINE = 8_000


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


@pytest.fixture
async def populated(tmp_path: Path) -> AsyncIterator[Api]:
    async with populated_api(tmp_path) as running:
        yield running


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


async def test_requests_made_at_random_of_the_document_are_answered_as_it_says(
    populated: Api, pytestconfig: pytest.Config
) -> None:
    server = populated
    # seconds of CPU time, which each process that collects tests would take
    import requests
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

    schemathesis.serializer.alias("application/x-ndjson", "text/plain")
    schemathesis.serializer.alias("*/*", "text/plain")
    document = (await server.call("GET", "/openapi.json", token=None)).json
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()  # by OpenAPI's own schema of 3.1 documents
    for each in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(each)
    schema.config.update(base_url=server.url)
    # what a schema cannot say may be refused (a schedule is one of every, cron and at), and what is no JSON taken
    excluded = [positive_data_acceptance, negative_data_rejection]
    tokens = [server.texts[Role.ADMIN], *tokens_of(server)]
    examples, loop = pytestconfig.getoption("--api-examples"), asyncio.get_running_loop()
    there = await names_of(server)

    def check(operation: Any, case: Any, token: str) -> None:
        # no notifier reads what it is asked for here
        headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=1"}
        # a longer line is refused by the server's library, as text
        assume(len(case.as_transport_kwargs()["url"]) + len(str(case.query)) * 3 < LONGEST_LINE)
        if operation.path != "/v1/live":
            case.call_and_validate(headers=headers, excluded_checks=excluded)
            return
        # it does not end: its beginning is looked at
        with requests.request(**case.as_transport_kwargs(headers=headers), stream=True, timeout=60) as begun:
            assert str(begun.status_code) in operation.definition.raw["responses"]

    def drawn(operation: Any, known: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, str]]:
        """Names of what is there or any, data that is right or wrong, and anybody's token."""
        wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        return st.tuples(st.one_of(known, operation.as_strategy(), wrong), st.sampled_from(tokens))

    def ask(operation: Any, strategy: st.SearchStrategy[tuple[Any, str]], most: int) -> None:
        @settings(
            max_examples=most,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(chosen=strategy)
        def look(chosen: tuple[Any, str]) -> None:
            check(operation, *chosen)

        # what the operations before have changed or deleted
        asyncio.run_coroutine_threadsafe(restore(server), loop).result()
        look()

    def failures() -> Iterator[str]:
        for result in schema.get_all_operations():
            operation = result.ok()
            names = {each: there[each] for each in re.findall(r"{(\w+)}", operation.path) if each in there}
            known = operation.as_strategy(path_parameters=names) if names else operation.as_strategy()
            try:
                ask(operation, st.tuples(known, st.just(tokens[0])), 1)
                if examples > 1:
                    ask(operation, drawn(operation, known), examples - 1)
            except Exception as error:
                yield f"{operation.label}: {str(error)[:1_500]}"

    found = await loop.run_in_executor(None, lambda: list(failures()))
    assert not found, "\n".join(found)


def tokens_of(server: Api) -> list[str]:
    """A token of each role of all users, of one, and of a label."""
    whole = [server.token(role) for role in (Role.VIEWER, Role.OPERATOR)]
    hers = [server.token(role, HERS) for role in Role]
    return [*whole, *hers, server.token(Role.OPERATOR, label="team")]


async def names_of(server: Api) -> dict[str, Any]:
    """Names of what is there, by the path's parameter."""
    key = (await server.call("GET", f"/v1/users/{HERS}/ping-key")).json["key"]

    async def first(path: str, name: str, token: str = "") -> str:
        return str((await server.call("GET", path, token=token)).json["items"][0][name])

    return {
        "user_id": HERS,
        "monitor_id": "m",
        "task_id": "s",
        "slug": "m",
        "key": key,
        "job_id": await first("/v1/jobs", "job_id"),
        "incident_id": await first("/v1/incidents", "incident_id"),
        "delivery_id": await first("/v1/deliveries", "delivery_id"),
        "silence_id": await first("/v1/silences", "silence_id"),
        "view_id": await first("/v1/views", "view_id", server.token(Role.VIEWER, HERS)),
    }


async def restore(server: Api) -> None:
    """Put the user again whom the operations are about."""
    monitors = [{"monitor_id": name, **MONITOR, "labels": {"team": "shop"}} for name in ("m", "n")]
    await server.call("PUT", f"/v1/users/{HERS}", body={"monitors": monitors})
