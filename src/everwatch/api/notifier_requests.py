"""What the notifier is asked for over HTTP beside incidents: messages sent again, addresses confirmed."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from everwatch.api.alerting import NotifierDatabase
from everwatch.api.incident_views import Listed
from everwatch.api.incident_writes import wrong
from everwatch.api.queries import InstantMs, OfUser, narrowed
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import wait_of
from everwatch.api.token_routes import RecordSender
from everwatch.api.views import Instant
from everwatch.core.clock import Clock
from everwatch.encoding.codec import user_key
from everwatch.encoding.input_models import NO_HIDDEN
from everwatch.notifier.contact_rows import Contact
from everwatch.notifier.incident_requests import ContactsVerified, IncidentRequest, ReplayRequest, encode_request


class ReplayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which messages are sent again: those in ``state`` that were made since an instant (ms), of a route, of a user."""

    since: InstantMs
    state: Literal["dead", "sent", "skipped"] = "dead"
    route: Annotated[str, Meta(max_length=64, pattern=NO_HIDDEN)] = ""
    user: OfUser = ""
    dry_run: bool = False


class ReplayView(msgspec.Struct, frozen=True):
    """Number of messages that are, or with ``dry_run`` would be, sent again, each under its own id."""

    messages: int


class ContactView(msgspec.Struct, frozen=True):
    """A mail address of a user. ``verified_at``: when somebody confirmed it, 0: nobody has yet."""

    contact_id: str
    address: str
    asked_at: Instant
    verified_at: Instant


class VerifyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code that the address was sent."""

    code: Annotated[str, Meta(min_length=1, max_length=64, pattern=NO_HIDDEN)]


class NotifierRequests:
    """Handlers of what the notifier is asked for."""

    def __init__(self, database: NotifierDatabase, records: RecordSender, topic: str, clock: Clock) -> None:
        self._database = database
        self._records = records
        self._topic = topic
        self._clock = clock

    async def replay(self, call: Call, body: ReplayBody) -> Answer:
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

    async def _send(self, user_id: str, request: IncidentRequest) -> None:
        await self._records.send(self._topic, user_key(user_id or "operators"), encode_request(request))


def _view(contact: Contact) -> ContactView:
    return ContactView(contact.contact_id, contact.shown, contact.asked_at, contact.verified_at)
