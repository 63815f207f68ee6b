"""Routes of the console's sessions, and of the token itself."""

from everwatch.api.access_views import MeView
from everwatch.api.login_routes import LoginBody, LoginOptions, LoginQuery, LoginRoutes, LogoutView
from everwatch.api.oidc_provider import CALLBACK, OIDC
from everwatch.api.oidc_routes import OidcAnswer, OidcBegin, OidcRoutes
from everwatch.api.password_routes import PasswordBody, PasswordRoutes
from everwatch.api.permissions import ANY_TOKEN, OPEN
from everwatch.api.routing import Example, Route


def login_routes(logins: LoginRoutes, passwords: PasswordRoutes, oidc: OidcRoutes) -> list[Route]:
    """Return the routes of the console's sessions, and of the token itself."""
    return [
        Route(
            method="GET",
            path="/login",
            permission=OPEN,
            handler=logins.by_link,
            summary="Log a browser in by a one-time link.",
            audited="login",
            query=LoginQuery,
            answers={303: Example(None, "To the console, with its cookie or without.")},
            documented=False,
            # what looks at a link without opening it must not use it up
            has_head=False,
        ),
        Route(
            method="POST",
            path="/login",
            permission=OPEN,
            handler=logins.by_token,
            summary="Log a page of the console in with a token: the answer sets a cookie.",
            audited="login",
            body=LoginBody,
            answers={204: Example(None, "The session has begun.")},
            same_origin=True,
        ),
        Route(
            method="POST",
            path="/login/password",
            permission=OPEN,
            handler=passwords.log_in,
            summary="Log a page of the console in with an operator's name and password: the answer sets a cookie.",
            audited="login",
            body=PasswordBody,
            answers={204: Example(None, "The session has begun.")},
            refusals=(401, 429),
            same_origin=True,
        ),
        Route(
            method="GET",
            path=OIDC,
            permission=OPEN,
            handler=oidc.begin,
            summary="Send a browser to the identity provider to log in.",
            audited="login",
            query=OidcBegin,
            answers={303: Example(None, "To the provider, or to the console with an error.")},
            documented=False,
            has_head=False,
        ),
        Route(
            method="GET",
            path=CALLBACK,
            permission=OPEN,
            handler=oidc.end,
            summary="Log a browser in that comes back from the identity provider.",
            audited="login",
            query=OidcAnswer,
            answers={303: Example(None, "To the console, with its cookie or with an error.")},
            documented=False,
            has_head=False,
        ),
        Route(
            method="GET",
            path="/login/options",
            permission=OPEN,
            handler=logins.options,
            summary="Show which ways there are to log in besides tokens and links.",
            answers={200: Example(LoginOptions, "What the console's page offers.")},
        ),
        Route(
            method="POST",
            path="/logout",
            permission=ANY_TOKEN,
            handler=logins.logout,
            summary="End the session of the cookie; nothing ends a token but its revocation.",
            audited="logout",
            answers={
                200: Example(LogoutView, "The session is over; the browser may end that at the identity provider too."),
                204: Example(None, "The session is over."),
            },
        ),
        Route(
            method="GET",
            path="/v1/me",
            permission=ANY_TOKEN,
            handler=logins.me,
            summary="Show who asks: the role, what it may do, and the user that it is limited to.",
            answers={200: Example(MeView, "The token.")},
        ),
    ]
