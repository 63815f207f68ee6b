"""Routes of badges."""

from everwatch.api.address_views import BadgeView
from everwatch.api.badge_drawing import SVG
from everwatch.api.badges import BadgeJson, BadgeQuery, Badges
from everwatch.api.permissions import BY_KEY
from everwatch.api.routes.parts import MONITOR, READ_USER
from everwatch.api.routing import Example, Route


def badge_routes(badges: Badges) -> list[Route]:
    """Return the routes of badges."""
    return [
        Route(
            method="GET",
            path=f"{MONITOR}/badge",
            permission=READ_USER,
            handler=badges.key,
            summary="Show the URL of a monitor's badge, which shows its state without a token.",
            answers={200: Example(BadgeView, "The paths.")},
        ),
        Route(
            method="GET",
            path="/badge/{key}.svg",
            permission=BY_KEY,
            handler=badges.svg,
            summary="A monitor's badge as a picture.",
            query=BadgeQuery,
            answers={200: Example(str, "SVG.")},
            media_type=SVG,
        ),
        Route(
            method="GET",
            path="/badge/{key}.json",
            permission=BY_KEY,
            handler=badges.as_json,
            summary="A monitor's badge as what shields.io draws.",
            query=BadgeQuery,
            answers={200: Example(BadgeJson, "The badge.")},
        ),
    ]
