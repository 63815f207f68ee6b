"""Incidents, silences, messages and addresses, as the client asks for them."""

from uuid import uuid4

import msgspec

from everwatch.api.incident_views import (
    CommentBody,
    IncidentDetail,
    IncidentView,
    Listed,
    NotificationsView,
    SelectorBody,
    SharedIncidentsView,
    SilenceBody,
    SilencePreview,
    SnoozeBody,
)
from everwatch.api.notifier_views import (
    ChannelView,
    ContactsAskedBody,
    ContactTestBody,
    ContactView,
    DeliveriesQuery,
    DeliveryDetail,
    DeliveryView,
    ReplayBody,
    ReplayView,
    RouteTestBody,
    RouteView,
    VerifyBody,
)
from everwatch.client.api_calls import ApiCalls, CommandAbout, decoded, monitor_place
from everwatch.client.requests import ApiRequest, command, place, read
from everwatch.notifier.comments import IncidentComment
from everwatch.notifier.silences import AlertSilence, Selector

EVERY_DELIVERY = DeliveriesQuery()


class NotifierCalls(ApiCalls):
    """Methods for messages, routes, contacts, incidents and silences."""

    async def incidents(self, user_id: str = "", limit: int = 100, phase: str = "") -> Listed[IncidentView]:
        """Return incidents that are not closed, of a user or of all; ``phase``: only open or flapping ones."""
        return await self.get("/v1/incidents", Listed[IncidentView], user=user_id, limit=limit, phase=phase)

    async def shared_incidents(self) -> SharedIncidentsView:
        """Return open incidents of many monitors: of targets, and of executors."""
        return await self.get("/v1/incidents/shared", SharedIncidentsView)

    async def acknowledge(
        self, user_id: str, monitor_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """Acknowledge a monitor's open incident; ``ack`` of the answer is null while no notifier has read it."""
        return await self._about_incident("POST", CommandAbout("ack", user_id, monitor_id), None, command_id, wait_s)

    async def withdraw_ack(
        self, user_id: str, monitor_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """Take the acknowledgement or snooze of a monitor's open incident back."""
        return await self._about_incident("DELETE", CommandAbout("ack", user_id, monitor_id), None, command_id, wait_s)

    async def snooze(
        self, user_id: str, monitor_id: str, for_: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """Send no alert of a monitor's open incident but its end for a duration such as ``2h``."""
        body = SnoozeBody(for_=for_)
        return await self._about_incident("POST", CommandAbout("snooze", user_id, monitor_id), body, command_id, wait_s)

    async def incident(self, incident_id: str) -> IncidentDetail:
        """Return an incident, open or over, with its comments."""
        return await self.get(place("incidents", incident_id), IncidentDetail)

    async def acknowledge_incident(
        self, incident_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """Acknowledge an incident by its id."""
        return await self._of_incident("POST", incident_id, "ack", None, command_id, wait_s)

    async def withdraw_incident_ack(
        self, incident_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """Take the acknowledgement or snooze of an incident back."""
        return await self._of_incident("DELETE", incident_id, "ack", None, command_id, wait_s)

    async def snooze_incident(
        self, incident_id: str, for_: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """Send no alert of an incident but its end for a duration such as ``2h``."""
        return await self._of_incident("POST", incident_id, "snooze", SnoozeBody(for_=for_), command_id, wait_s)

    async def resolve_incident(
        self, incident_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentView:
        """End an incident by hand: no more messages about it, until its monitor recovers and fails again."""
        wait_s = self._wait_s if wait_s is None else wait_s
        path = place("incidents", incident_id, "resolve")
        sent = command("POST", path, command_id or uuid4().hex, user_id="", wait_s=wait_s)
        return decoded(await self._transport.send(sent), IncidentView)

    async def comment_incident(
        self, incident_id: str, text: str, *, command_id: str = "", wait_s: float | None = None
    ) -> IncidentComment:
        """Write something on an incident, open or over."""
        wait_s = self._wait_s if wait_s is None else wait_s
        path, body = place("incidents", incident_id, "comments"), CommentBody(text)
        sent = command("POST", path, command_id or uuid4().hex, user_id="", body=body, wait_s=wait_s)
        return decoded(await self._transport.send(sent), IncidentComment)

    async def routes(self, user_id: str = "", monitor_id: str = "") -> Listed[RouteView]:
        """Return the routes of the notification rules, in the order in which they are tried.

        ``user_id``: with whether each reaches this user, and why not. ``monitor_id``: with whether each takes an alert
        of this monitor of the user.
        """
        return await self.get("/v1/routes", Listed[RouteView], user=user_id, monitor=monitor_id)

    async def delivery(self, delivery_id: str) -> DeliveryDetail:
        """Return a message to a receiver of alerts, with its lines."""
        return await self.get(place("deliveries", delivery_id), DeliveryDetail)

    async def notifications(self, user_id: str, monitor_id: str) -> NotificationsView:
        """Return which alerts of a monitor's newest changes were sent, or why none was."""
        path = monitor_place(user_id, monitor_id, "notifications")
        return await self.get(path, NotificationsView, user_id=user_id)

    async def send_operators_test(self, route: str = "", *, wait_s: float | None = None) -> Listed[DeliveryView]:
        """Send operators a test message by each of their routes, or by one; return the outcomes."""
        wait_s = self._wait_s if wait_s is None else wait_s
        body = RouteTestBody(route)
        sent = command("POST", "/v1/routes/test", uuid4().hex, user_id="", body=body, wait_s=wait_s)
        return decoded(await self._transport.send(sent), Listed[DeliveryView])

    async def ask_contacts(self, user_id: str, *, trust: bool = False) -> None:
        """Send new codes to a user's addresses that are not verified; ``trust``: take these as verified."""
        body = msgspec.json.encode(ContactsAskedBody(trust))
        path = place("users", user_id, "contacts", "ask")
        await self._transport.send(ApiRequest(method="POST", path=path, user_id=user_id, body=body))

    async def deliveries(self, query: DeliveriesQuery = EVERY_DELIVERY) -> Listed[DeliveryView]:
        """Return messages to receivers of alerts, the latest first."""
        answer = await self._transport.send(read("/v1/deliveries", query))
        return decoded(answer, Listed[DeliveryView])

    async def channels(self, user_id: str = "") -> Listed[ChannelView]:
        """Return addresses that were given up; ``user_id``: of one user."""
        return await self.get("/v1/channels", Listed[ChannelView], user=user_id)

    async def contacts(self, user_id: str) -> Listed[ContactView]:
        """Return a user's mail addresses and numbers that are or are to be verified."""
        return await self.get(place("users", user_id, "contacts"), Listed[ContactView], user_id=user_id)

    async def verify_contact(self, user_id: str, code: str, *, wait_s: float | None = None) -> Listed[ContactView]:
        """Confirm the addresses of a user that were sent this code."""
        wait_s = self._wait_s if wait_s is None else wait_s
        path = place("users", user_id, "contacts", "verify")
        sent = command("POST", path, uuid4().hex, user_id=user_id, body=VerifyBody(code), wait_s=wait_s)
        return decoded(await self._transport.send(sent), Listed[ContactView])

    async def send_test(self, user_id: str, route: str = "", *, wait_s: float | None = None) -> Listed[DeliveryView]:
        """Send a test message to a user by each route that reaches them, or by one; return the outcomes."""
        wait_s = self._wait_s if wait_s is None else wait_s
        path = place("users", user_id, "contacts", "test")
        sent = command("POST", path, uuid4().hex, user_id=user_id, body=ContactTestBody(route), wait_s=wait_s)
        return decoded(await self._transport.send(sent), Listed[DeliveryView])

    async def replay_deliveries(self, body: ReplayBody) -> int:
        """Send messages again; returns how many."""
        sent = ApiRequest(method="POST", path="/v1/deliveries/replay", body=msgspec.json.encode(body))
        return decoded(await self._transport.send(sent), ReplayView).messages

    async def silences(self) -> Listed[AlertSilence]:
        """Return silences that are on or ahead."""
        return await self.get("/v1/silences", Listed[AlertSilence])

    async def preview_silence(self, match: Selector) -> SilencePreview:
        """Return which monitors and open incidents a silence would be about."""
        body = msgspec.json.encode(SelectorBody(match))
        sent = ApiRequest(method="POST", path="/v1/silences/preview", body=body, is_repeatable=True, takes_s=35.0)
        return decoded(await self._transport.send(sent), SilencePreview)

    async def create_silence(
        self, body: SilenceBody, *, command_id: str = "", wait_s: float | None = None
    ) -> AlertSilence:
        """Send no alerts of the monitors that a selector has, for a while."""
        wait_s = self._wait_s if wait_s is None else wait_s
        sent = command("POST", "/v1/silences", command_id or uuid4().hex, user_id="", body=body, wait_s=wait_s)
        return decoded(await self._transport.send(sent), AlertSilence)

    async def end_silence(self, silence_id: str, *, wait_s: float | None = None) -> AlertSilence:
        """End a silence; alerts go out for monitors that are still down."""
        wait_s = self._wait_s if wait_s is None else wait_s
        sent = command("DELETE", place("silences", silence_id), uuid4().hex, user_id="", wait_s=wait_s)
        return decoded(await self._transport.send(sent), AlertSilence)

    async def _about_incident(
        self,
        method: str,
        about: CommandAbout,
        body: SnoozeBody | None,
        command_id: str,
        wait_s: float | None,
    ) -> IncidentView:
        wait_s = self._wait_s if wait_s is None else wait_s
        what, user_id, monitor_id = about
        path, command_id = monitor_place(user_id, monitor_id, what), command_id or uuid4().hex
        sent = command(method, path, command_id, user_id=user_id, body=body, wait_s=wait_s)
        return decoded(await self._transport.send(sent), IncidentView)

    async def _of_incident(
        self,
        method: str,
        incident_id: str,
        what: str,
        body: SnoozeBody | None,
        command_id: str,
        wait_s: float | None,
    ) -> IncidentView:
        wait_s = self._wait_s if wait_s is None else wait_s
        path, command_id = place("incidents", incident_id, what), command_id or uuid4().hex
        sent = command(method, path, command_id, user_id="", body=body, wait_s=wait_s)
        return decoded(await self._transport.send(sent), IncidentView)
