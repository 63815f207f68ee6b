"""Requests to and answers of the notifier beside incidents, as types: servers validate with them, clients read them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from everwatch.api.queries import Countable, InstantMs, OfUser, ShortList
from everwatch.api.views import Instant
from everwatch.encoding.input_models import NO_HIDDEN
from everwatch.notifier.listed_routes import RouteFacts

DeliveryState = Literal["pending", "sending", "sent", "dead", "superseded", "skipped"]


class DeliveryView(msgspec.Struct, frozen=True):
    """A message to one receiver. ``user_id`` "": to operators. ``alerts``: of how many changes it tells.

    ``reason``: how the last attempt ended. ``due_at``: of the next attempt. ``settled_at``: when it ended, 0: not yet.
    """

    delivery_id: str
    route: str
    user_id: str
    sender: str
    target: str
    state: str
    attempt: int
    due_at: Instant
    created_at: Instant
    settled_at: Instant
    reason: str
    summary: str
    alerts: int


class ChannelView(msgspec.Struct, frozen=True):
    """An address that was given up: after how many failures, since when, and the last reason."""

    route: str
    user_id: str
    target: str
    failures: int
    failing_since: Instant
    disabled_at: Instant
    reason: str


class DeliveriesQuery(Countable, frozen=True, forbid_unknown_fields=True):
    """Selection of messages. ``since``: made then or later, ms."""

    user: OfUser = ""
    state: DeliveryState | None = None
    route: Annotated[str, Meta(max_length=128, pattern=NO_HIDDEN, description="The route's name.")] = ""
    since: InstantMs = 0


class ChannelsQuery(ShortList, frozen=True, forbid_unknown_fields=True):
    """Selection of addresses."""

    user: OfUser = ""


class RoutesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which routes; ``user``: whether each reaches this one; ``monitor``: whether each takes its alert."""

    user: OfUser = ""
    monitor: Annotated[
        str, Meta(max_length=256, pattern=NO_HIDDEN, description="The id of one of the user's monitors.")
    ] = ""


class RouteView(RouteFacts, frozen=True):
    """A route of the notification rules, without addresses. Durations in ms.

    ``belongs_to``: who has the address: ``operator``, ``plan`` (users of the plans in ``match``) or ``user``.
    ``needs``: the user's attributes that the address takes. ``reaches``: whether it reaches the user that is asked for,
    null where none is; ``problem``: why not. ``takes``: whether it takes an alert of the monitor that is asked for,
    null where none is; ``reason``: why not, or what follows. ``audience``: users or operators. ``match``: which alerts
    it takes. ``min_down_ms``: how long a monitor is down before. ``goes_on``: later routes get what it takes, too.
    ``doubt``: what becomes of a message that may have been sent.
    """

    reaches: bool | None = None
    problem: str = ""
    takes: bool | None = None
    reason: str = ""


class DeliveryDetail(DeliveryView, frozen=True):
    """A message with the lines that its receiver reads; those of a message with a code are left out."""

    lines: list[str] = []


class RouteTestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``route``: by this one alone; "": by each that is for operators."""

    route: Annotated[str, Meta(max_length=64, pattern=NO_HIDDEN)] = ""


class ReplayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Messages to send again: those in ``state`` that were made since an instant (ms), of a route, of a user."""

    since: InstantMs
    state: Literal["dead", "sent", "skipped"] = "dead"
    route: Annotated[str, Meta(max_length=64, pattern=NO_HIDDEN)] = ""
    user: OfUser = ""
    dry_run: bool = False


class ReplayView(msgspec.Struct, frozen=True):
    """Number of messages that are, or with ``dry_run`` would be, sent again, each under its own id."""

    messages: int


class ContactView(msgspec.Struct, frozen=True):
    """A mail address or number of a user. ``verified_at``: instant of its confirmation, 0: unconfirmed."""

    contact_id: str
    address: str
    asked_at: Instant
    verified_at: Instant


class VerifyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code that the address was sent."""

    code: Annotated[str, Meta(min_length=1, max_length=64, pattern=NO_HIDDEN)]


class ContactsAskedBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """New codes go to the addresses that are not verified; with ``trust`` these count as verified, without a code."""

    trust: bool = False


class ContactTestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``route``: by this one alone; "": by each that is for users."""

    route: Annotated[str, Meta(max_length=64, pattern=NO_HIDDEN)] = ""
