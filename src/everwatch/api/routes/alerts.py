"""Routes of what the notifier did."""

from everwatch.api.ack_pages import AckPages
from everwatch.api.alerting import Alerting, IncidentsQuery
from everwatch.api.incident_views import (
    CommentBody,
    IncidentDetail,
    IncidentView,
    Listed,
    NotificationsView,
    SharedIncidentsView,
    SnoozeBody,
)
from everwatch.api.incident_writes import IncidentWrites
from everwatch.api.notifier_requests import NotifierRequests
from everwatch.api.notifier_views import (
    ChannelsQuery,
    ChannelView,
    ContactsAskedBody,
    ContactTestBody,
    ContactView,
    DeliveriesQuery,
    DeliveryDetail,
    DeliveryView,
    ReplayBody,
    ReplayView,
    RoutesQuery,
    RouteTestBody,
    RouteView,
    VerifyBody,
)
from everwatch.api.permissions import BY_KEY, Permission, Reach, Scope
from everwatch.api.route_listing import RouteListing
from everwatch.api.routes.parts import MONITOR, NOTIFY_USER, READ_LIST, READ_USER, READ_WHOLE, USER
from everwatch.api.routing import Example, Route
from everwatch.api.subscribing import LONGEST_FORM
from everwatch.notifier.ack_links import PATH
from everwatch.notifier.comments import IncidentComment

_SEEN = {
    200: Example(IncidentView, "The incident, as it is now."),
    202: Example(IncidentView, "It is kept; the notifier has not read it yet."),
}
_INCIDENT = "/v1/incidents/{incident_id}"
_NOTIFY = Permission(Scope.NOTIFY, Reach.NARROWED)


def alert_routes(alerting: Alerting, listing: RouteListing, writes: IncidentWrites) -> list[Route]:
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
        *_of_one_incident(writes),
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
            path="/v1/deliveries/{delivery_id}",
            permission=READ_LIST,
            handler=alerting.delivery,
            summary="Show a message to a receiver of alerts, with its lines.",
            answers={200: Example(DeliveryDetail, "The message.")},
        ),
        Route(
            method="GET",
            path="/v1/routes",
            permission=READ_LIST,
            handler=listing.list,
            summary="List the routes of the rules: whether each reaches a user or takes a monitor's alert, or why not.",
            query=RoutesQuery,
            answers={200: Example(Listed[RouteView], "The routes, in the order in which they are tried.")},
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
        *_acknowledging(MONITOR, NOTIFY_USER, writes, "a monitor's open incident"),
    ]


def _acknowledging(path: str, permission: Permission, writes: IncidentWrites, what: str) -> list[Route]:
    return [
        Route(
            method="POST",
            path=f"{path}/ack",
            permission=permission,
            handler=writes.acknowledge,
            summary=f"Acknowledge {what}: no reminders any more, and no escalation.",
            audited="ack",
            answers=_SEEN,
            command=True,
            claims_key=True,
        ),
        Route(
            method="DELETE",
            path=f"{path}/ack",
            permission=permission,
            handler=writes.withdraw,
            summary=f"Take the acknowledgement or snooze of {what} back.",
            audited="withdraw_ack",
            answers=_SEEN,
            command=True,
            claims_key=True,
        ),
        Route(
            method="POST",
            path=f"{path}/snooze",
            permission=permission,
            handler=writes.snooze,
            summary=f"Send no alert of {what} but its end for a while, then a reminder.",
            audited="snooze",
            body=SnoozeBody,
            answers=_SEEN,
            command=True,
            claims_key=True,
        ),
    ]


def _of_one_incident(writes: IncidentWrites) -> list[Route]:
    return [
        Route(
            method="GET",
            path=_INCIDENT,
            permission=READ_LIST,
            handler=writes.show,
            summary="Show an incident, open or over, with its comments; the newest one of each monitor is kept.",
            answers={200: Example(IncidentDetail, "The incident.")},
        ),
        *_acknowledging(_INCIDENT, _NOTIFY, writes, "an incident"),
        Route(
            method="POST",
            path=f"{_INCIDENT}/resolve",
            permission=_NOTIFY,
            handler=writes.resolve,
            summary="End an incident by hand: no more messages about it, until its monitor recovers and fails again.",
            audited="resolve",
            answers=_SEEN,
            command=True,
            claims_key=True,
        ),
        Route(
            method="POST",
            path=f"{_INCIDENT}/comments",
            permission=_NOTIFY,
            handler=writes.comment,
            summary="Write something on an incident, open or over.",
            audited="comment",
            body=CommentBody,
            answers={
                201: Example(IncidentComment, "The comment."),
                202: Example(IncidentComment, "It is kept; the notifier has not read it yet."),
            },
            command=True,
            claims_key=True,
        ),
    ]


def notifier_request_routes(requests: NotifierRequests) -> list[Route]:
    """Return the routes of what else the notifier is asked for."""
    contacts = Example(Listed[ContactView], "The addresses.")
    return [
        Route(
            method="POST",
            path="/v1/deliveries/replay",
            permission=_NOTIFY,
            handler=requests.replay,
            summary="Send messages again that were given up, or that a receiver has lost; each under its own id.",
            audited="replay",
            body=ReplayBody,
            answers={
                200: Example(ReplayView, "How many it would be."),
                202: Example(ReplayView, "How many it is; the notifier sends them."),
            },
        ),
        Route(
            method="GET",
            path=f"{USER}/contacts",
            permission=READ_USER,
            handler=requests.contacts,
            summary="List mail addresses and numbers of a user that are or are to be verified.",
            answers={200: contacts},
        ),
        Route(
            method="POST",
            path=f"{USER}/contacts/verify",
            permission=NOTIFY_USER,
            handler=requests.verify,
            summary="Confirm the mail addresses and numbers of a user that were sent a code.",
            audited="verify_contact",
            body=VerifyBody,
            answers={200: contacts, 202: Example(Listed[ContactView], "It is kept; the notifier has not read it yet.")},
            command=True,
            claims_key=True,
        ),
        Route(
            method="POST",
            path=f"{USER}/contacts/test",
            permission=NOTIFY_USER,
            handler=requests.test_contacts,
            summary="Send a test message to a user by each route that reaches them, or by one.",
            audited="test_contact",
            body=ContactTestBody,
            answers={
                200: Example(Listed[DeliveryView], "Where each message went."),
                202: Example(Listed[DeliveryView], "It is kept; not all messages have been sent yet."),
            },
            command=True,
            claims_key=True,
        ),
        Route(
            method="POST",
            path=f"{USER}/contacts/ask",
            permission=Permission(Scope.NOTIFY, Reach.WHOLE),
            handler=requests.ask_contacts,
            summary="Send new codes to the addresses of a user that are not verified, or take these as verified.",
            audited="ask_contacts",
            body=ContactsAskedBody,
            answers={202: Example(None, "It is kept; the notifier does it.")},
        ),
        Route(
            method="POST",
            path="/v1/routes/test",
            permission=Permission(Scope.NOTIFY, Reach.WHOLE),
            handler=requests.test_operators,
            summary="Send operators a test message by each of their routes, or by one.",
            audited="test_route",
            body=RouteTestBody,
            answers={
                200: Example(Listed[DeliveryView], "Where each message went."),
                202: Example(Listed[DeliveryView], "It is kept; not all messages have been sent yet."),
            },
            command=True,
            claims_key=True,
        ),
    ]


def ack_link_routes(pages: AckPages) -> list[Route]:
    """Return the routes of links in messages."""
    page = {200: Example(str, "A page."), 410: Example(str, "A page that says that the link is over.")}
    return [
        Route(
            method="GET",
            path=f"{PATH}{{key}}",
            permission=BY_KEY,
            handler=pages.show,
            summary="Ask whether to acknowledge the incidents of a message.",
            answers=page,
            documented=False,
            any_query=True,
        ),
        Route(
            method="POST",
            path=f"{PATH}{{key}}",
            permission=BY_KEY,
            handler=pages.acknowledge,
            summary="Acknowledge the incidents of a message.",
            raw=True,
            accepts="application/x-www-form-urlencoded",
            body_limit=LONGEST_FORM,
            answers=page,
            audited="ack",
            documented=False,
            any_query=True,
        ),
    ]
