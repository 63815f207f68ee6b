"""Routes of API tokens."""

from everwatch.api.queries import ShortList
from everwatch.api.routes.parts import ADMIN
from everwatch.api.routing import Example, Route
from everwatch.api.token_routes import CreatedToken, RoleList, TokenBody, TokenList, TokenRoutes


def token_routes(tokens: TokenRoutes) -> list[Route]:
    """Return the routes of API tokens."""
    return [
        Route(
            method="GET",
            path="/v1/tokens",
            permission=ADMIN,
            handler=tokens.list,
            summary="List tokens.",
            query=ShortList,
            answers={200: Example(TokenList, "A page of the stored tokens, without what they are.")},
        ),
        Route(
            method="GET",
            path="/v1/roles",
            permission=ADMIN,
            handler=tokens.roles,
            summary="List roles with their scopes.",
            answers={200: Example(RoleList, "The roles; 'secrets' is a scope of tokens alone.")},
        ),
        Route(
            method="POST",
            path="/v1/tokens",
            permission=ADMIN,
            handler=tokens.create,
            summary="Make a token; it is shown this once.",
            audited="create_token",
            body=TokenBody,
            answers={201: Example(CreatedToken, "The token.")},
        ),
        Route(
            method="DELETE",
            path="/v1/tokens/{token_id}",
            permission=ADMIN,
            handler=tokens.revoke,
            summary="Revoke a token.",
            audited="revoke_token",
            answers={204: Example(None, "It is revoked.")},
        ),
    ]
