"""Routes of what the notifier did."""

from everwatch.api.alerting import (
    Alerting,
    ChannelsQuery,
    ChannelView,
    DeliveriesQuery,
    DeliveryView,
    IncidentsQuery,
    Listed,
    NotificationsView,
)
from everwatch.api.routes.parts import MONITOR, READ_LIST, READ_USER
from everwatch.api.routing import Example, Route
from everwatch.notifier.incidents import Incident


def alert_routes(alerting: Alerting) -> list[Route]:
    """Return the routes of what the notifier did."""
    return [
        Route(
            method="GET",
            path="/v1/incidents",
            permission=READ_LIST,
            handler=alerting.incidents,
            summary="List incidents that are not closed.",
            query=IncidentsQuery,
            answers={200: Example(Listed[Incident], "The incidents, by user and monitor.")},
        ),
        Route(
            method="GET",
            path="/v1/deliveries",
            permission=READ_LIST,
            handler=alerting.deliveries,
            summary="List messages to receivers of alerts.",
            query=DeliveriesQuery,
            answers={200: Example(Listed[DeliveryView], "The messages, the latest first.")},
        ),
        Route(
            method="GET",
            path="/v1/channels",
            permission=READ_LIST,
            handler=alerting.channels,
            summary="List addresses that were given up, because nothing sent there arrives.",
            query=ChannelsQuery,
            answers={200: Example(Listed[ChannelView], "The addresses.")},
        ),
        Route(
            method="GET",
            path=f"{MONITOR}/notifications",
            permission=READ_USER,
            handler=alerting.of_monitor,
            summary="Show whom a monitor's newest changes were told to, or why nobody was told.",
            answers={200: Example(NotificationsView, "The changes, the latest first.")},
        ),
    ]
