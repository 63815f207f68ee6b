"""The identity provider, by OpenID Connect: discovery, the authorization code with PKCE, and the ID token.

Requests and claims are those of Authlib, signatures those of joserfc. The provider's metadata is kept for an hour, its
keys as ``RemoteKeys`` has it. A provider that is unavailable stops no process and no other way to log in.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote_plus

import msgspec
from aiohttp import BasicAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from msgspec import Meta

from everwatch.api.fetching import FetchedDocument, Fetcher, FetchFailed
from everwatch.api.key_sets import AGAIN_AFTER_FAILURE_MS, ALGORITHMS, LEEWAY_S, RemoteKeys
from everwatch.api.oidc_begun import BegunLogin
from everwatch.api.oidc_roles import groups_in, role_of, roles_by_group
from everwatch.api.permissions import Role
from everwatch.core.config import Settings
from everwatch.core.printable import printable
from everwatch.core.safe_urls import is_safe_url
from everwatch.encoding.input_models import Name

logger = logging.getLogger(__name__)
OIDC = "/login/oidc"
CALLBACK = f"{OIDC}/callback"
DISCOVERED_FOR_MS = 3_600_000
LONGEST_ID_TOKEN = 64_000
_NAMES = ("preferred_username", "email", "name", "sub")
"""Claims that name a person, for the audit log and the list of sessions."""
Endpoint = Annotated[str, Meta(max_length=2_000)]


class ProviderAway(Exception):
    """The provider does not answer; the text says why."""


class NotTrusted(Exception):
    """An answer in the provider's name that must not be trusted; the text says why."""


class ProviderMetadata(msgspec.Struct, frozen=True):
    """The part of a discovery document that is used (OpenID Connect Discovery, 3)."""

    issuer: str
    authorization_endpoint: Endpoint
    token_endpoint: Endpoint
    jwks_uri: Endpoint
    userinfo_endpoint: Endpoint | None = None
    end_session_endpoint: Endpoint | None = None
    token_endpoint_auth_methods_supported: list[str] | None = None
    authorization_response_iss_parameter_supported: bool = False

    @property
    def endpoints(self) -> list[str]:
        """The addresses that are asked, or that browsers are sent to."""
        others = [each for each in (self.userinfo_endpoint, self.end_session_endpoint) if each]
        return [self.authorization_endpoint, self.token_endpoint, self.jwks_uri, *others]


class KnownPerson(NamedTuple):
    """A person known to the provider; ``role`` is None if none of the groups has one."""

    name: str
    role: Role | None


class OidcProvider:
    """The provider that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self.issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._secret = settings.oidc_client_secret
        self._scopes = settings.oidc_scopes
        self._claim = settings.oidc_roles_claim
        self._roles = roles_by_group(settings.oidc_roles)
        self._public_url = settings.api_public_url
        self._fetcher = Fetcher(settings.ca_file)
        self._metadata: ProviderMetadata | None = None
        self._discovered_at = 0
        self._failed_at = 0
        self._failure = ""
        self._discovering = asyncio.Lock()
        self._keys = RemoteKeys("the keys of the identity provider (EVERWATCH_OIDC_ISSUER)", self._fetch_keys)

    async def look(self, now: int) -> None:
        """Log a warning if the identity provider cannot be used.

        A wrong setting then shows at the start, not at the first login.
        """
        try:
            await self._known(now)
        except (ProviderAway, NotTrusted) as error:
            logger.warning("nobody can log in by the identity provider (EVERWATCH_OIDC_ISSUER) for now: %s", error)

    async def login_url(self, begun: BegunLogin, now: int) -> str:
        """Return where a browser is sent to log in. Raises ProviderAway, NotTrusted."""
        metadata = await self._known(now)
        url: str = prepare_grant_uri(
            metadata.authorization_endpoint,
            self._client_id,
            "code",
            redirect_uri=self._public_url + CALLBACK,
            scope=list(self._scopes),
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=create_s256_code_challenge(begun.verifier),
            code_challenge_method="S256",
        )
        return url

    def logout_url(self) -> str:
        """Return where a browser is sent to end its session at the provider too; "" where it has no such page."""
        place = self._metadata.end_session_endpoint if self._metadata is not None else None
        if not place:
            return ""
        back = quote_plus(f"{self._public_url}/console/login")
        mark = "&" if "?" in place else "?"
        return f"{place}{mark}client_id={quote_plus(self._client_id)}&post_logout_redirect_uri={back}"

    async def person(self, begun: BegunLogin, code: str, issuer: str, now: int) -> KnownPerson:
        """Return who logged in, by the code that the provider sent back. Raises ProviderAway, NotTrusted.

        ``issuer``: the ``iss`` of the answer (RFC 9207), "" if it had none.
        """
        metadata = await self._known(now)
        if issuer != self.issuer and (issuer or metadata.authorization_response_iss_parameter_supported):
            raise NotTrusted("the answer comes from another issuer")
        tokens = await self._exchanged(metadata, begun, code)
        claims = await self._claims(tokens, begun, now)
        groups = groups_in(claims, self._claim)
        if groups is None and metadata.userinfo_endpoint and isinstance(tokens.get("access_token"), str):
            groups = groups_in(await self._user_info(metadata.userinfo_endpoint, tokens, claims["sub"]), self._claim)
        return KnownPerson(_name_in(claims), role_of(groups or [], self._roles))

    async def _known(self, now: int) -> ProviderMetadata:
        """Return the provider's metadata, read again after an hour. Raises ProviderAway, NotTrusted."""
        async with self._discovering:
            held = self._metadata
            if held is not None and now - self._discovered_at < DISCOVERED_FOR_MS:
                return held
            if self._failure and now - self._failed_at < AGAIN_AFTER_FAILURE_MS:
                if held is not None:
                    return held
                raise ProviderAway(self._failure)
            try:
                self._metadata = await self._discovered()
            except (ProviderAway, NotTrusted) as error:
                self._failed_at, self._failure = now, str(error)
                if held is None:
                    raise
                return held
            self._discovered_at, self._failure = now, ""
            return self._metadata

    async def _discovered(self) -> ProviderMetadata:
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._asked(self._fetcher.get(url))
        if found.status != 200:
            raise ProviderAway(f"{url} answers with status {found.status}")
        try:
            metadata = msgspec.convert(found.document, ProviderMetadata)
        except msgspec.ValidationError as error:
            raise NotTrusted(f"the document at {url} is no discovery document: {error}") from None
        if metadata.issuer != self.issuer:
            said = printable(metadata.issuer)[:200]
            raise NotTrusted(f"EVERWATCH_OIDC_ISSUER is {self.issuer!r}, and the document there says {said!r}")
        for each in metadata.endpoints:
            if not is_safe_url(each):
                raise NotTrusted(f"the document at {url} names an address that is not https: {printable(each)[:200]}")
        return metadata

    async def _exchanged(self, metadata: ProviderMetadata, begun: BegunLogin, code: str) -> Mapping[str, Any]:
        """The tokens that the code is for."""
        methods = metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]
        secret = self._secret.get_secret_value()
        headers: dict[str, str] = {}
        more: dict[str, str] = {}
        if secret and ("client_secret_basic" in methods or "client_secret_post" not in methods):
            # both are encoded as in a form (RFC 6749, 2.3.1)
            headers["Authorization"] = BasicAuth(quote_plus(self._client_id), quote_plus(secret)).encode()
        else:
            more = {"client_id": self._client_id, "client_secret": secret}
        form = prepare_token_request(
            "authorization_code",
            redirect_uri=self._public_url + CALLBACK,
            code=code,
            code_verifier=begun.verifier,
            **more,
        )
        found = await self._asked(self._fetcher.post(metadata.token_endpoint, form, headers))
        if found.status >= 500:
            raise ProviderAway(f"{metadata.token_endpoint} answers with status {found.status}")
        if found.status != 200:
            said = printable(str(found.document.get("error", "")))[:64]
            raise NotTrusted(f"{metadata.token_endpoint} refused the code: status {found.status} {said}")
        return found.document

    async def _claims(self, tokens: Mapping[str, Any], begun: BegunLogin, now: int) -> Mapping[str, Any]:
        """The claims of the ID token, every one that there must be checked. Raises ProviderAway, NotTrusted."""
        text = tokens.get("id_token")
        if not isinstance(text, str) or len(text) > LONGEST_ID_TOKEN:
            raise NotTrusted("there is no ID token")
        await self._keys.refresh(now)
        keys = self._keys.keys(now)
        try:
            try:
                decoded = _decoded(text, keys)
            except (InvalidKeyIdError, BadSignatureError):
                # the provider has a new key
                await self._keys.renew(now)
                decoded = _decoded(text, self._keys.keys(now))
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                options={
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._client_id},
                    "sub": {"essential": True},
                },
                params={
                    "client_id": self._client_id,
                    "nonce": begun.nonce,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(now // 1_000, LEEWAY_S)
        except (JoseError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise NotTrusted(f"the ID token is not valid: {printable(str(error))[:200]}") from None
        return dict(claims)

    async def _user_info(self, url: str, tokens: Mapping[str, Any], subject: object) -> Mapping[str, Any]:
        """More claims about who logged in (OpenID Connect Core, 5.3). Raises ProviderAway, NotTrusted."""
        found = await self._asked(self._fetcher.get(url, token=str(tokens["access_token"])))
        if found.status != 200:
            raise ProviderAway(f"{url} answers with status {found.status}")
        if found.document.get("sub") != subject:
            raise NotTrusted(f"{url} tells of somebody else")
        return found.document

    async def _fetch_keys(self) -> Mapping[str, Any]:
        assert self._metadata is not None  # keys are asked for when a login comes back
        url = self._metadata.jwks_uri
        found = await self._fetcher.get(url)
        if found.status != 200:
            raise FetchFailed(f"{url} answers with status {found.status}")
        return found.document

    async def _asked(self, asking: Any) -> FetchedDocument:
        try:
            found: FetchedDocument = await asking
        except FetchFailed as error:
            raise ProviderAway(str(error)) from None
        return found


def _decoded(text: str, keys: KeySet | None) -> jwt.Token:
    """Raise ProviderAway, JoseError and what decoding raises."""
    if keys is None:
        raise ProviderAway("its keys cannot be had")
    return jwt.decode(text, keys, algorithms=list(ALGORITHMS))


def _name_in(claims: Mapping[str, Any]) -> str:
    """The name of a person. Raises NotTrusted if there is not even an id."""
    for claim in _NAMES:
        try:
            return msgspec.convert(claims.get(claim), Name)
        except msgspec.ValidationError:
            continue
    raise NotTrusted("the ID token names nobody")
