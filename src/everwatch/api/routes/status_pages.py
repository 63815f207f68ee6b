"""Routes of status pages."""

from everwatch.api.permissions import BY_KEY, OPEN
from everwatch.api.routes.parts import READ_USER, READ_WHOLE, USER
from everwatch.api.routing import Example, Route
from everwatch.api.status_pages import ATOM, HTML, ROOT_FEED, OperatorPages, StatusPages, StatusPageView


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
            path="/v1/status-pages",
            permission=READ_WHOLE,
            handler=pages.list,
            summary="List the status pages of operators.",
            answers={200: Example(OperatorPages, "The pages, as EVERWATCH_STATUS_FILE has them.")},
        ),
        Route(
            method="GET",
            path="/",
            permission=OPEN,
            handler=pages.root,
            summary="Go to the console; at the domain of an operators' status page, that page.",
            answers={200: Example(bytes, "The page."), 308: Example(None, "The console is there.")},
            documented=False,
            any_query=True,
        ),
        Route(
            method="GET",
            path=ROOT_FEED,
            permission=OPEN,
            handler=pages.root_atom,
            summary="The feed of the status page whose domain this is.",
            answers={200: Example(str, "Atom (RFC 4287).")},
            documented=False,
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
            summary="A user's status page by its key, or one of operators by its slug.",
            answers={200: Example(str, "HTML, without scripts.")},
            media_type=HTML,
        ),
    ]
