"""Requests to the notifier beside those about incidents: send messages again, confirm addresses."""

from collections.abc import Sequence

from everwatch.api.alerting import NotifierDatabase, delivery_view
from everwatch.api.incident_views import Listed
from everwatch.api.incident_writes import wrong
from everwatch.api.notifier_views import (
    ContactsAskedBody,
    ContactTestBody,
    ContactView,
    ReplayBody,
    ReplayView,
    RouteTestBody,
    VerifyBody,
)
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import narrowed
from everwatch.api.rate_limiting import RateLimiter
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import command_id_of, wait_of
from everwatch.api.token_routes import RecordSender
from everwatch.core.clock import Clock
from everwatch.encoding.codec import user_key
from everwatch.notifier.alerts import AlertKind
from everwatch.notifier.contact_rows import Contact
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.incident_requests import (
    ContactsAsked,
    ContactsVerified,
    ContactTrial,
    IncidentRequest,
    ReplayRequest,
    encode_request,
)
from everwatch.notifier.listed_routes import ListedRoute
from everwatch.notifier.routes import Audience
from everwatch.notifier.storage import Work
from everwatch.notifier.trial_messages import trial_message_id

TESTS_PER_MIN = 10
"""Tests that one API process sends to a user: a holder of a token must not fill a mailbox."""


class NotifierRequests:
    """Handlers of what the notifier is asked for."""

    def __init__(self, database: NotifierDatabase, records: RecordSender, topic: str, clock: Clock) -> None:
        self._database = database
        self._records = records
        self._topic = topic
        self._clock = clock
        self._tests = RateLimiter(TESTS_PER_MIN)

    async def replay(self, call: Call, body: ReplayBody) -> Answer:
        """Send messages again that were given up, or that a receiver has lost; each under its own id."""
        user_id = narrowed(call.principal, body.user)
        messages = await self._database.look(
            lambda work: work.count_deliveries(body.state, body.since, body.route, user_id)
        )
        if body.dry_run:
            return Answer(ReplayView(messages), changes=[])
        if messages:
            await self._send(user_id, ReplayRequest(body.state, body.since, self._clock.now_ms(), body.route, user_id))
        return Answer(ReplayView(messages), 202)

    async def contacts(self, call: Call) -> Answer:
        """List mail addresses and numbers of a user that are or are to be verified."""
        user_id = call.path["user_id"]
        found = await self._database.look(lambda work: work.contacts_of([user_id]))
        return Answer(Listed(True, "", False, [_view(each) for each in found]))

    async def verify(self, call: Call, body: VerifyBody) -> Answer:
        """Confirm the addresses that were sent a code."""
        user_id, code = call.path["user_id"], body.code.strip().upper()
        held = await self._database.look(lambda work: work.contacts_of([user_id]))
        ids = tuple(each.contact_id for each in held if each.code and each.code == code)
        if not ids:
            raise wrong("$.code", "no address of this user waits for this code")
        await self._send(user_id, ContactsVerified(user_id, ids, self._clock.now_ms()))
        found, is_settled = await self._database.settled(
            lambda work: work.contacts_of([user_id]),
            lambda found: all(each.verified_at for each in found if each.contact_id in ids),
            wait_of(call),
        )
        items = [_view(each) for each in found if each.contact_id in ids]
        return Answer(Listed(True, "", False, items), 200 if is_settled else 202)

    async def test_contacts(self, call: Call, body: ContactTestBody) -> Answer:
        """Have a test message sent to a user by the routes that reach them."""
        user_id = call.path["user_id"]
        known, routes = await self._database.look(lambda work: (work.users([user_id]), work.routes()))
        self._refuse_too_many(user_id)
        if user_id not in known:
            raise not_found(f"user {user_id!r} that the notifier knows")
        return await self._tested(
            call, [each for each in routes if each.audience == Audience.USERS], user_id, body.route
        )

    async def test_operators(self, call: Call, body: RouteTestBody) -> Answer:
        """Have a test message sent to operators by their routes."""
        self._refuse_too_many("")
        routes = await self._database.look(lambda work: work.routes())
        return await self._tested(call, [each for each in routes if each.audience != Audience.USERS], "", body.route)

    async def ask_contacts(self, call: Call, body: ContactsAskedBody) -> Answer:
        """Have new codes sent to a user's addresses, or these taken as verified."""
        user_id = call.path["user_id"]
        if user_id not in await self._database.look(lambda work: work.users([user_id])):
            raise not_found(f"user {user_id!r} that the notifier knows")
        if not body.trust:
            self._refuse_too_many(user_id)
        await self._send(user_id, ContactsAsked(user_id, self._clock.now_ms(), body.trust))
        return Answer(None, 202)

    async def _tested(self, call: Call, routes: Sequence[ListedRoute], user_id: str, route: str) -> Answer:
        """Have test messages sent by routes, and answer with their outcomes."""
        wanted = [each for each in routes if route in ("", each.route)]
        if not wanted:
            raise wrong("$.route", f"there is no such route for {'users' if user_id else 'operators'}")
        trial_id = command_id_of(call)
        await self._send(user_id, ContactTrial(trial_id, user_id, self._clock.now_ms(), route))
        kinds = (AlertKind.OPENED, AlertKind.CLOSED)
        ids = [trial_message_id(trial_id, each.route, user_id, kind) for each in wanted for kind in kinds]

        def sent(work: Work) -> list[Delivery]:
            return list(work.deliveries(ids).values())

        found, is_settled = await self._database.settled(
            sent, lambda found: bool(found) and all(each.settled_at for each in found), wait_of(call)
        )
        items = [delivery_view(each) for each in found]
        return Answer(Listed(True, "", False, items), 200 if is_settled else 202)

    def _refuse_too_many(self, user_id: str) -> None:
        """Raise a Problem if a user, or operators (""), got as many messages on request as may be sent."""
        allowance = self._tests.take(user_id, self._clock.monotonic_s())
        if allowance is not None and allowance.retry_in_s:
            said = f"{TESTS_PER_MIN} messages a minute may be asked for, for a user or for operators."
            raise Problem(429, "rate_limited", said, headers={"Retry-After": allowance.headers["Retry-After"]})

    async def _send(self, user_id: str, request: IncidentRequest) -> None:
        await self._records.send(self._topic, user_key(user_id or "operators"), encode_request(request))


def _view(contact: Contact) -> ContactView:
    return ContactView(contact.contact_id, contact.shown, contact.asked_at, contact.verified_at)
