"""An identity provider on loopback: OpenID Connect with the authorization code, PKCE, and keys that rotate.

It lets everybody in as ``subject`` without asking. What it says can be made wrong by its attributes.
"""

import base64
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import BasicAuth, web
from joserfc import jwt
from joserfc.jwk import ECKey

from everwatch.core.clock import SettableClock

CLIENT_ID, CLIENT_SECRET = "console", "s3cret/with+signs"


class IdentityProvider:
    """The provider. ``claims`` are added to ID tokens (None: left out), ``metadata`` to the discovery document."""

    def __init__(self, clock: SettableClock) -> None:
        self._clock = clock
        self.key = ECKey.generate_key("P-256", {"kid": "one"})
        self.published = [self.key]
        self.url = ""
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.user_info: dict[str, Any] = {}
        self.token_answer: tuple[int, Any] | None = None
        self.id_token: str | None = None
        self.asked: list[str] = []
        self.authorizations: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.runner: web.AppRunner

    async def go_away(self) -> None:
        """Answer nothing from now on."""
        await self.runner.cleanup()

    def rotate(self) -> None:
        """Sign with a key that is new."""
        self.key = ECKey.generate_key("P-256", {"kid": f"key-{len(self.published) + 1}"})
        self.published = [self.key]

    def authorize(self, location: str) -> str:
        """Do as a browser at the authorization endpoint: gives where it is sent back to, without the host."""
        place, _, query = location.partition("?")
        assert place == f"{self.url}/authorize"
        asked = dict(parse_qsl(query, strict_parsing=True))
        self.authorizations.append(asked)
        code = f"code-{len(self.authorizations)}"
        self._codes[code] = asked
        return f"/login/oidc/callback?{urlencode({'code': code, 'state': asked['state'], 'session_state': 'x'})}"

    def signed(self, **claims: Any) -> str:
        """An ID token, or another JWT."""
        now = self._clock.now_ms() // 1_000
        made = {"iss": self.url, "aud": CLIENT_ID, "sub": "subject-1", "iat": now, "exp": now + 300} | claims
        made |= self.claims
        header = {"alg": "ES256", "kid": self.key.kid}
        return jwt.encode(header, {name: each for name, each in made.items() if each is not None}, self.key)

    def application(self) -> web.Application:
        """Return what it serves."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._user_info)
        return app

    async def _discovery(self, _: web.Request) -> web.Response:
        self.asked.append("discovery")
        known = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
        }
        return web.json_response({name: each for name, each in (known | self.metadata).items() if each is not None})

    async def _authorize(self, request: web.Request) -> web.Response:
        location = f"{self.url}{request.path_qs}"
        place = request.query["redirect_uri"].partition("/login/")[0]
        return web.Response(status=302, headers={"Location": place + self.authorize(location)})

    async def _keys(self, _: web.Request) -> web.Response:
        self.asked.append("keys")
        keys: list[Any] = [each.as_dict(private=False) for each in self.published]
        # what others publish too
        keys += [{"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"}, {"kty": "oct", "k": "AAAA", "kid": self.key.kid}]
        return web.json_response({"keys": keys})

    async def _token(self, request: web.Request) -> web.Response:
        self.asked.append("token")
        form = dict(parse_qsl(await request.text()))
        if self.token_answer is not None:
            return web.json_response(self.token_answer[1], status=self.token_answer[0])
        authorization = BasicAuth.decode(request.headers["Authorization"])
        # RFC 6749, 2.3.1: both are encoded as in a form
        assert authorization == BasicAuth("console", "s3cret%2Fwith%2Bsigns")
        begun = self._codes.pop(form["code"], None)
        if begun is None:
            return web.json_response({"error": "invalid_grant", "error_description": "the code was used"}, status=400)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if begun["code_challenge"] != challenge.decode():
            return web.json_response({"error": "invalid_grant"}, status=400)
        assert (begun["code_challenge_method"], form["grant_type"]) == ("S256", "authorization_code")
        assert form["redirect_uri"] == begun["redirect_uri"]
        id_token = self.id_token or self.signed(nonce=begun["nonce"])
        return web.json_response(
            {"access_token": "access-1", "token_type": "Bearer", "expires_in": 300, "id_token": id_token}
        )

    async def _user_info(self, request: web.Request) -> web.Response:
        self.asked.append("userinfo")
        assert request.headers["Authorization"] == "Bearer access-1"
        return web.json_response({"sub": "subject-1"} | self.user_info)


@asynccontextmanager
async def identity_provider(clock: SettableClock, host: str = "127.0.0.1") -> AsyncIterator[IdentityProvider]:
    """Run one meanwhile; with the host ``localhost`` it is another site for browsers."""
    provider = IdentityProvider(clock)
    sock = socket.create_server(("127.0.0.1", 0))
    provider.url = f"http://{host}:{sock.getsockname()[1]}"
    provider.runner = web.AppRunner(provider.application(), access_log=None, shutdown_timeout=1)
    await provider.runner.setup()
    await web.SockSite(provider.runner, sock).start()
    try:
        yield provider
    finally:
        await provider.go_away()
