"""Commands of ``everwatch notify`` over the HTTP API."""

from collections.abc import Sequence
from math import ceil
from typing import TypeVar, get_args

import orjson
import typer
from msgspec import to_builtins

from everwatch.api.incident_views import Listed, NotificationsView
from everwatch.api.notifier_views import (
    ChannelView,
    ContactView,
    DeliveriesQuery,
    DeliveryDetail,
    DeliveryState,
    DeliveryView,
    ReplayBody,
    RouteView,
)
from everwatch.cli.support.api_connection import LONGEST_WAIT_S, api_client
from everwatch.cli.support.database_reading import print_columns
from everwatch.client import ApiError
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.notifier.route_reasons import RouteReason
from everwatch.schedule.duration import format_duration

Item = TypeVar("Item")


def state_of(text: str) -> DeliveryState | None:
    """Return the state of messages that an option names; None for any."""
    return next((each for each in get_args(DeliveryState) if each == text), None)


def routes_by_api(settings: Settings, user: str) -> list[RouteView]:
    """Return the routes of the rules; ``user`` "": of no user. Raises ApiError."""
    with api_client(settings) as client:
        return _known(client.routes(user))


def decisions_by_api(settings: Settings, user: str, monitor: str) -> list[RouteReason]:
    """Return what each route decides on an alert of a monitor; none if it is not registered. Raises ApiError."""
    with api_client(settings) as client:
        try:
            routes = _known(client.routes(user, monitor))
        except ApiError as error:
            if error.code != "not_found":
                raise
            return []
    return [RouteReason(each.route, each.takes, each.reason) for each in routes if each.takes is not None]


def print_listed_routes(routes: Sequence[RouteView], as_json: bool, *, of_user: bool) -> None:
    """Print a row for each route, with whether it reaches the user that was asked for."""
    if as_json:
        typer.echo(orjson.dumps([to_builtins(route) for route in routes]).decode())
        return
    if of_user:
        rows = [(each.route, each.sender, each.belongs_to, each.problem or "ok") for each in routes]
        print_columns(("route", "sender", "of", "reaches the user"), rows)
        return
    print_columns(
        ("route", "for", "sender", "takes", "group_wait", "group_interval", "continue"),
        [
            (
                each.route,
                each.audience,
                each.sender,
                "; ".join(f"{key} {value}" for key, value in each.match.items() if value) or "everything",
                format_duration(each.group_wait_ms),
                format_duration(each.group_interval_ms),
                "yes" if each.goes_on else "no",
            )
            for each in routes
        ],
    )


def deliveries_by_api(settings: Settings, query: DeliveriesQuery) -> list[DeliveryView]:
    """Return messages, the latest last. Raises ApiError."""
    with api_client(settings) as client:
        return _known(client.deliveries(query))[::-1]


def delivery_by_api(settings: Settings, delivery_id: str) -> DeliveryDetail:
    """Return a message with its lines. Raises ApiError, EverwatchError where there is none."""
    with api_client(settings) as client:
        try:
            return client.delivery(delivery_id)
        except ApiError as error:
            if error.code != "not_found":
                raise
            raise EverwatchError(
                f"There is no message {delivery_id!r}: 'everwatch notify deliveries' lists them."
            ) from None


def notifications_by_api(settings: Settings, user: str, monitor: str) -> NotificationsView:
    """Return the notifier's verdicts on a monitor's newest changes. Raises ApiError, EverwatchError without any."""
    with api_client(settings) as client:
        found = client.notifications(user, monitor)
    if not found.available:
        raise EverwatchError(f"Alerts are not known: {found.reason}.")
    return found


def trial_by_api(settings: Settings, user: str, route: str, within_s: float) -> list[DeliveryView]:
    """Send test messages to a user, or ("") to operators; return their outcomes. Raises ApiError."""
    wait_s = min(LONGEST_WAIT_S, ceil(within_s))
    with api_client(settings) as client:
        if user:
            return client.send_test(user, route, wait_s=wait_s).items
        return client.send_operators_test(route, wait_s=wait_s).items


def print_trial_by_api(settings: Settings, user: str, route: str, as_json: bool) -> None:
    """Print by which routes a test would be sent. Raises ApiError."""
    chosen = [
        each
        for each in routes_by_api(settings, user)
        if (each.belongs_to == "operator") is not bool(user) and route in ("", each.route)
    ]
    if as_json:
        typer.echo(orjson.dumps([to_builtins(each) for each in chosen]).decode())
        return
    for each in chosen:
        why = f"  {each.problem}" if each.problem else ""
        typer.echo(f"would send by {each.route} ({each.sender}){why}")


def channels_by_api(settings: Settings, user: str) -> list[ChannelView]:
    """Return the addresses that were given up; ``user`` "": of all. Raises ApiError, EverwatchError."""
    with api_client(settings) as client:
        return _known(client.channels(user))


def contacts_by_api(settings: Settings, user: str) -> list[ContactView]:
    """Return a user's mail addresses and numbers that are or are to be verified. Raises ApiError."""
    with api_client(settings) as client:
        return client.contacts(user).items


def verify_by_api(settings: Settings, user: str, code: str, *, trust: bool) -> str:
    """Confirm an address by its code, or ask for new codes or trust; return what to print. Raises ApiError."""
    with api_client(settings) as client:
        if code:
            shown = ", ".join(each.address for each in client.verify_contact(user, code).items)
            return f"verified: {shown}"
        client.ask_contacts(user, trust=trust)
    became = "count as verified" if trust else "get a new code"
    return f"addresses of {user} that are not verified {became} in a moment"


def replay_by_api(settings: Settings, body: ReplayBody) -> int:
    """Send messages again; return how many. Raises ApiError."""
    with api_client(settings) as client:
        return client.replay_deliveries(body)


def _known(listed: Listed[Item]) -> list[Item]:
    if not listed.available:
        raise EverwatchError(f"This is not known: {listed.reason}.")
    return listed.items
