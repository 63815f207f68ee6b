"""Logging in with a name and a password: who gets in, what is refused without telling why, and what ends a session."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.api import OF_THE_CONSOLE, START, Answered, Api, api

from everwatch.api.login_audit import REFUSALS_PER_MIN
from everwatch.api.operators import OperatorRecord, new_operator
from everwatch.api.password_routes import ATTEMPTS_OF_ADDRESS_PER_MIN, ATTEMPTS_PER_MIN
from everwatch.api.passwords import hash_of, is_password, objection_to
from everwatch.api.permissions import Role
from everwatch.api.tokens import decoded, encoded, key_of

PASSWORD = "correct horse battery"
HASH = hash_of(PASSWORD)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(console=tmp_path) as running:
        await put(running, operator())
        yield running


def operator(name: str = "ann", role: Role = Role.OPERATOR) -> OperatorRecord:
    return new_operator(name, role, HASH, START)


async def put(server: Api, record: OperatorRecord) -> None:
    await server.records.send("access", key_of(record), encoded(record))


async def log_in(server: Api, name: str = "ann", password: str = PASSWORD, **headers: str) -> Answered:
    body = {"name": name, "password": password}
    return await server.call("POST", "/login/password", body=body, token=None, **(OF_THE_CONSOLE | headers))


async def is_in(server: Api, entered: Answered) -> bool:
    cookie = entered.headers["Set-Cookie"].partition(";")[0]
    return (await server.call("GET", "/v1/me", token=None, Cookie=cookie)).status == 200


async def test_an_operator_logs_in_with_their_role_and_the_cookie_of_a_session(server: Api) -> None:
    assert (await server.call("GET", "/login/options", token=None)).json["password"] is True
    entered = await log_in(server, " Ann ")
    assert (entered.status, entered.data) == (204, b"")
    assert "; HttpOnly; SameSite=Strict" in entered.headers["Set-Cookie"]
    cookie = entered.headers["Set-Cookie"].partition(";")[0]
    me = (await server.call("GET", "/v1/me", token=None, Cookie=cookie)).json
    assert (me["name"], me["role"], me["session"]) == ("ann", "operator", True)
    assert (await server.call("GET", "/v1/tokens", token=None, Cookie=cookie)).status == 403
    behind_tls = await log_in(server, X_Forwarded_Proto="https")
    assert behind_tls.headers["Set-Cookie"].startswith("__Host-everwatch=")
    assert "Secure" in behind_tls.headers["Set-Cookie"]


async def test_a_wrong_password_and_a_name_of_nobody_get_the_same_answer(server: Api) -> None:
    wrong = [
        await log_in(server, password="wrong horse battery"),
        await log_in(server, "eve"),
        await log_in(server, "a/b\x00"),
        await log_in(server, password="\ud800".encode("utf-16", "surrogatepass").hex()),
    ]
    said = {(each.status, each.code, each.json["detail"]) for each in wrong}
    assert said == {(401, "unauthorized", "The name or the password is wrong.")}
    assert not any("Set-Cookie" in each.headers for each in wrong)


def is_wrong(*_: str) -> bool:
    """Find every password wrong, and take no time for it."""
    return False


async def test_a_name_of_nobody_costs_a_hash_too(server: Api) -> None:
    compared: list[str] = []

    def counting(password: str, stored: str) -> bool:
        compared.append(stored.rpartition("$")[0].rpartition("$")[0])
        return is_password(password, stored)

    server.is_password = counting
    await log_in(server, password="wrong horse battery")
    await log_in(server, "nobody")
    assert compared == ["$argon2id$v=19$m=19456,t=2,p=1"] * 2


async def test_attempts_are_limited_for_each_name_whether_or_not_it_is_somebody(
    server: Api,
) -> None:
    server.is_password = is_wrong
    for name in ("ann", "nobody"):
        statuses = [(await log_in(server, name, "wrong")).status for _ in range(ATTEMPTS_PER_MIN + 2)]
        assert statuses == [401] * ATTEMPTS_PER_MIN + [429] * 2
    refused = await log_in(server)
    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (429, "rate_limited", "6")
    # others are not kept out, and a token is no attempt
    assert (await log_in(server, "bob")).status == 401
    assert (await server.call("POST", "/login", body={"token": server.texts[Role.ADMIN]}, token=None,
                              **OF_THE_CONSOLE)).status == 204  # fmt: skip
    server.clock.advance(6_000)
    server.is_password = is_password
    assert (await log_in(server)).status == 204


async def test_attempts_are_limited_for_each_address(server: Api) -> None:
    server.is_password = is_wrong
    statuses = [(await log_in(server, f"n{i}", "wrong")).status for i in range(ATTEMPTS_OF_ADDRESS_PER_MIN + 1)]
    assert statuses[-2:] == [401, 429]


async def test_another_password_another_role_and_removal_end_the_sessions(server: Api) -> None:
    first = await log_in(server)
    await put(server, operator(role=Role.VIEWER))
    assert not await is_in(server, first)
    second = await log_in(server)
    assert await is_in(server, second)
    await server.records.send("access", b"operator/ann", None)
    assert not await is_in(server, second)
    assert (await log_in(server)).status == 401
    assert (await server.call("GET", "/login/options", token=None)).json["password"] is False


async def test_logging_out_ends_the_session(server: Api) -> None:
    entered = await log_in(server)
    cookie = entered.headers["Set-Cookie"].partition(";")[0]
    out = await server.call("POST", "/logout", token=None, Cookie=cookie, **OF_THE_CONSOLE)
    assert (out.status, "Max-Age=0" in out.headers["Set-Cookie"]) == (204, True)
    assert not await is_in(server, entered)


async def test_no_page_of_another_origin_logs_anybody_in(server: Api) -> None:
    refused = await log_in(server, Sec_Fetch_Site="cross-site")
    assert (refused.status, refused.code) == (403, "cross_site")


async def test_logins_refused_logins_and_logouts_are_in_the_audit_log(server: Api) -> None:
    entered = await log_in(server)
    await log_in(server, password="wrong horse battery")
    await log_in(server, "pass-word-typed-here")
    await server.call("POST", "/login", body={"token": "ew_a_nonsense"}, token=None, **OF_THE_CONSOLE)
    await server.call("GET", "/login?code=nonsense", token=None)
    cookie = entered.headers["Set-Cookie"].partition(";")[0]
    await server.call("POST", "/logout", token=None, Cookie=cookie, **OF_THE_CONSOLE)
    told = [(e.command, e.token_name, e.role, e.status, e.outcome) for e in server.audit.entries]
    assert told == [
        ("login", "ann", "operator", 204, "done"),
        ("login", "ann", "", 401, "wrong_password"),
        ("login", "", "", 401, "wrong_password"),
        ("login", "", "", 401, "unknown_token"),
        ("login", "", "", 303, "link_not_valid"),
        ("logout", "ann", "operator", 204, "done"),
    ]
    assert server.audit.entries[0].token_id == server.audit.entries[-1].token_id
    assert server.audit.entries[1].address == "127.0.0.1"
    # anybody may be refused as often as they like: that must not fill the topic
    for _ in range(REFUSALS_PER_MIN):
        await server.call("GET", "/login?code=nonsense", token=None)
    assert len(server.audit.entries) == 2 + REFUSALS_PER_MIN


async def test_no_password_and_no_hash_is_logged_or_shown(server: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        entered = await log_in(server)
        await log_in(server, password="wrong horse battery")
        listed = await server.call("GET", "/v1/tokens")
    for secret in (PASSWORD, "wrong horse", HASH, entered.headers["Set-Cookie"].partition(";")[0].partition("=")[2]):
        assert secret not in caplog.text
        assert secret not in listed.data.decode()


def test_a_hash_knows_its_password_however_the_keyboard_writes_it_and_nothing_else() -> None:
    stored = hash_of("café au lait 12")
    assert is_password("cafe\u0301 au lait 12", stored)
    assert hash_of("café au lait 12") != stored
    for wrong in ("", "Café au lait 12", "\ud800"):
        assert not is_password(wrong, stored)
    for broken in ("", "x", "$argon2id$v=19$m=8,t=1,p=1$AA$AA", stored[:-2], stored.replace("argon2id", "argon2i")):
        assert not is_password("café au lait 12", broken)


def test_what_is_too_short_or_one_character_over_and_over_is_no_password() -> None:
    assert objection_to("short") and objection_to("a" * 300) and objection_to("a" * 20)
    assert not objection_to(PASSWORD)


def test_what_is_stored_of_an_operator_is_read_back_and_holds_no_password() -> None:
    record = operator()
    assert decoded(encoded(record)) == record
    assert PASSWORD.encode() not in encoded(record)
    assert record.credential_id != operator().credential_id
