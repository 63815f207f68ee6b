"""JWTs of end users: who gets in as whom, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from support.api import OF_THE_CONSOLE, START, Api, api
from support.identity_provider import IdentityProvider, identity_provider

from everwatch.api.user_tokens import UserTokens
from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import SettingsError

KEY = ECKey.generate_key("P-256", {"kid": "one"})
OTHER = ECKey.generate_key("P-256", {"kid": "two"})
CLAIMS = {"iss": "shop", "aud": "everwatch", "sub": "ann", "exp": START // 1000 + 600}


def jwks(*keys: Any) -> bytes:
    return orjson.dumps({"keys": [each.as_dict(private=False) for each in keys]})


def signed(key: Any = KEY, alg: str = "ES256", **claims: Any) -> str:
    wanted = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode({"alg": alg, "kid": key.kid}, wanted, key, algorithms=[alg])


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(KEY))
    monkeypatch.setenv("EVERWATCH_API_JWKS_FILE", str(path))
    monkeypatch.setenv("EVERWATCH_API_JWT_ISSUER", "shop")
    monkeypatch.setenv("EVERWATCH_API_JWT_AUDIENCE", "everwatch")
    return path


@pytest.fixture
async def server(file: Path) -> AsyncIterator[Api]:
    async with api() as running:
        for user in ("ann", "bob"):
            await running.call("PUT", f"/v1/users/{user}", body={})
        yield running


async def test_a_user_of_the_product_sees_what_is_theirs_and_nothing_else(server: Api) -> None:
    token = signed()
    assert (await server.call("GET", "/v1/users/ann", token=token)).status == 200
    me = (await server.call("GET", "/v1/me", token=token)).json
    assert (me["user_id"], me["role"]) == ("ann", "viewer")
    assert (await server.call("GET", "/v1/users/bob", token=token)).status == 403
    assert (await server.call("GET", "/v1/lag", token=token)).status == 403
    assert (await server.call("PUT", "/v1/users/ann", body={}, token=token)).status == 403
    assert [each["user_id"] for each in (await server.call("GET", "/v1/users", token=token)).json["items"]] == ["ann"]


async def test_it_ends_at_its_time_also_for_streams(server: Api) -> None:
    token = signed()
    principal = server.tokens.principal(token, START)
    assert principal is not None
    assert server.tokens.is_valid(principal, START + 599_000)
    assert not server.tokens.is_valid(principal, START + 600_000)
    server.clock.advance(700_000)
    assert (await server.call("GET", "/v1/users/ann", token=token)).status == 401


@pytest.mark.parametrize(
    "token",
    [
        signed(iss="other"),
        signed(aud="other"),
        signed(aud=None),
        signed(iss=None),
        signed(exp=None),
        signed(sub=None),
        signed(sub=""),
        signed(sub="a\nb"),
        signed(sub=7),
        signed(exp=START // 1000 - 60),
        signed(exp=START // 1000 + 30 * 86_400),
        signed(nbf=START // 1000 + 3_600),
        signed(OTHER),
        signed(OctKey.import_key(jwks(KEY), {"kid": "one"}), "HS256"),
        signed()[:-4] + "AAAA",
        "eyJhbGciOiJub25lIn0." + signed().split(".")[1] + ".",
        "a.b.c",
        "..",
    ],
)
async def test_what_the_product_did_not_sign_for_this_api_is_refused(server: Api, token: str) -> None:
    refused = await server.call("GET", "/v1/users/ann", token=token)
    assert (refused.status, refused.code) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("key", "alg"),
    [(RSAKey.generate_key(2048, {"kid": "r"}), "RS256"), (OKPKey.generate_key("Ed25519", {"kid": "e"}), "EdDSA")],
)
def test_other_kinds_of_keys_are_taken(file: Path, key: Any, alg: str) -> None:
    file.write_bytes(jwks(key))
    found = UserTokens(load_settings(api_jwt_role="operator")).principal(signed(key, alg), START)
    assert found is not None
    assert (found.user_id, found.role.value) == ("ann", "operator")


def test_keys_are_changed_by_the_file_and_a_wrong_one_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = UserTokens(load_settings())
    file.write_bytes(jwks(KEY, OTHER))
    tokens.look()
    assert tokens.principal(signed(OTHER), START) is not None
    file.write_bytes(b"{")
    tokens.look()
    tokens.look()
    assert tokens.principal(signed(OTHER), START) is not None
    assert caplog.text.count("stay as they were") == 1
    file.write_bytes(jwks(OTHER))
    tokens.look()
    assert tokens.principal(signed(), START) is None


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AA"}]}', b"\xff"])
def test_a_file_that_holds_no_public_keys_is_refused_at_the_start(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="EVERWATCH_API_JWKS_FILE"):
        UserTokens(load_settings())
    file.write_bytes(orjson.dumps({"keys": [KEY.as_dict(private=True)]}))
    with pytest.raises(SettingsError, match="not public"):
        UserTokens(load_settings())


def test_keys_without_an_issuer_and_an_audience_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERWATCH_API_JWT_AUDIENCE")
    with pytest.raises(SettingsError, match="EVERWATCH_API_JWT_AUDIENCE"):
        load_settings()
    monkeypatch.delenv("EVERWATCH_API_JWKS_FILE")
    with pytest.raises(SettingsError, match="EVERWATCH_API_JWT_AUDIENCE"):
        load_settings(api_jwks_url="https://shop.example/keys")


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/keys",
        "ftp://shop.example/keys",
        "https://user:word@shop.example/keys",
        "https:///keys",
        "https://shop.example:x/keys",
        "http://127.0.0.1.evil.example/",
    ],
)
def test_keys_come_by_https_only_or_from_this_machine(url: str) -> None:
    given = {"api_jwt_issuer": "shop", "api_jwt_audience": "everwatch"}
    with pytest.raises(SettingsError, match="EVERWATCH_API_JWKS_URL: Expected an https address"):
        load_settings(api_jwks_url=url, **given)
    assert load_settings(api_jwks_url="https://shop.example/keys", **given)


def test_keys_have_one_place(file: Path) -> None:
    with pytest.raises(SettingsError, match="two places"):
        load_settings(api_jwks_url="https://shop.example/keys")


@pytest.fixture
async def product(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Api, IdentityProvider]]:
    """An API that fetches the keys of a product, whose clock it shares."""
    clock = SettableClock(START)
    async with identity_provider(clock) as provider:
        monkeypatch.setenv("EVERWATCH_API_JWKS_URL", f"{provider.url}/keys")
        monkeypatch.setenv("EVERWATCH_API_JWT_ISSUER", provider.url)
        monkeypatch.setenv("EVERWATCH_API_JWT_AUDIENCE", "everwatch")
        async with api(clock=clock) as server:
            await server.call("PUT", "/v1/users/ann", body={})
            yield server, provider


async def status_of(server: Api, token: str) -> int:
    return (await server.call("GET", "/v1/users/ann", token=token)).status


def of_ann(provider: IdentityProvider, **claims: Any) -> str:
    return provider.signed(**({"aud": "everwatch", "sub": "ann"} | claims))


async def test_keys_of_an_address_are_fetched_once_and_kept(product: tuple[Api, IdentityProvider]) -> None:
    server, provider = product
    statuses = await asyncio.gather(*(status_of(server, of_ann(provider)) for _ in range(20)))
    assert statuses == [200] * 20
    assert provider.asked == ["keys"]
    assert await status_of(server, of_ann(provider, aud="other")) == 401
    assert (await server.call("GET", "/v1/users/bob", token=of_ann(provider))).status == 403


async def test_a_new_key_is_taken_at_once_and_unknown_ones_cannot_make_it_fetch_again_and_again(
    product: tuple[Api, IdentityProvider],
) -> None:
    server, provider = product
    old = of_ann(provider)
    assert await status_of(server, old) == 200
    server.clock.advance(60_000)
    provider.rotate()
    assert await status_of(server, of_ann(provider)) == 200
    assert provider.asked == ["keys"] * 2
    assert await status_of(server, old) == 401, "its key was withdrawn"
    stranger = jwt.encode({"alg": "ES256", "kid": "unheard-of"}, CLAIMS, OTHER)
    for _ in range(20):
        assert await status_of(server, stranger) == 401
    assert provider.asked == ["keys"] * 2
    server.clock.advance(30_000)
    assert await status_of(server, stranger) == 401
    assert provider.asked == ["keys"] * 3
    # what names no key makes it fetch nothing
    server.clock.advance(60_000)
    assert await status_of(server, "a.b.c") == 401
    assert provider.asked == ["keys"] * 3


async def test_a_key_that_was_withdrawn_is_refused_within_minutes(product: tuple[Api, IdentityProvider]) -> None:
    server, provider = product
    old = of_ann(provider, exp=START // 1000 + 3_600)
    assert await status_of(server, old) == 200
    provider.rotate()
    server.clock.advance(300_000)
    await server.tokens.of_users.refresh(server.clock.now_ms())
    assert await status_of(server, old) == 401


async def test_keys_stay_for_a_day_where_their_address_is_away_and_other_tokens_go_on(
    product: tuple[Api, IdentityProvider], caplog: pytest.LogCaptureFixture
) -> None:
    server, provider = product
    assert await status_of(server, of_ann(provider)) == 200
    await provider.go_away()
    server.clock.advance(23 * 3_600_000)
    await server.tokens.of_users.refresh(server.clock.now_ms())
    server.clock.advance(10_000)
    await server.tokens.of_users.refresh(server.clock.now_ms())
    assert await status_of(server, of_ann(provider)) == 200
    assert caplog.text.count("EVERWATCH_API_JWKS_URL") == 1
    server.clock.advance(3_600_000)
    assert await status_of(server, of_ann(provider)) == 401
    assert (await server.call("GET", "/v1/users/ann")).status == 200


async def test_a_user_of_the_product_does_not_lift_their_own_plan(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_API_JWT_ROLE", "operator")
    async with api() as server:
        await server.call("PUT", "/v1/users/ann", body={"plan": "free"})
        token = signed()
        assert (await server.call("PUT", "/v1/users/ann", body={"plan": "enterprise"}, token=token)).status == 403
        assert (await server.call("PUT", "/v1/users/ann", body={}, token=token)).status == 403
        refused = await server.call("PATCH", "/v1/users/ann", body={"plan": "enterprise"}, token=token)
        assert (refused.status, refused.code) == (403, "forbidden")
        lines = b"\n".join(
            orjson.dumps({"user_id": "ann", "plan": "enterprise", "command": command})
            for command in ("signup", "set_user")
        )
        batch = await server.call("POST", "/v1/batch", body=lines, token=token, Content_Type="application/x-ndjson")
        assert [orjson.loads(line)["status"] for line in batch.data.splitlines()] == [403, 403]
        body = {"attributes": {"email": "ann@example.com"}}
        assert (await server.call("PATCH", "/v1/users/ann", body=body, token=token)).status == 200
        assert (await server.call("GET", "/v1/users/ann", token=token)).json["plan"] == "free"
        routes = (await server.call("GET", "/v1/me", token=token)).json["routes"]
        assert "PATCH /v1/users/{user_id}" in routes
        assert "PUT /v1/users/{user_id}" not in routes


@pytest.fixture
def short_key(file: Path) -> OKPKey:
    key = OKPKey.generate_key("Ed25519", {"kid": "e"})
    file.write_bytes(jwks(key))
    return key


async def test_a_jwt_that_is_short_begins_no_session(short_key: OKPKey) -> None:
    async with api() as server:
        token = signed(short_key, "EdDSA")
        assert len(token) <= 256
        refused = await server.call("POST", "/login", body={"token": token}, token=None, **OF_THE_CONSOLE)
        assert (refused.status, refused.code) == (401, "unauthorized")
        assert not [each for each in server.tokens.records() if each.session]
