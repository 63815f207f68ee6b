"""Routes of what the notifier did."""

from everwatch.api.alerting import (
    Alerting,
    ChannelsQuery,
    ChannelView,
    DeliveriesQuery,
    DeliveryView,
    IncidentsQuery,
    NotificationsView,
)
from everwatch.api.incident_views import IncidentView, Listed, SharedIncidentsView, SnoozeBody
from everwatch.api.incident_writes import IncidentWrites
from everwatch.api.routes.parts import MONITOR, READ_LIST, READ_USER, READ_WHOLE, RUN_USER
from everwatch.api.routing import Example, Route

_SEEN = {
    200: Example(IncidentView, "The incident, as it is now."),
    202: Example(IncidentView, "It is kept; the notifier has not read it yet."),
}


def alert_routes(alerting: Alerting, writes: IncidentWrites) -> list[Route]:
    """Return the routes of what the notifier did."""
    return [
        Route(
            method="GET",
            path="/v1/incidents",
            permission=READ_LIST,
            handler=alerting.incidents,
            summary="List incidents that are not closed.",
            query=IncidentsQuery,
            answers={200: Example(Listed[IncidentView], "The incidents, by user and monitor.")},
        ),
        Route(
            method="GET",
            path="/v1/incidents/shared",
            permission=READ_WHOLE,
            handler=alerting.shared,
            summary="List open incidents of many monitors: of targets, and of executors.",
            answers={200: Example(SharedIncidentsView, "The incidents.")},
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
            summary="Show which alerts of a monitor's newest changes were sent to whom, or why none was sent.",
            answers={200: Example(NotificationsView, "The changes, the latest first.")},
        ),
        Route(
            method="POST",
            path=f"{MONITOR}/ack",
            permission=RUN_USER,
            handler=writes.acknowledge,
            summary="Acknowledge a monitor's open incident: no reminders any more, and no escalation.",
            audited="ack",
            answers=_SEEN,
            command=True,
        ),
        Route(
            method="DELETE",
            path=f"{MONITOR}/ack",
            permission=RUN_USER,
            handler=writes.withdraw,
            summary="Take the acknowledgement or snooze of a monitor's open incident back.",
            audited="withdraw_ack",
            answers=_SEEN,
            command=True,
        ),
        Route(
            method="POST",
            path=f"{MONITOR}/snooze",
            permission=RUN_USER,
            handler=writes.snooze,
            summary="Send no alert of a monitor's open incident but its end for a while, then a reminder.",
            audited="snooze",
            body=SnoozeBody,
            answers=_SEEN,
            command=True,
        ),
    ]
