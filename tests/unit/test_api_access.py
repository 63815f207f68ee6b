"""Tests of who may do what with the API: every operation of the OpenAPI document with every kind of token.

All in one file: one table of who may do what, and what breaks it.
"""

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from support.api import OF_THE_CONSOLE, START, Api, api
from support.waiting import PATIENCE

from everwatch.api.access import Access
from everwatch.api.logins import Logins
from everwatch.api.permissions import SCOPES_OF, Principal, Role, Scope
from everwatch.api.pinging import PingKeys
from everwatch.api.responses import SECURITY_HEADERS
from everwatch.api.routing import Route
from everwatch.api.tokens import TokenLimits, Tokens, decoded, encoded, key_of, new_ping_secret, new_token
from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import AccessError, InvalidInput
from everwatch.kafka.consumed_record import Record

HERS, OTHERS = "ann", "bob"


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        for user in (HERS, OTHERS):
            body = {"monitors": [{"monitor_id": "m", "kind": "noop", "schedule": {"every": "1m"}}]}
            await running.call("PUT", f"/v1/users/{user}", body=body)
        yield running


class Operation(NamedTuple):
    """An operation of the document: what it says of who may use it."""

    method: str
    path: str
    scope: str | None
    reach: str
    signs_up: bool
    by_label: bool
    takes_token: bool

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


async def operations(server: Api) -> list[Operation]:
    document = (await server.call("GET", "/openapi.json", token=None)).json
    return [
        Operation(method.upper(), path, **said["x-everwatch-permission"], takes_token=bool(said["security"]))
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    ]


def url_of(route: Operation | Route, user: str) -> str:
    """The route's path with names of things that may not be there."""
    names = {"user_id": user, "monitor_id": "m", "task_id": "t", "command_id": "c", "token_id": "0" * 16}
    path = route.path.replace("{path:.*}", "monitors")
    for name in route.parameters:
        path = path.replace(f"{{{name}}}", names.get(name, "x"))
    return path


def may(role: Role, limited: bool, operation: Operation, user: str) -> bool:
    """Return what the permissions say in words of their own: a scope, and whose thing it is."""
    if operation.scope is None:
        return True
    if operation.scope not in SCOPES_OF[role]:
        return False
    if not limited:
        return True
    if operation.reach == "whole":
        return False
    return operation.reach != "user" or user == HERS


async def test_what_the_document_does_not_name_takes_no_token(server: Api) -> None:
    found = {each.name for each in await operations(server)}
    routes: list[Route] = server.server.routes  # type: ignore[attr-defined]
    unnamed = [route for route in routes if route.name not in found]
    assert unnamed, "pages for people, and logins"
    assert all(route.permission.is_open for route in unnamed)


async def test_every_operation_refuses_who_may_not_and_nobody_else(server: Api) -> None:
    routes = await operations(server)
    assert len(routes) > 90
    # nothing is open by mistake: without a token there are pings, hooks, badges, pages, logins and probes
    open_ones = {route.path.split("/")[1] for route in routes if not route.takes_token}
    assert open_ones == {"ping", "hooks", "badge", "status", "login", "healthz", "readyz", "metrics", "openapi.json"}
    looked_at = 0
    for route in routes:
        for user in (HERS, OTHERS):
            if user == OTHERS and "user_id" not in route.parameters:
                continue
            url = url_of(route, user)
            if route.takes_token:
                for token in (None, "ew_a_nonsense"):
                    nobody = await server.call(route.method, url, token=token)
                    assert (nobody.status, nobody.code) == (401, "unauthorized"), route.name
                    assert nobody.headers["WWW-Authenticate"].startswith("Bearer")
            for role in Role:
                for limited in (False, True):
                    token = server.token(role, HERS if limited else "")
                    cookie = server.session_of(role, HERS if limited else "")
                    allowed = may(role, limited, route, user)
                    for answered in (
                        await server.call(route.method, url, token=token, **OF_THE_CONSOLE),
                        await server.call(route.method, url, token=None, Cookie=cookie, **OF_THE_CONSOLE),
                    ):
                        assert (answered.status not in (401, 403)) == allowed, (route.name, user, role, limited)
                        assert answered.status != 500, route.name
                        looked_at += 1
    assert looked_at > 400


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_every_route_takes_a_jwt_for_what_is_the_users_and_refuses_a_false_one(
    role: Role, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, false = (ECKey.generate_key("P-256", {"kid": "one"}) for _ in range(2))
    file = tmp_path / "jwks.json"
    file.write_bytes(orjson.dumps({"keys": [key.as_dict(private=False)]}))
    given = {"JWKS_FILE": str(file), "JWT_ISSUER": "shop", "JWT_AUDIENCE": "everwatch", "JWT_ROLE": role.value}
    for name, value in given.items():
        monkeypatch.setenv(f"EVERWATCH_API_{name}", value)
    claims = {"iss": "shop", "aud": "everwatch", "sub": HERS, "exp": START // 1000 + 600}
    hers, forged = (jwt.encode({"alg": "ES256", "kid": "one"}, claims, each) for each in (key, false))
    async with api(console=tmp_path) as server:
        for user in (HERS, OTHERS):
            body = {"monitors": [{"monitor_id": "m", "kind": "noop", "schedule": {"every": "1m"}}]}
            await server.call("PUT", f"/v1/users/{user}", body=body)
        for route in [each for each in await operations(server) if each.takes_token]:
            for user in (HERS, OTHERS) if "user_id" in route.parameters else (HERS,):
                url = url_of(route, user)
                assert (await server.call(route.method, url, token=forged)).status == 401, route.name
                allowed = may(role, True, route, user) and not route.signs_up
                answered = await server.call(route.method, url, token=hers)
                assert (answered.status not in (401, 403)) == allowed, (route.name, user)
                assert answered.status != 500, route.name


async def test_a_token_of_a_label_sees_and_runs_monitors_with_it_and_is_refused_all_else(server: Api) -> None:
    await server.call("PATCH", "/v1/users/ann/monitors/m", body={"labels": {"team": "shop"}}, If_Match="*")
    tokens = [server.token(Role.ADMIN, user, label=label) for user, label in (("", "team=shop"), ("", "team"))]
    tokens += [server.token(Role.ADMIN, HERS, label="team=shop")]
    looked_at = set()
    for route in [each for each in await operations(server) if each.takes_token]:
        for token in tokens:
            answered = await server.call(route.method, url_of(route, HERS), token=token)
            assert (answered.status != 403) == (route.by_label or route.reach == "self"), route.name
            if not route.by_label:
                continue
            looked_at.add(route.name)
            if "monitor_id" in route.parameters:
                # another one is as one that does not exist
                other = await server.call(route.method, url_of(route, OTHERS), token=token)
                assert other.status == (404 if token != tokens[2] else 403), route.name
                assert answered.status != 404, route.name
    assert len(looked_at) >= 15
    for token in tokens:
        page = (await server.call("GET", "/v1/monitors?total=true", token=token)).json
        assert ([each["user_id"] for each in page["items"]], page["total"]) == ([HERS], 1)
        assert (await server.call("GET", "/v1/monitors/facets", token=token)).json["kinds"] == {"noop": 1}
        [timeline] = (await server.call("GET", "/v1/timelines", token=token)).json["items"]
        assert timeline["user_id"] == HERS
    cookie = server.session_of(Role.OPERATOR, label="team=none")
    assert (await server.call("GET", "/v1/monitors", token=None, Cookie=cookie)).json["items"] == []
    assert (await server.call("GET", "/v1/users", token=None, Cookie=cookie)).status == 403
    body = {"name": "team", "role": "viewer", "label": "team=shop"}
    made = (await server.call("POST", "/v1/tokens", body=body)).json
    assert (made["stored"]["label"], made["stored"]["user_id"]) == ("team=shop", "")
    assert (await server.call("GET", "/v1/users/bob/monitors/m", token=made["token"])).status == 404
    for wrong in ({"label": "=x"}, {"label": ""}, {"label": "team", "secrets": True}):
        assert (await server.call("POST", "/v1/tokens", body=body | wrong)).status == 422


def test_a_token_of_a_label_is_no_administrator_and_unknown_to_older_processes() -> None:
    tokens = Tokens(load_settings())
    tokens.put(new_token("a", Role.ADMIN, START, limits=TokenLimits(label="team=shop")).record)
    assert not tokens.has_admin(START)
    value = orjson.loads(encoded(new_token("a", Role.VIEWER, START, limits=TokenLimits(label="team")).record))
    # they know of "token", and would take it for one without a limit
    assert (value["type"], value["label"]) == ("label_token", "team")


async def test_a_token_is_rotated_without_a_gap(server: Api) -> None:
    body = {"name": "ci", "role": "viewer", "user_id": HERS}
    first, second = [(await server.call("POST", "/v1/tokens", body=body)).json for _ in range(2)]

    async def works(made: dict[str, str]) -> bool:
        return (await server.call("GET", "/v1/users/ann", token=made["token"])).status == 200

    assert (await works(first), await works(second)) == (True, True)
    assert (await server.call("DELETE", f"/v1/tokens/{first['stored']['token_id']}")).status == 204
    assert (await works(first), await works(second)) == (False, True)


async def test_no_page_of_another_origin_writes_with_the_cookie_of_a_session(server: Api) -> None:
    host = server.url.removeprefix("http://")
    cookie = server.session_of(Role.ADMIN)
    elsewhere: list[dict[str, str]] = [
        {},
        {"Sec_Fetch_Site": "same-origin"},
        {"X_Everwatch_Console": "1"},
        {"X_Everwatch_Console": "1", "Sec_Fetch_Site": "same-site", "Origin": f"http://{host}"},
        {"X_Everwatch_Console": "1", "Sec_Fetch_Site": "cross-site"},
        {"X_Everwatch_Console": "1", "Origin": "http://evil.example"},
        {"X_Everwatch_Console": "1", "Origin": "null"},
    ]
    routes: list[Route] = server.server.routes  # type: ignore[attr-defined]
    writes = [r for r in routes if r.method != "GET" and (r.same_origin or not r.permission.is_open)]
    assert len(writes) > 15
    for route in writes:
        for headers in elsewhere:
            refused = await server.call(route.method, url_of(route, HERS), token=None, Cookie=cookie, **headers)
            assert (refused.status, refused.code) == (403, "cross_site"), (route.name, headers)
    assert not server.worker.inputs[2:], "nothing was sent but the signups of the fixture"
    # browsers leave Sec-Fetch-Site out over HTTP
    mine = {"X_Everwatch_Console": "1", "Origin": f"http://{host}"}
    assert (await server.call("PUT", "/v1/users/eve", body={}, token=None, Cookie=cookie, **mine)).status == 201


async def test_a_session_is_no_token_and_a_token_no_session(server: Api) -> None:
    name, _, text = server.session_of(Role.ADMIN).partition("=")
    assert (await server.call("GET", "/v1/users", token=text)).status == 401
    stolen = await server.call("GET", "/v1/users", token=None, Cookie=f"{name}={server.token(Role.ADMIN)}")
    assert stolen.status == 401
    assert (await server.call("GET", "/v1/users", token=None, Cookie=f"{name}=\xff;;=")).status == 401


async def test_what_is_refused_does_not_tell_whether_it_exists(server: Api) -> None:
    hers = server.token(Role.ADMIN, HERS)
    there, not_there = [
        await server.call("GET", f"/v1/users/{user}/monitors/m", token=hers) for user in (OTHERS, "nobody")
    ]
    texts = [each.json | {"request_id": ""} for each in (there, not_there)]
    assert texts[0] == texts[1]


async def test_lines_of_a_batch_and_signals_of_another_user_are_refused(server: Api) -> None:
    hers = server.token(Role.OPERATOR, HERS)
    line = b'{"command":"pause","user_id":"bob","monitor_id":"m"}'
    batch = await server.call("POST", "/v1/batch", body=line, token=hers)
    assert b'"status":403' in batch.data
    signal = {"signals": [{"user_id": "ann", "monitor_id": "m"}, {"user_id": "bob", "monitor_id": "m"}]}
    assert (await server.call("POST", "/v1/signals", body=signal, token=hers)).code == "forbidden"


def test_a_record_of_access_is_taken_under_its_own_key_only() -> None:
    tokens, keys = Tokens(load_settings()), PingKeys()
    access = Access(tokens, Logins(), keys, SettableClock(START))
    made, other = new_token("a", Role.VIEWER, START), new_token("b", Role.VIEWER, START)
    access.take([Record("access", 0, 0, START, key_of(made.record), encoded(made.record))])
    # a tombstone of its own key would never take it away
    access.take([Record("access", 0, 1, START, b"x", encoded(other.record))])
    assert tokens.principal(other.text, START) is None
    access.take([Record("access", 0, 3, START, key_of(made.record), None)])
    assert tokens.principal(made.text, START) is None


async def test_a_ping_key_ends_with_the_secret_that_it_was_made_with(server: Api) -> None:
    secret = new_ping_secret(START - 1)
    server.ping_keys.put(secret)
    key = (await server.call("GET", "/v1/users/ann/ping-key")).json["key"]
    assert (await server.call("GET", f"/ping/{key}/m", token=None)).status == 200
    server.ping_keys.forget(secret.secret_id)
    assert (await server.call("GET", f"/ping/{key}/m", token=None)).status == 404


async def test_what_kafka_refuses_this_process_is_in_its_log_and_not_in_the_answer(
    server: Api, caplog: pytest.LogCaptureFixture
) -> None:
    server.worker.failure = AccessError("no right to write topic inner-name")
    refused = await server.call("PUT", "/v1/users/ann", body={})
    assert (refused.status, refused.code) == (503, "kafka_unavailable")
    assert "inner-name" not in refused.data.decode()
    assert "inner-name" in caplog.text


async def test_a_token_is_shown_once_used_listed_and_revoked(server: Api) -> None:
    made = await server.call("POST", "/v1/tokens", body={"name": "grafana", "role": "viewer"})
    token, stored = made.json["token"], made.json["stored"]
    assert token.startswith("ew_r_")
    assert (await server.call("GET", "/v1/users", token=token)).status == 200
    listed = await server.call("GET", "/v1/tokens")
    assert stored in listed.json["items"]
    assert token not in listed.data.decode()
    assert (await server.call("DELETE", made.headers["Location"])).status == 204
    assert (await server.call("GET", "/v1/users", token=token)).status == 401


async def test_a_token_that_is_no_text_is_unknown(server: Api) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    writer.close()


async def test_a_token_expires(server: Api) -> None:
    token = server.token(Role.VIEWER, expires_at=START + 1_000)
    assert (await server.call("GET", "/v1/users", token=token)).status == 200
    server.clock.advance(1_000)
    assert (await server.call("GET", "/v1/users", token=token)).status == 401
    past = await server.call("POST", "/v1/tokens", body={"name": "x", "role": "viewer", "expires_at": START})
    assert past.status == 422


async def test_secrets_are_shown_only_to_who_may_see_them(server: Api) -> None:
    config = {"url": "https://example.com", "bearer": "hush"}
    await server.call("PUT", "/v1/users/ann/monitors/s", body={"kind": "http", "config": config})
    shown = await server.call("GET", "/v1/users/ann/monitors/s")
    assert shown.json["spec"]["config"]["bearer"] == {"$redacted": True}
    token = server.token(Role.VIEWER, with_secrets=True)
    assert (await server.call("GET", "/v1/users/ann/monitors/s", token=token)).json["spec"]["config"][
        "bearer"
    ] == "hush"


def test_what_is_stored_of_a_token_does_not_give_it_away() -> None:
    made = new_token("ci", Role.OPERATOR, START, limits=TokenLimits("ann"))
    stored = encoded(made.record)
    assert made.text.encode() not in stored
    assert decoded(stored) == made.record
    for wrong in (b"", b"{", stored.replace(made.record.sha256.encode(), b"0" * 64), b'{"type":"token"}'):
        with pytest.raises(InvalidInput):
            decoded(wrong)


async def test_roles_are_listed_with_their_scopes(server: Api) -> None:
    listed = (await server.call("GET", "/v1/roles")).json["items"]
    assert [each["role"] for each in listed] == ["viewer", "operator", "admin"]
    assert {each["role"]: set(each["scopes"]) for each in listed} == {
        role.value: {scope.value for scope in scopes} for role, scopes in SCOPES_OF.items()
    }


def test_a_scope_of_its_own_shows_secrets_and_no_role_has_it() -> None:
    assert all(Scope.SECRETS not in scopes for scopes in SCOPES_OF.values())
    assert not Principal("t", SCOPES_OF[Role.ADMIN]).has(Scope.SECRETS)


async def test_every_answer_has_security_headers_and_a_request_id(server: Api) -> None:
    asked = (("GET", "/v1/users", 200), ("GET", "/v1/live", 200), ("GET", "/healthz", 200), ("GET", "/nowhere", 404))
    for method, path, status in (*asked, ("GET", "/v1/tokens/x", 405), ("PUT", "/v1/users/eve", 422)):
        body = {"plan": 1} if method == "PUT" else None
        answered = await server.call(method, path, body=body, X_Request_Id="mine-1")
        assert answered.status == status
        assert answered.headers["X-Request-Id"] == "mine-1"
        # what was read may be kept, by whom it was for alone, and is asked for again
        is_kept = path == "/v1/users"
        expected = SECURITY_HEADERS | ({"Cache-Control": "private, no-cache"} if is_kept else {})
        assert {name: answered.headers.get(name) for name in expected} == expected, path
    strange = await server.call("GET", "/healthz", X_Request_Id='"><script>')
    assert strange.headers["X-Request-Id"].isalnum()
    assert (await server.call("GET", "/v1/tokens/x")).headers["Allow"] == "DELETE"


async def test_no_page_of_another_origin_reads_an_answer_unless_that_is_configured(server: Api) -> None:
    elsewhere = {"Origin": "https://evil.example", "Access_Control_Request_Method": "PUT"}
    asked = (("GET", "/v1/users"), ("GET", "/v1/live"), ("GET", "/nowhere"), ("PUT", "/v1/users/eve"))
    for method, path in (*asked, ("OPTIONS", "/v1/users/ann")):
        answered = await server.call(method, path, **elsewhere)
        assert not [name for name in answered.headers if name.lower().startswith("access-control-")], path
        assert answered.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answered.status == 405, "a preflight is answered as any other method that a path does not take"


async def test_pages_of_other_origins_may_use_it_only_if_that_is_configured() -> None:
    async with api(origins=frozenset({"https://app.example"})) as running:
        preflight = await running.call(
            "OPTIONS", "/v1/users/ann", token=None, Origin="https://app.example", Access_Control_Request_Method="PUT"
        )
        assert preflight.status == 204
        assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
        allowed = await running.call("GET", "/v1/users", Origin="https://app.example")
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example"
        for method in ("GET", "OPTIONS"):
            other = await running.call(
                method, "/v1/users/ann", Origin="https://evil.example", Access_Control_Request_Method="PUT"
            )
            assert not [name for name in other.headers if name.lower().startswith("access-control-")]


async def test_a_client_that_sends_its_request_too_slowly_is_cut_off() -> None:
    async with api(first_request_s=0) as running:
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"GET /healthz HTT")
            running.clock.advance(1)
            slow.setblocking(False)
            async with asyncio.timeout(20 * PATIENCE):
                assert await asyncio.get_running_loop().sock_recv(slow, 100) == b""


async def test_a_bug_of_ours_is_a_problem_document_and_no_request_is_logged(
    server: Api, caplog: pytest.LogCaptureFixture
) -> None:
    server.failure = RuntimeError("a bug")
    with caplog.at_level(logging.DEBUG):
        failed = await server.call("GET", "/v1/users", X_Request_Id="find-me")
    assert (failed.status, failed.code) == (500, "unhandled")
    assert "find-me" in caplog.text
    assert server.texts[Role.ADMIN] not in caplog.text


async def test_no_key_jwt_password_or_secret_of_a_config_is_in_any_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = ECKey.generate_key("P-256", {"kid": "one"})
    file = tmp_path / "jwks.json"
    file.write_bytes(orjson.dumps({"keys": [key.as_dict(private=False)]}))
    for name, value in {"JWKS_FILE": str(file), "JWT_ISSUER": "shop", "JWT_AUDIENCE": "everwatch"}.items():
        monkeypatch.setenv(f"EVERWATCH_API_{name}", value)
    claims = {"iss": "shop", "aud": "everwatch", "sub": HERS, "exp": START // 1000 + 600}
    hers = jwt.encode({"alg": "ES256", "kid": "one"}, claims, key)
    old = jwt.encode({"alg": "ES256", "kid": "one"}, claims | {"exp": 1}, key)
    config = {"url": "https://example.com", "bearer": "the-s3cret-of-a-config"}
    monitor = {"kind": "http", "config": config, "schedule": {"every": "1m"}}
    caplog.set_level(logging.DEBUG)
    async with api(console=tmp_path) as server:
        keys = [server.ping_keys.key_of(HERS), (await server.call("GET", "/v1/users/ann/hook")).json["path"][7:]]
        told = [*keys, hers, old, config["bearer"], "a-passw0rd-of-ann", *server.texts.values()]

        async def all_of_it() -> None:
            for slug in ("m", "m/start", "m/what", "none\x00"):
                await server.call("POST", f"/ping/{keys[0]}/{slug}", token=None, body=b"x")
            await server.call("GET", f"/ping/{keys[0]}x/m", token=None)
            for body in ({"alerts": 1}, {"signals": [{"monitor_id": "m"}]}):
                await server.call("POST", f"/hooks/{keys[1]}", token=None, body=body)
            # longer than a line of a request may be
            too_long = await server.call("GET", f"/ping/{keys[0]}/m?rid={'x' * 9_000}", token=None)
            assert too_long.status == 400
            for token in (hers, old):
                await server.call("GET", "/v1/users/ann", token=token)
            await server.call("PUT", "/v1/users/ann/monitors/m", body=monitor)
            await server.call("PUT", "/v1/users/ann/monitors/m", body={**monitor, "schedule": {"every": "1ms"}})
            await server.call("POST", "/v1/monitors/validate", body=monitor)
            login = {"name": "ann", "password": told[5]}
            await server.call("POST", "/login/password", body=login, token=None, **OF_THE_CONSOLE)
            await server.call("PUT", "/v1/operators/ann", body={"password": told[5]})

        await all_of_it()
        # and where something fails that nobody thought of
        server.worker.failure = AccessError("no right")
        await all_of_it()
        server.worker.send = server.worker.ask = lambda *_: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        await all_of_it()
    assert "no right" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "LineTooLong" in caplog.text
    for secret in told:
        assert secret not in caplog.text


async def test_a_key_that_was_checked_before_ends_with_its_secret_too(server: Api) -> None:
    first, second = new_ping_secret(START - 2), new_ping_secret(START - 1)
    server.ping_keys.put(first)
    key = server.ping_keys.key_of("ann")
    for _ in range(2):
        assert server.ping_keys.user_of(key) == "ann"
    assert server.ping_keys.hook_of(key) is None, "of one use it is known, of another it is none"
    server.ping_keys.put(second)
    assert server.ping_keys.user_of(key) == "ann"
    server.ping_keys.forget(first.secret_id)
    assert server.ping_keys.user_of(key) is None
