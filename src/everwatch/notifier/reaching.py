"""Whether a listed route reaches a user, by what the API may know: names of attributes, and no addresses. Pure."""

from collections.abc import Collection, Mapping

from everwatch.core.errors import InvalidInput
from everwatch.notifier.alerts import derived_id
from everwatch.notifier.delivery_rows import Channel
from everwatch.notifier.listed_routes import ListedRoute
from everwatch.plans.placeholders import Name, PlaceholderUser


def obstacle_of(
    route: ListedRoute, given: PlaceholderUser, verified: Collection[str], given_up: Mapping[str, Channel]
) -> str:
    """Return why a route does not reach a user; "" if it does.

    ``verified``: ids of the user's contacts that are verified. ``given_up``: the user's channels that were given up, by
    route.
    """
    plans, users = route.match.get("plan", ()), route.match.get("user", ())
    if route.belongs_to == "operator":
        return "it is for operators"
    if plans and given.plan not in plans:
        return f"not for plan {given.plan}"
    if users and given.user_id not in users:
        return "it is for other users"
    for name in route.needs:
        if given.attributes.get(name) is None:
            return f"the user has no {name}"
    if route.verifies and not _is_verified(route, given, verified):
        return "not verified"
    channel = given_up.get(route.route)
    return f"given up: {channel.reason}" if channel is not None else ""


def _is_verified(route: ListedRoute, given: PlaceholderUser, verified: Collection[str]) -> bool:
    if not route.mailbox:
        # of an address that is made of several parts no more is known here
        return bool(verified)
    try:
        mailbox = str(Name("", route.mailbox).value(given, "to"))
    except InvalidInput:
        return False
    return derived_id("contact", given.user_id, mailbox.casefold()) in verified
