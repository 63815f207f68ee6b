"""Routes of status pages."""

from everwatch.api.permissions import BY_KEY
from everwatch.api.routes.parts import READ_USER, USER
from everwatch.api.routing import Example, Route
from everwatch.api.status_pages import ATOM, HTML, StatusPages, StatusPageView


def status_page_routes(pages: StatusPages) -> list[Route]:
    """Return the routes of status pages."""
    return [
        Route(
            method="GET",
            path=f"{USER}/status-page",
            permission=READ_USER,
            handler=pages.key,
            summary="Show where a user's status page is: whoever knows it sees how the user's monitors are.",
            answers={200: Example(StatusPageView, "The paths.")},
        ),
        Route(
            method="GET",
            path="/status/{key}.atom",
            permission=BY_KEY,
            handler=pages.atom,
            summary="The outages of a status page as a feed.",
            answers={200: Example(str, "Atom (RFC 4287).")},
            media_type=ATOM,
        ),
        Route(
            method="GET",
            path="/status/{key}",
            permission=BY_KEY,
            handler=pages.html,
            summary="A user's status page: states, 90 days of availability, outages, maintenance.",
            answers={200: Example(str, "HTML, without scripts.")},
            media_type=HTML,
        ),
    ]
