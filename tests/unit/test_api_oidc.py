"""Logging in by an identity provider: through it and back, and every answer of it that must not be believed.

All in one file: one identity provider, played, whose every answer may be wrong.
"""

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from support.api import OF_THE_CONSOLE, START, Answered, Api, api
from support.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, identity_provider

from everwatch.api.oidc_provider import OidcProvider
from everwatch.api.oidc_roles import groups_in, role_of, roles_by_group
from everwatch.api.oidc_routes import ANSWERS_OF_ADDRESS_PER_MIN
from everwatch.api.permissions import Role
from everwatch.api.tokens import Tokens
from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import SettingsError

PUBLIC_URL = "https://everwatch.example"
BEHIND_TLS = {"X_Forwarded_Proto": "https"}


class Login(NamedTuple):
    """An API, the provider that it trusts, and how a browser goes through both."""

    server: Api
    provider: IdentityProvider

    async def begin(self, query: str = "", **headers: str) -> Answered:
        return await self.server.call("GET", f"/login/oidc{query}", token=None, **BEHIND_TLS, **headers)

    async def back(self, path: str, begun: Answered) -> Answered:
        """Come back from the provider with the cookies from before."""
        cookie = "; ".join(f"{name}={each}" for name, each in cookies_of(begun).items())
        return await self.server.call("GET", path, token=None, Cookie=cookie, Sec_Fetch_Site="cross-site", **BEHIND_TLS)

    async def through(self, query: str = "") -> Answered:
        begun = await self.begin(query)
        return await self.back(self.provider.authorize(begun.headers["Location"]), begun)

    async def me(self, entered: Answered) -> Answered:
        cookie = f"__Host-everwatch={cookies_of(entered)['__Host-everwatch']}"
        return await self.server.call("GET", "/v1/me", token=None, Cookie=cookie, **BEHIND_TLS)


def cookies_of(answered: Answered) -> dict[str, str]:
    return dict(each.partition(";")[0].split("=", 1) for each in answered.headers.getall("Set-Cookie", []))


def error_of(answered: Answered) -> str:
    """The word with which the console's page is told why."""
    assert answered.status == 303
    place, _, word = answered.headers["Location"].partition("?error=")
    assert place == "/console/login", answered.headers["Location"]
    assert "__Host-everwatch" not in cookies_of(answered), "nobody was let in"
    return word


@pytest.fixture
async def login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Login]:
    clock = SettableClock(START)
    async with identity_provider(clock) as provider:
        provider.claims = {"groups": ["staff", "sre"], "preferred_username": "ann"}
        settings = {
            "OIDC_ISSUER": provider.url,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_ROLES": "everwatch-admins=admin,sre=operator,staff=viewer",
            "OIDC_NAME": "Example SSO",
            "API_PUBLIC_URL": PUBLIC_URL,
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"EVERWATCH_{name}", value)
        async with api(clock=clock, console=tmp_path) as server:
            yield Login(server, provider)


async def test_a_person_logs_in_through_the_provider_with_the_highest_role_of_their_groups(login: Login) -> None:
    options = (await login.server.call("GET", "/login/options", token=None)).json
    assert options == {"password": False, "oidc": {"name": "Example SSO", "url": f"{PUBLIC_URL}/login/oidc"}}
    assert login.provider.asked == [], "a page that shows the button asks nothing"
    begun = await login.begin("?to=/console/users/ann")
    [cookie] = begun.headers.getall("Set-Cookie")
    assert cookie.startswith("__Host-everwatch-begun=")
    assert "; Path=/; HttpOnly; SameSite=Lax; Secure" in cookie
    asked = {name: each for name, [each] in parse_qs(urlsplit(begun.headers["Location"]).query).items()}
    assert (asked["response_type"], asked["client_id"], asked["scope"]) == ("code", CLIENT_ID, "openid profile email")
    assert asked["redirect_uri"] == f"{PUBLIC_URL}/login/oidc/callback"
    entered = await login.back(login.provider.authorize(begun.headers["Location"]), begun)
    assert (entered.status, entered.headers["Location"]) == (303, "/console/users/ann")
    session, over = entered.headers.getall("Set-Cookie")
    assert session.startswith("__Host-everwatch=ew_s_")
    assert "; Max-Age=43200; Path=/; HttpOnly; SameSite=Strict; Secure" in session
    assert over.startswith("__Host-everwatch-begun=; Max-Age=0")
    assert entered.headers["Cache-Control"] == "no-store"
    assert entered.headers["Referrer-Policy"] == "no-referrer"
    me = (await login.me(entered)).json
    assert (me["name"], me["role"], me["user_id"]) == ("ann", "operator", "")
    assert "secrets" not in me["scopes"]
    assert login.provider.asked == ["discovery", "token", "keys"]
    await login.through()
    assert login.provider.asked == ["discovery", "token", "keys", "token"], "document and keys are kept"


async def test_a_visitor_of_a_status_page_is_led_back_to_it(login: Login) -> None:
    begun = await login.begin("?to=/status/on-call")
    entered = await login.back(login.provider.authorize(begun.headers["Location"]), begun)
    assert (entered.status, entered.headers["Location"]) == (303, "/status/on-call")


async def test_each_login_has_a_state_a_nonce_and_a_challenge_of_its_own(login: Login) -> None:
    for _ in range(3):
        login.provider.authorize((await login.begin()).headers["Location"])
    for name in ("state", "nonce", "code_challenge"):
        assert len({each[name] for each in login.provider.authorizations}) == 3
    seen = [each[name] for each in login.provider.authorizations for name in ("state", "nonce", "code_challenge")]
    assert len(set(seen)) == 9


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/",
        "//evil.example",
        "/console//evil.example",
        "/login?code=x",
        "/console/\\evil",
        "/console/a%0d%0ab?x",
        "/status//evil.example",
        "/statuspage",
    ],
)
async def test_it_leads_back_to_pages_of_the_console_and_status_pages_only(login: Login, to: str) -> None:
    assert (await login.begin(f"?to={to}")).status == 400


# --- what comes back to the wrong browser -----------------------------------------------------------------------------


async def test_an_answer_to_another_browser_or_to_another_login_lets_nobody_in(login: Login) -> None:
    mine, theirs = await login.begin(), await login.begin()
    path = login.provider.authorize(theirs.headers["Location"])
    assert error_of(await login.back(path, mine)) == "login_expired"
    assert error_of(await login.server.call("GET", path, token=None, **BEHIND_TLS)) == "login_expired"
    for cookie in ("", "x", "1.2.3", f"{START}.{'a' * 43}.", f"{START}.{'a' * 43}.{'A' * 700}"):
        given = {"Cookie": f"__Host-everwatch-begun={cookie}"}
        assert error_of(await login.server.call("GET", path, token=None, **BEHIND_TLS, **given)) == "login_expired"
    assert "token" not in login.provider.asked
    changed = f"__Host-everwatch-begun={cookies_of(theirs)['__Host-everwatch-begun'][:-4]}AAAA"
    assert error_of(await login.server.call("GET", path, token=None, Cookie=changed, **BEHIND_TLS)) == "login_expired"
    assert (await login.back(path, theirs)).headers["Location"] == "/console/"
    # the code was used
    assert error_of(await login.back(path, theirs)) == "not_trusted"


async def test_a_login_is_over_after_ten_minutes(login: Login) -> None:
    begun = await login.begin()
    path = login.provider.authorize(begun.headers["Location"])
    login.server.clock.advance(600_000)
    assert error_of(await login.back(path, begun)) == "login_expired"


async def test_a_code_of_another_login_does_not_fit_the_challenge(login: Login) -> None:
    mine, theirs = await login.begin(), await login.begin()
    stolen = login.provider.authorize(theirs.headers["Location"])
    code = parse_qs(urlsplit(stolen).query)["code"][0]
    state = parse_qs(urlsplit(mine.headers["Location"]).query)["state"][0]
    refused = await login.back(f"/login/oidc/callback?code={code}&state={state}", mine)
    assert error_of(refused) == "not_trusted"


# --- what the provider, or somebody in its name, says -----------------------------------------------------------------


def with_claims(**claims: Any) -> Callable[[IdentityProvider], None]:
    return lambda provider: provider.claims.update(claims)


def unsigned(provider: IdentityProvider) -> None:
    payload = provider.signed().split(".")[1]
    provider.id_token = f"eyJhbGciOiJub25lIn0.{payload}."


def signed_by_somebody_else(provider: IdentityProvider) -> None:
    mine = provider.key
    provider.key = ECKey.generate_key("P-256", {"kid": mine.kid})


def signed_with_the_public_key_as_a_secret(provider: IdentityProvider) -> None:
    # joserfc makes no such key of a key's text
    secret = OctKey.import_key(provider.key.as_bytes(private=False).hex(), {"kid": provider.key.kid})
    claims = {"iss": provider.url, "aud": CLIENT_ID, "sub": "subject-1", "exp": START // 1_000 + 60}
    provider.id_token = jwt.encode({"alg": "HS256", "kid": provider.key.kid}, claims, secret, algorithms=["HS256"])


def without_an_id_token(provider: IdentityProvider) -> None:
    provider.token_answer = (200, {"access_token": "access-1", "token_type": "Bearer"})


def cut(provider: IdentityProvider) -> None:
    provider.id_token = provider.signed()[:-8] + "AAAAAAAA"


@pytest.mark.parametrize(
    "wrong",
    [
        with_claims(nonce="other"),
        with_claims(nonce=None),
        with_claims(aud="other"),
        with_claims(aud=[CLIENT_ID, "other"]),
        with_claims(aud=[CLIENT_ID, "other"], azp="other"),
        with_claims(aud=None),
        with_claims(iss="https://evil.example"),
        with_claims(iss=None),
        with_claims(exp=START // 1_000 - 31),
        with_claims(exp=None),
        with_claims(iat=START // 1_000 + 3_600),
        with_claims(nbf=START // 1_000 + 3_600),
        with_claims(sub=None),
        with_claims(sub=""),
        with_claims(exp="soon"),
        with_claims(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
        unsigned,
        signed_by_somebody_else,
        signed_with_the_public_key_as_a_secret,
        without_an_id_token,
        cut,
    ],
)
async def test_an_id_token_that_is_not_for_this_login_lets_nobody_in(
    login: Login, wrong: Callable[[IdentityProvider], None], caplog: pytest.LogCaptureFixture
) -> None:
    wrong(login.provider)
    assert error_of(await login.through()) == "not_trusted"
    assert "a login by the identity provider was refused: " in caplog.text
    assert [(each.command, each.outcome) for each in login.server.audit.entries] == [("login", "not_trusted")]


async def test_clocks_may_differ_a_little(login: Login) -> None:
    login.provider.claims |= {"iat": START // 1_000 + 20, "exp": START // 1_000 - 20}
    assert (await login.through()).headers["Location"] == "/console/"


async def test_a_token_for_others_too_is_taken_if_it_was_made_for_this_client(login: Login) -> None:
    login.provider.claims |= {"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID}
    assert (await login.through()).headers["Location"] == "/console/"


async def test_an_answer_that_names_another_issuer_is_refused_before_its_code_is_used(login: Login) -> None:
    begun = await login.begin()
    path = login.provider.authorize(begun.headers["Location"])
    assert error_of(await login.back(f"{path}&iss=https://evil.example", begun)) == "not_trusted"
    assert "token" not in login.provider.asked
    assert (await login.back(f"{path}&iss={login.provider.url}", begun)).headers["Location"] == "/console/"


async def test_an_answer_without_the_issuer_that_the_provider_promises_is_refused(login: Login) -> None:
    login.provider.metadata = {"authorization_response_iss_parameter_supported": True}
    assert error_of(await login.through()) == "not_trusted"


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"},
        {"token_endpoint": "http://provider.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"jwks_uri": 7},
    ],
)
async def test_a_discovery_document_that_cannot_be_trusted_sends_nobody_anywhere(
    login: Login, metadata: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    login.provider.metadata = metadata
    assert error_of(await login.begin()) == "provider_away"
    assert "nobody can be sent to the identity provider: " in caplog.text


async def test_who_is_refused_by_the_provider_is_told_so(login: Login, caplog: pytest.LogCaptureFixture) -> None:
    begun = await login.begin()
    state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
    refused = await login.back(f"/login/oidc/callback?state={state}&error=access_denied&error_description=x%0Ay", begun)
    assert error_of(refused) == "denied"
    assert "access_denied" in caplog.text
    assert cookies_of(refused) == {"__Host-everwatch-begun": ""}


# --- roles ------------------------------------------------------------------------------------------------------------


async def test_who_has_no_role_is_not_let_in_and_that_is_logged_by_name(login: Login) -> None:
    login.provider.claims["groups"] = ["sales", "*"]
    assert error_of(await login.through()) == "no_role"
    [entry] = login.server.audit.entries
    assert (entry.token_name, entry.role, entry.outcome) == ("ann", "", "no_role")


async def test_groups_that_the_id_token_lacks_are_asked_for(login: Login) -> None:
    del login.provider.claims["groups"]
    login.provider.user_info = {"groups": ["everwatch-admins"]}
    assert (await login.me(await login.through())).json["role"] == "admin"
    login.provider.user_info = {"groups": ["everwatch-admins"], "sub": "somebody-else"}
    assert error_of(await login.through()) == "not_trusted"


@pytest.mark.parametrize(
    ("claims", "claim", "expected"),
    [
        ({"groups": ["sre"]}, "groups", Role.OPERATOR),
        ({"groups": "sre"}, "groups", Role.OPERATOR),
        ({"groups": {"sre": {}, "x": {}}}, "groups", Role.OPERATOR),
        ({"realm_access": {"roles": ["sre", "ops, night"]}}, "realm_access.roles", Role.ADMIN),
        ({"https://example.com/roles": ["sre"]}, "https://example.com/roles", Role.OPERATOR),
        ({"groups": [["sre"], 7, None]}, "groups", Role.VIEWER),
        ({"groups": 7}, "groups", Role.VIEWER),
        ({}, "realm_access.roles", Role.VIEWER),
    ],
)
def test_groups_are_found_where_providers_put_them(claims: Any, claim: str, expected: Role) -> None:
    roles = roles_by_group(["sre=operator", "ops%2C night=admin", "*=viewer"])
    assert role_of(groups_in(claims, claim) or [], roles) is expected


# --- keys, and a provider that is away --------------------------------------------------------------------------------


async def test_a_new_key_is_fetched_when_it_is_met(login: Login) -> None:
    await login.through()
    login.server.clock.advance(60_000)
    login.provider.rotate()
    assert (await login.through()).headers["Location"] == "/console/"
    assert login.provider.asked.count("keys") == 2
    # and not again and again
    signed_by_somebody_else(login.provider)
    for _ in range(5):
        assert error_of(await login.through()) == "not_trusted"
    assert login.provider.asked.count("keys") == 2


async def test_a_provider_that_is_away_keeps_nobody_from_other_ways_in(
    login: Login, caplog: pytest.LogCaptureFixture
) -> None:
    entered, begun = await login.through(), await login.begin()
    path = login.provider.authorize(begun.headers["Location"])
    await login.provider.go_away()
    assert error_of(await login.back(path, begun)) == "provider_away"
    assert caplog.text.count("the identity provider does not answer: ") == 1
    assert (await login.me(entered)).status == 200, "sessions go on"
    token = {"token": login.server.texts[Role.ADMIN]}
    entered = await login.server.call("POST", "/login", body=token, token=None, **OF_THE_CONSOLE)
    assert entered.status == 204
    # what it said of itself an hour ago still says where to
    login.server.clock.advance(3_600_000)
    assert (await login.begin()).headers["Location"].startswith(login.provider.url)


async def test_a_provider_that_was_never_there_is_asked_again_a_little_later(login: Login) -> None:
    login.provider.metadata = {"issuer": "https://not-yet.example"}
    for _ in range(5):
        assert error_of(await login.begin()) == "provider_away"
    assert login.provider.asked == ["discovery"]
    login.provider.metadata = {}
    login.server.clock.advance(5_000)
    assert (await login.through()).headers["Location"] == "/console/"


async def test_a_start_says_in_the_log_what_would_keep_everybody_out_and_goes_on(
    login: Login, caplog: pytest.LogCaptureFixture
) -> None:
    provider = OidcProvider(load_settings())
    await provider.look(START)
    assert caplog.text == ""
    login.provider.metadata = {"issuer": "https://other.example"}
    wrong, away = OidcProvider(load_settings()), OidcProvider(load_settings())
    await wrong.look(START)
    assert f"EVERWATCH_OIDC_ISSUER is '{login.provider.url}', and the document there says 'https://other" in caplog.text
    await login.provider.go_away()
    await away.look(START)
    assert "cannot be reached: Connect" in caplog.text


async def test_a_token_endpoint_that_fails_or_refuses_lets_nobody_in(login: Login) -> None:
    login.provider.token_answer = (502, {})
    assert error_of(await login.through()) == "provider_away"
    login.provider.token_answer = (401, {"error": "invalid_client"})
    assert error_of(await login.through()) == "not_trusted"
    login.provider.token_answer = (302, {})
    assert error_of(await login.through()) == "not_trusted"


async def test_answers_are_limited_for_each_address(login: Login) -> None:
    login.provider.token_answer = (400, {"error": "invalid_grant"})
    begun = await login.begin()
    path = login.provider.authorize(begun.headers["Location"])
    for _ in range(ANSWERS_OF_ADDRESS_PER_MIN):
        await login.back(path, begun)
    assert error_of(await login.back(path, begun)) == "busy"


# --- sessions ---------------------------------------------------------------------------------------------------------


async def test_logging_out_ends_the_session_and_leads_to_where_the_provider_ends_its_own(login: Login) -> None:
    entered = await login.through()
    cookie = f"__Host-everwatch={cookies_of(entered)['__Host-everwatch']}"
    out = await login.server.call("POST", "/logout", token=None, Cookie=cookie, **BEHIND_TLS, **OF_THE_CONSOLE)
    assert (out.status, out.data, out.headers["Set-Cookie"].partition(";")[0]) == (204, b"", "__Host-everwatch=")
    assert (await login.me(entered)).status == 401
    told = [(each.command, each.token_name, each.role, each.outcome) for each in login.server.audit.entries]
    assert told == [("login", "ann", "operator", "done"), ("logout", "ann", "operator", "done")]
    login.provider.metadata = {"end_session_endpoint": f"{login.provider.url}/logout?ui=1"}
    login.server.clock.advance(3_600_000)
    cookie = f"__Host-everwatch={cookies_of(await login.through())['__Host-everwatch']}"
    out = await login.server.call("POST", "/logout", token=None, Cookie=cookie, **BEHIND_TLS, **OF_THE_CONSOLE)
    assert out.status == 200
    assert out.json["location"] == (
        f"{login.provider.url}/logout?ui=1&client_id=console"
        "&post_logout_redirect_uri=https%3A%2F%2Feverwatch.example%2Fconsole%2Flogin"
    )
    assert "Max-Age=0" in out.headers["Set-Cookie"]


async def test_a_session_ends_with_the_setting_of_its_provider_and_at_its_time(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = await login.through()
    [record] = [each for each in login.server.tokens.records() if each.session]
    text = cookies_of(entered)["__Host-everwatch"]
    assert (record.issuer, record.name) == (login.provider.url, "ann")
    monkeypatch.delenv("EVERWATCH_OIDC_ISSUER")
    without = Tokens(load_settings())
    without.put(record)
    assert without.session(text, START) is None
    assert login.server.tokens.session(text, START) is not None
    login.server.clock.advance(12 * 3_600_000)
    assert (await login.me(entered)).status == 401


async def test_nothing_that_opens_anything_is_logged(login: Login, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        begun = await login.begin()
        path = login.provider.authorize(begun.headers["Location"])
        entered = await login.back(path, begun)
        login.provider.claims["nonce"] = "other"
        await login.through()
    secrets = [CLIENT_SECRET, "access-1", *cookies_of(begun).values(), cookies_of(entered)["__Host-everwatch"]]
    secrets += [parse_qs(urlsplit(path).query)["code"][0], login.provider.signed().split(".")[1]]
    assert not [each for each in secrets if each in caplog.text]
    assert CLIENT_SECRET not in repr(load_settings())


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"oidc_client_id": ""}, "oidc_issuer needs oidc_client_id"),
        ({"oidc_roles": ()}, "oidc_issuer needs oidc_roles"),
        ({"api_public_url": ""}, "oidc_issuer needs api_public_url"),
        ({"oidc_issuer": "http://idp.example"}, "EVERWATCH_OIDC_ISSUER: Expected an https address"),
        ({"api_public_url": "http://everwatch.example"}, "EVERWATCH_API_PUBLIC_URL: Expected an https address"),
        ({"api_public_url": "https://everwatch.example/x"}, "EVERWATCH_API_PUBLIC_URL"),
        ({"oidc_roles": "sre=owner"}, "EVERWATCH_OIDC_ROLES"),
        ({"oidc_scopes": "profile"}, "openid"),
    ],
)
def test_settings_that_cannot_work_are_one_sentence(changed: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "oidc_issuer": "https://idp.example/realm",
        "oidc_client_id": "console",
        "oidc_roles": "sre=operator",
        "api_public_url": PUBLIC_URL,
    }
    assert load_settings(**given).oidc_roles == ("sre=operator",)
    with pytest.raises(SettingsError, match=said):
        load_settings(**(given | changed))


async def test_without_a_provider_there_is_none() -> None:
    async with api() as server:
        assert (await server.call("GET", "/login/options", token=None)).json["oidc"] is None
        for path in ("/login/oidc", "/login/oidc/callback?code=x&state=y"):
            assert (await server.call("GET", path, token=None)).code == "no_identity_provider"


def test_an_administrator_by_the_provider_is_one() -> None:
    given: dict[str, Any] = {"oidc_issuer": "https://idp.example", "oidc_client_id": "c", "api_public_url": PUBLIC_URL}
    assert Tokens(load_settings(oidc_roles="a=admin", **given)).has_admin(START)
    assert not Tokens(load_settings(oidc_roles="a=operator", **given)).has_admin(START)
