"""Routes of API tokens, of operators with a password and of login links."""

from everwatch.api.access_views import (
    CreatedToken,
    LoginLinkBody,
    LoginLinkView,
    OperatorBody,
    OperatorList,
    OperatorView,
    RoleList,
    TokenBody,
    TokenList,
)
from everwatch.api.operator_routes import OperatorRoutes
from everwatch.api.queries import ShortList
from everwatch.api.routes.parts import ADMIN
from everwatch.api.routing import Example, Route
from everwatch.api.token_routes import TokenRoutes


def token_routes(tokens: TokenRoutes, operators: OperatorRoutes) -> list[Route]:
    """Return the routes of API tokens, of operators with a password and of login links."""
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
        Route(
            method="GET",
            path="/v1/operators",
            permission=ADMIN,
            handler=operators.list,
            summary="List operators who log in with a password.",
            answers={200: Example(OperatorList, "The operators, by name.")},
        ),
        Route(
            method="PUT",
            path="/v1/operators/{operator}",
            permission=ADMIN,
            handler=operators.put,
            summary="Add an operator, or change role or password; a change ends the operator's sessions.",
            audited="put_operator",
            body=OperatorBody,
            answers={
                200: Example(OperatorView, "The operator was changed."),
                201: Example(OperatorView, "The operator was added."),
            },
        ),
        Route(
            method="DELETE",
            path="/v1/operators/{operator}",
            permission=ADMIN,
            handler=operators.remove,
            summary="Remove an operator, and end the operator's sessions.",
            audited="remove_operator",
            answers={204: Example(None, "It is removed.")},
        ),
        Route(
            method="POST",
            path="/v1/login-links",
            permission=ADMIN,
            handler=operators.link,
            summary="Make a link that logs a browser in to the console: once, within ten minutes.",
            audited="create_login_link",
            body=LoginLinkBody,
            answers={201: Example(LoginLinkView, "The link, shown this once.")},
        ),
    ]
