"""Routes of status pages."""

from everwatch.api.address_views import OperatorPages, StatusPageView
from everwatch.api.badge_drawing import SVG
from everwatch.api.permissions import BY_KEY, OPEN
from everwatch.api.routes.parts import READ_USER, READ_WHOLE, USER
from everwatch.api.routing import Example, Route
from everwatch.api.status_drawing import HTML
from everwatch.api.status_pages import ATOM, ROOT_BADGE, ROOT_FEED, StatusPages
from everwatch.api.subscribing import LONGEST_FORM, SUBSCRIBE, SUBSCRIPTION, Subscribing

_SAID = {200: Example(str, "A page that says what follows.")}


def _of_subscribers(subscribing: Subscribing) -> list[Route]:
    form = "application/x-www-form-urlencoded"
    changes = (("/confirm", subscribing.confirm, "Begin"), ("/end", subscribing.end, "End"))
    return [
        Route(
            method="POST",
            path=SUBSCRIBE,
            permission=OPEN,
            handler=subscribing.subscribe,
            summary="Ask for news of the status page whose domain this is.",
            raw=True,
            accepts=form,
            body_limit=LONGEST_FORM,
            answers=_SAID,
            documented=False,
        ),
        Route(
            method="GET",
            path=f"{SUBSCRIPTION}{{key}}",
            permission=BY_KEY,
            handler=subscribing.show,
            summary="Ask whether a subscription is wanted.",
            answers=_SAID,
            documented=False,
            any_query=True,
        ),
        *(
            Route(
                method="POST",
                path=f"{SUBSCRIPTION}{{key}}{what}",
                permission=BY_KEY,
                handler=handler,
                summary=f"{word} a subscription to a status page.",
                raw=True,
                accepts=form,
                body_limit=LONGEST_FORM,
                answers=_SAID,
                documented=False,
                any_query=True,
            )
            for what, handler, word in changes
        ),
    ]


def status_page_routes(pages: StatusPages, subscribing: Subscribing) -> list[Route]:
    """Return the routes of status pages."""
    return [
        *_of_subscribers(subscribing),
        Route(
            method="GET",
            path=f"{USER}/status-page",
            permission=READ_USER,
            handler=pages.key,
            summary="Show the URLs of a user's status page, feed and badge, which show its monitors without a token.",
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
            path=ROOT_BADGE,
            permission=OPEN,
            handler=pages.root_badge,
            summary="The badge of the status page whose domain this is.",
            answers={200: Example(bytes, "SVG.")},
            documented=False,
            any_query=True,
        ),
        Route(
            method="GET",
            path="/status/{key}.svg",
            permission=BY_KEY,
            handler=pages.badge,
            summary="A badge of a status page: its title, and how many of its monitors are down.",
            answers={200: Example(bytes, "SVG.")},
            media_type=SVG,
            knows_readers=True,
            refusals=(401, 403),
        ),
        Route(
            method="GET",
            path="/status/{key}.atom",
            permission=BY_KEY,
            handler=pages.atom,
            summary="The outages of a status page as a feed.",
            answers={200: Example(str, "Atom (RFC 4287).")},
            media_type=ATOM,
            knows_readers=True,
            refusals=(401, 403),
        ),
        Route(
            method="GET",
            path="/status/{key}",
            permission=BY_KEY,
            handler=pages.html,
            summary="A user's status page by its key, or one of operators by its slug or its key.",
            answers={
                200: Example(str, "HTML, without scripts."),
                303: Example(None, "Only people who are signed in may read it: to the console's page for signing in."),
            },
            media_type=HTML,
            knows_readers=True,
            refusals=(403,),
        ),
    ]
