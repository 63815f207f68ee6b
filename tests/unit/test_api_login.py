"""Logging in to the console and out again: links that work once, sessions that end, and who one is."""

import asyncio
import logging
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie

import pytest
from support.api import OF_THE_CONSOLE, START, Answered, Api, api

from everwatch.api.access import Access
from everwatch.api.client_address import TrustedProxies
from everwatch.api.cookies import cookie_name, session_cookie
from everwatch.api.logins import LINK_VALID_MS, Logins, NewLogin, new_login
from everwatch.api.permissions import Role
from everwatch.api.pinging import PingKeys
from everwatch.api.sessions import SESSION_MS
from everwatch.api.tokens import Tokens, decoded, encoded, key_of
from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import InvalidInput
from everwatch.kafka.consumed_record import Record

USED_UP = "/console/login?error=link"


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


def link(server: Api, role: Role = Role.ADMIN, user_id: str = "") -> NewLogin:
    made = new_login(role, server.clock.now_ms(), user_id=user_id)
    server.logins.put(made.record)
    return made


def cookie_of(answered: Answered) -> str:
    """Return what a browser sends back."""
    [(name, morsel)] = SimpleCookie(answered.headers["Set-Cookie"]).items()
    return f"{name}={morsel.value}"


async def test_a_link_logs_a_browser_in_once(server: Api) -> None:
    made = link(server)
    path = made.link(server.url).removeprefix(server.url)
    entered = await server.call("GET", path, token=None)
    assert (entered.status, entered.headers["Location"]) == (303, "/console/")
    cookie = entered.headers["Set-Cookie"]
    assert "; HttpOnly; SameSite=Strict" in cookie
    assert "; Path=/;" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie, "it came by HTTP"
    assert entered.headers["Cache-Control"] == "no-store"
    me = await server.call("GET", "/v1/me", token=None, Cookie=cookie_of(entered))
    assert me.json["role"] == "admin"
    assert me.json["session"] is True
    assert "secrets" not in me.json["scopes"]
    assert "POST /v1/tokens" in me.json["routes"]
    again = await server.call("GET", path, token=None)
    assert (again.status, again.headers["Location"], "Set-Cookie" in again.headers) == (303, USED_UP, False)


async def test_of_two_who_use_a_link_at_once_one_gets_in(server: Api) -> None:
    path = f"/login?code={link(server).code}"
    both = await asyncio.gather(*(server.call("GET", path, token=None) for _ in range(8)))
    assert sorted(each.headers["Location"] for each in both) == ["/console/"] + [USED_UP] * 7


def test_the_first_claim_of_the_topic_wins_in_every_process_and_after_a_restart() -> None:
    made = new_login(Role.ADMIN, START)
    claims = [decoded(encoded(made.record).replace(b'"claim":""', b'"claim":"%b"' % name)) for name in (b"aa", b"bb")]
    records = [
        Record("access", 0, offset, START, key_of(each), encoded(each))
        for offset, each in enumerate([made.record, *claims])
    ]
    # the second has read nothing yet, the third starts when the topic was compacted
    for seen in (records, records, records[1:]):
        logins = Logins()
        Access(Tokens(load_settings()), logins, PingKeys(), SettableClock(START)).take(seen)
        assert logins.claim_of(made.record.login_id) == "aa"
        assert logins.find(made.code, START) is None


async def test_a_link_is_valid_for_ten_minutes_and_only_as_it_was_made(server: Api) -> None:
    code = link(server).code
    for wrong in ("", "x", code[:-1], code + "A", "%C3%A9", "a" * 250):
        assert (await server.call("GET", f"/login?code={wrong}", token=None)).headers["Location"] == USED_UP
    # what looks before it opens the link
    assert (await server.call("HEAD", f"/login?code={code}", token=None)).status == 405
    server.clock.advance(LINK_VALID_MS)
    assert (await server.call("GET", f"/login?code={code}", token=None)).headers["Location"] == USED_UP


async def test_a_link_may_be_for_less_than_everything(server: Api) -> None:
    entered = await server.call("GET", f"/login?code={link(server, Role.VIEWER, 'ann').code}", token=None)
    cookie = cookie_of(entered)
    me = (await server.call("GET", "/v1/me", token=None, Cookie=cookie)).json
    assert (me["role"], me["user_id"]) == ("viewer", "ann")
    assert "GET /v1/monitors" in me["routes"]
    assert not {"POST /v1/tokens", "GET /v1/lag", "DELETE /v1/users/{user_id}"} & set(me["routes"])
    assert (await server.call("GET", "/v1/users/bob", token=None, Cookie=cookie)).status == 403
    assert (await server.call("DELETE", "/v1/users/ann", token=None, Cookie=cookie, **OF_THE_CONSOLE)).status == 403


async def login(server: Api, token: str, **headers: str) -> Answered:
    return await server.call("POST", "/login", body={"token": token}, token=None, **OF_THE_CONSOLE, **headers)


async def test_a_token_logs_in_and_its_revocation_ends_the_session(server: Api) -> None:
    token = server.token(Role.OPERATOR)
    entered = await login(server, f" {token}\n")
    assert (entered.status, entered.data) == (204, b"")
    cookie = cookie_of(entered)
    assert token not in cookie
    me = (await server.call("GET", "/v1/me", token=None, Cookie=cookie)).json
    assert (me["role"], me["name"], me["expires_at"]) == ("operator", "test", START + SESSION_MS)
    put = await server.call("PUT", "/v1/users/ann", body={}, token=None, Cookie=cookie, **OF_THE_CONSOLE)
    assert put.status == 201
    token_id = (await server.call("GET", "/v1/me", token=token)).json["token_id"]
    assert (await server.call("DELETE", f"/v1/tokens/{token_id}")).status == 204
    over = await server.call("GET", "/v1/me", token=None, Cookie=cookie)
    assert (over.status, over.code) == (401, "unauthorized")


async def test_a_wrong_token_and_the_text_of_a_session_do_not_log_in(server: Api) -> None:
    session = server.session_of(Role.ADMIN).partition("=")[2]
    for wrong in ("ew_a_nonsense", session):
        refused = await login(server, wrong)
        assert (refused.status, refused.code) == (401, "unauthorized")
        assert "Set-Cookie" not in refused.headers
    assert (await server.call("POST", "/login", body={"token": session}, token=None)).code == "cross_site"


async def test_logging_out_ends_the_session_everywhere(server: Api) -> None:
    cookie = cookie_of(await login(server, server.token(Role.ADMIN)))
    assert (await server.call("POST", "/logout", token=None, Cookie=cookie)).code == "cross_site"
    out = await server.call("POST", "/logout", token=None, Cookie=cookie, **OF_THE_CONSOLE)
    assert out.status == 204
    assert "Max-Age=0" in out.headers["Set-Cookie"]
    assert (await server.call("GET", "/v1/me", token=None, Cookie=cookie)).status == 401
    # a token stays
    assert (await server.call("POST", "/logout")).status == 204
    assert (await server.call("GET", "/v1/me")).json["name"] == "test"


async def test_a_session_ends_by_itself_and_not_later_than_its_token(server: Api) -> None:
    long = cookie_of(await login(server, server.token(Role.VIEWER)))
    short = cookie_of(await login(server, server.token(Role.VIEWER, expires_at=START + 60_000)))
    server.clock.advance(60_000)
    assert (await server.call("GET", "/v1/me", token=None, Cookie=short)).status == 401
    assert (await server.call("GET", "/v1/me", token=None, Cookie=long)).status == 200
    server.clock.advance(SESSION_MS)
    assert (await server.call("GET", "/v1/me", token=None, Cookie=long)).status == 401


async def test_sessions_are_listed_and_revoked_as_tokens_are_and_what_is_over_is_tidied_away(server: Api) -> None:
    await login(server, server.token(Role.VIEWER))
    # what is made at one instant has no order
    server.clock.advance(1)
    cookie = cookie_of(await server.call("GET", f"/login?code={link(server).code}", token=None))
    sessions = [each for each in (await server.call("GET", "/v1/tokens")).json["items"] if each["session"]]
    assert [each["role"] for each in sessions] == ["viewer", "admin"]
    assert (await server.call("DELETE", f"/v1/tokens/{sessions[1]['token_id']}")).status == 204
    assert (await server.call("GET", "/v1/me", token=None, Cookie=cookie)).status == 401
    server.clock.advance(2 * SESSION_MS)
    await login(server, server.token(Role.VIEWER))
    assert sum(each.session for each in server.tokens.records()) == 1
    assert not server.logins.records()


def test_a_session_of_an_administrator_does_not_stand_for_a_token_that_is_missing() -> None:
    running = Api()
    running.url = "http://x:1"
    running.tokens = Tokens(load_settings())
    running.session_of(Role.ADMIN)
    [token] = [each for each in running.tokens.records() if not each.session]
    running.tokens.revoke(token.token_id)
    assert not running.tokens.has_admin(START)


def test_the_cookie_is_for_one_port_by_http_and_for_one_host_by_https() -> None:
    plain, proxied = {"Host": "127.0.0.1:8470"}, {"Host": "watch.example", "X-Forwarded-Proto": "https"}
    assert cookie_name(plain) == "everwatch_8470"
    assert cookie_name({"Host": "[::1]:99"}) == "everwatch_99"
    assert cookie_name({"Host": "[::1]"}) == cookie_name({}) == "everwatch_80"
    assert session_cookie(proxied, "x", 9) == (
        "__Host-everwatch=x; Max-Age=9; Path=/; HttpOnly; SameSite=Strict; Secure"
    )


async def test_behind_https_the_session_goes_with_https_alone(server: Api) -> None:
    entered = await login(server, server.token(Role.ADMIN), X_Forwarded_Proto="https")
    assert entered.headers["Set-Cookie"].endswith("; Secure")
    cookie = cookie_of(entered)
    https = await server.call("GET", "/v1/me", token=None, Cookie=cookie, X_Forwarded_Proto="https")
    assert https.status == 200
    assert (await server.call("GET", "/v1/me", token=None, Cookie=cookie)).status == 401


async def test_a_client_that_says_https_itself_gets_the_cookie_of_http() -> None:
    async with api(proxies=TrustedProxies()) as server:
        entered = await login(server, server.token(Role.ADMIN), X_Forwarded_Proto="https")
        assert "Secure" not in entered.headers["Set-Cookie"]
        assert "__Host-" not in entered.headers["Set-Cookie"]


def test_what_is_stored_of_a_link_does_not_open_it() -> None:
    made = new_login(Role.ADMIN, START)
    stored = encoded(made.record)
    assert made.code.encode() not in stored
    assert decoded(stored) == made.record
    with pytest.raises(InvalidInput):
        decoded(stored.replace(made.record.sha256.encode(), b"0" * 64))


async def test_no_code_and_no_cookie_is_logged(server: Api, caplog: pytest.LogCaptureFixture) -> None:
    code = link(server).code
    with caplog.at_level(logging.DEBUG):
        cookie = cookie_of(await server.call("GET", f"/login?code={code}", token=None))
        await server.call("GET", "/v1/me", token=None, Cookie=cookie)
    assert code not in caplog.text
    assert cookie.partition("=")[2] not in caplog.text
