"""Tokens, operators and login links through the HTTP API, for commands of administrators."""

from typing import TYPE_CHECKING

from everwatch.core.config import Settings

if TYPE_CHECKING:
    from everwatch.api.access_views import OperatorBody, OperatorView, TokenBody, TokenView
    from everwatch.api.permissions import Role

# aiohttp, which the client takes, takes a while to import: each function imports it where it is used


def token_by_api(settings: Settings, body: "TokenBody") -> tuple[str, "TokenView"]:
    """Make a token; return its text and its stored record. Raises ApiError."""
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        made = client.create_token(body)
    return made.token, made.stored


def tokens_by_api(settings: Settings) -> list["TokenView"]:
    """Return all stored tokens. Raises ApiError."""
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        return list(client.tokens())


def revoke_by_api(settings: Settings, token_id: str) -> None:
    """Revoke a token. Raises ApiError."""
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        client.revoke_token(token_id)


def login_path_by_api(settings: Settings, role: "Role", user_id: str | None) -> str:
    """Make a login link; gives its path below the API's address. Raises ApiError."""
    from everwatch.api.access_views import LoginLinkBody
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        return client.create_login_link(LoginLinkBody(role, user_id)).path


def operators_by_api(settings: Settings) -> list["OperatorView"]:
    """Return all operators with a password. Raises ApiError."""
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        return client.operators()


def put_operator_by_api(settings: Settings, name: str, body: "OperatorBody") -> "OperatorView":
    """Add or change an operator. Raises ApiError."""
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        return client.put_operator(name, body)


def remove_operator_by_api(settings: Settings, name: str) -> bool:
    """Remove an operator; False if there is none. Raises ApiError."""
    from everwatch.cli.support.api_connection import api_client
    from everwatch.client import ApiError

    with api_client(settings) as client:
        try:
            client.remove_operator(name)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
    return True
