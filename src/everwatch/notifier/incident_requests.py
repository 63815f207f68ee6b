"""Requests about incidents over HTTP, as records of the topic ``incidents``. Pure.

The API writes no database: it sends a record, and the notifier that reads it stores what follows, once.
"""

import msgspec

from everwatch.core.errors import InvalidInput
from everwatch.notifier.acknowledging import Acknowledgement
from everwatch.notifier.comments import IncidentComment
from everwatch.notifier.silences import AlertSilence


class AckRequest(msgspec.Struct, frozen=True, tag="ack"):
    """Acknowledgement or snooze of an incident, as it was asked for."""

    ack: Acknowledgement


class AckWithdrawal(msgspec.Struct, frozen=True, tag="ack_withdrawal"):
    """An incident counts as not seen any more: reminders and escalations go on."""

    incident_id: str
    user_id: str
    monitor_id: str
    at: int
    by: str = ""


class ResolveRequest(msgspec.Struct, frozen=True, tag="resolve"):
    """A person resolves an incident: no further message is sent about it, whatever its monitor does."""

    incident_id: str
    user_id: str
    monitor_id: str
    at: int
    by: str = ""


class CommentRequest(msgspec.Struct, frozen=True, tag="comment"):
    """A comment was written on an incident."""

    comment: IncidentComment


class ReplayRequest(msgspec.Struct, frozen=True, tag="replay"):
    """Messages in a state that were made since an instant are to be sent again; "" for any route or user."""

    state: str
    since: int
    at: int
    route: str = ""
    user_id: str = ""


class ContactsVerified(msgspec.Struct, frozen=True, tag="contacts_verified"):
    """These addresses of a user were confirmed with their code."""

    user_id: str
    contact_ids: tuple[str, ...]
    at: int


class ContactsAsked(msgspec.Struct, frozen=True, tag="contacts_asked"):
    """Addresses of a user that are not verified get new codes, or (``trust``) count as verified."""

    user_id: str
    at: int
    trust: bool = False


class ContactTrial(msgspec.Struct, frozen=True, tag="contact_trial"):
    """A test message is to be sent to a user by each route that reaches them, or (``route``) by one.

    ``user_id`` "": to operators. ``trial_id``: the same one again sends nothing more.
    """

    trial_id: str
    user_id: str
    at: int
    route: str = ""


class SilenceRequest(msgspec.Struct, frozen=True, tag="silence"):
    """A silence that was asked for, or its new end: one that ends now is over."""

    silence: AlertSilence


class SubscriptionRequest(msgspec.Struct, frozen=True, tag="subscription"):
    """A visitor of a status page entered an address. ``link``: what confirms it; ``title``: the page's; ``at``: ms.

    ``at`` is 0 in requests of older versions, for which the timestamp of the record stands.
    """

    slug: str
    email: str
    title: str
    link: str
    at: int = 0


class SubscriptionConfirmed(msgspec.Struct, frozen=True, tag="subscription_confirmed"):
    """Subscription of a mail address to news of a page. ``link``: where it can be ended."""

    slug: str
    email: str
    link: str


class SubscriptionEnded(msgspec.Struct, frozen=True, tag="subscription_ended"):
    """An address gets no news of a page any more."""

    slug: str
    email: str


IncidentRequest = (
    AckRequest
    | AckWithdrawal
    | ResolveRequest
    | CommentRequest
    | ReplayRequest
    | ContactsVerified
    | ContactsAsked
    | ContactTrial
    | SilenceRequest
    | SubscriptionRequest
    | SubscriptionConfirmed
    | SubscriptionEnded
)
_decoder: msgspec.json.Decoder[IncidentRequest] = msgspec.json.Decoder(IncidentRequest)


def encode_request(request: IncidentRequest) -> bytes:
    """Return a request as the value of its record."""
    return msgspec.json.encode(request)


def decode_request(value: bytes | None) -> IncidentRequest:
    """Return the request of a record. Raises InvalidInput."""
    if value is None:
        raise InvalidInput("a request about an incident has a value")
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"not a request about an incident: {error}") from None
