"""The route of live events."""

from everwatch.api.edge import EVENT_STREAM
from everwatch.api.live import Live
from everwatch.api.queries import LiveQuery
from everwatch.api.routes.parts import READ_LIST
from everwatch.api.routing import Example, Route


def live_routes(live: Live) -> list[Route]:
    """Return the route of live events."""
    return [
        Route(
            method="GET",
            path="/v1/live",
            permission=READ_LIST,
            handler=live.stream,
            summary="Stream results and transitions as they come (server-sent events), at most 50 a second.",
            query=LiveQuery,
            answers={200: Example(str, "Events named result, transition and dropped.")},
            media_type=EVENT_STREAM,
            streams=True,
        ),
    ]
