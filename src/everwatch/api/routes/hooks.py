"""Routes of webhooks in, and of a user's metrics."""

from everwatch.api.address_views import HookView
from everwatch.api.hooks import Hooks
from everwatch.api.permissions import BY_KEY, Permission, Reach, Scope
from everwatch.api.routes.parts import READ_USER, USER
from everwatch.api.routing import Example, Route
from everwatch.api.user_metrics import TEXT, UserMetrics
from everwatch.api.views import Accepted


def hook_routes(hooks: Hooks, metrics: UserMetrics) -> list[Route]:
    """Return the routes of webhooks in, and of a user's metrics."""
    return [
        Route(
            method="POST",
            path="/hooks/{key}",
            permission=BY_KEY,
            handler=hooks.take,
            summary='Take signals from a webhook: Alertmanager\'s, or {"signals": […]}.',
            raw=True,
            accepts="application/json",
            answers={202: Example(Accepted, "All of them are durable; workers judge them later.")},
            refusals=(404, 422),
        ),
        Route(
            method="GET",
            path=f"{USER}/hook",
            permission=Permission(Scope.SIGNAL, Reach.USER),
            handler=hooks.key,
            summary="Show where a user's monitors take webhooks.",
            answers={200: Example(HookView, "The address.")},
        ),
        Route(
            method="GET",
            path=f"{USER}/metrics",
            permission=READ_USER,
            handler=metrics.show,
            summary="A user's monitors for Prometheus.",
            answers={200: Example(str, "Prometheus' text format.")},
            media_type=TEXT,
        ),
    ]
