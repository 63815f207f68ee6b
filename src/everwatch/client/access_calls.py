"""Tokens, operators and login links, as an administrator's client asks for them."""

from collections.abc import AsyncIterator

import msgspec

from everwatch.api.access_views import (
    CreatedToken,
    LoginLinkBody,
    LoginLinkView,
    MeView,
    OperatorBody,
    OperatorList,
    OperatorView,
    RoleList,
    RoleView,
    TokenBody,
    TokenView,
)
from everwatch.api.queries import Paged
from everwatch.client.api_calls import ApiCalls, decoded
from everwatch.client.requests import ApiRequest, place


class AccessCalls(ApiCalls):
    """Calls about access. A call that makes a secret is sent once: if it fails, look whether the secret was made."""

    def tokens(self) -> AsyncIterator[TokenView]:
        """Iterate stored tokens, sessions included, the oldest first."""
        return self._iterate("/v1/tokens", Paged(), TokenView)

    async def roles(self) -> list[RoleView]:
        """Return the roles with their scopes."""
        return (await self.get("/v1/roles", RoleList)).items

    async def me(self) -> MeView:
        """Return what this client's token may do."""
        return await self.get("/v1/me", MeView)

    async def create_token(self, body: TokenBody) -> CreatedToken:
        """Make a token; its text is answered this once."""
        sent = ApiRequest(method="POST", path="/v1/tokens", body=msgspec.json.encode(body))
        return decoded(await self._transport.send(sent), CreatedToken)

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token by its id."""
        await self._transport.send(ApiRequest(method="DELETE", path=place("tokens", token_id)))

    async def operators(self) -> list[OperatorView]:
        """Return operators who log in with a password, by name."""
        return (await self.get("/v1/operators", OperatorList)).items

    async def put_operator(self, name: str, body: OperatorBody) -> OperatorView:
        """Add an operator, or change role or password; either ends the sessions that the operator has."""
        sent = ApiRequest(method="PUT", path=place("operators", name), body=msgspec.json.encode(body))
        return decoded(await self._transport.send(sent), OperatorView)

    async def remove_operator(self, name: str) -> None:
        """Remove an operator, and end the operator's sessions."""
        await self._transport.send(ApiRequest(method="DELETE", path=place("operators", name)))

    async def create_login_link(self, body: LoginLinkBody) -> LoginLinkView:
        """Make a link that logs a browser in once, within ten minutes; ``path`` is below the API's address."""
        sent = ApiRequest(method="POST", path="/v1/login-links", body=msgspec.json.encode(body))
        return decoded(await self._transport.send(sent), LoginLinkView)
