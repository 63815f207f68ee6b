"""Routes of pings and signals."""

from everwatch.api.bodies import SignalsBody
from everwatch.api.permissions import BY_KEY, Permission, Reach, Scope
from everwatch.api.routes.parts import USER
from everwatch.api.routing import Example, Route
from everwatch.api.signals import PING_BODY_LIMIT, PingQuery, Signals
from everwatch.api.views import Accepted, PingKeyView

PING = "/ping/{key}/{slug}"


def signal_routes(signals: Signals) -> list[Route]:
    """Return the routes of pings and signals."""
    answers = {
        200: Example(str, "The signal is durable."),
        201: Example(str, "The monitor was created, and the signal is durable."),
    }
    pings = [
        Route(
            method=method,
            path=path,
            permission=BY_KEY,
            handler=signals.ping,
            summary=summary,
            query=PingQuery,
            raw=True,
            body_limit=PING_BODY_LIMIT,
            answers=answers,
            media_type="text/plain",
            accepts="*/*",
            has_head=False,
        )
        for path, summary in (
            (PING, "Tell that a job is alive and well."),
            (
                f"{PING}/{{what}}",
                "Tell that a job begins (start), failed (fail), ended with an exit code (0 to 255), or prints (log).",
            ),
        )
        for method in ("GET", "HEAD", "POST")
    ]
    return [
        *pings,
        Route(
            method="GET",
            path=f"{USER}/ping-key",
            permission=Permission(Scope.SIGNAL, Reach.USER),
            handler=signals.key,
            summary="Show the key of a user's ping URLs.",
            answers={200: Example(PingKeyView, "The key.")},
        ),
        Route(
            method="POST",
            path="/v1/signals",
            permission=Permission(Scope.SIGNAL, Reach.NARROWED),
            handler=signals.post,
            summary="Send signals of jobs, and values.",
            body=SignalsBody,
            answers={202: Example(Accepted, "All of them are durable; workers judge them later.")},
        ),
    ]
