"""Messages that try routes out: they go the way that alerts go."""

from everwatch.notifier.alerts import Alert, AlertKind, Message, Severity, derived_id
from everwatch.notifier.composing import new_delivery
from everwatch.notifier.contacts import contact_id_of
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.routes import Audience, NoAddress, Rules
from everwatch.notifier.storage import Work
from everwatch.plans.placeholders import PlaceholderUser


def trial_message_id(trial_id: str, route: str, user_id: str, kind: AlertKind = AlertKind.OPENED) -> str:
    """Return the id of the message of a trial by a route; of routes that keep incidents there are two."""
    return derived_id("test", _incident_id(trial_id, route, user_id), kind.value)


def trial_messages(rules: Rules, given: PlaceholderUser | None, route: str, trial_id: str, now: int) -> list[Delivery]:
    """Return a message for each route of a user, or (None) of operators; ``route``: for this one alone.

    The same ``trial_id`` makes the same messages.
    """
    audience = Audience.OPERATORS if given is None else Audience.USERS
    user_id = "" if given is None else given.user_id
    found = []
    for each in rules.routes:
        if each.audience is not audience or route not in ("", each.name):
            continue
        incident_id = _incident_id(trial_id, each.name, user_id)
        # what opens an incident ends it, too
        kinds = (AlertKind.OPENED, AlertKind.CLOSED) if each.keeps_incidents else (AlertKind.OPENED,)
        for number, kind in enumerate(kinds):
            alert = Alert(
                kind,
                incident_id,
                user_id or "operators",
                "test",
                "down",
                now,
                now,
                Severity.INFO,
                reason="this is a test",
            )
            message_id = trial_message_id(trial_id, each.name, user_id, kind)
            message = each.texts.applied(Message(message_id, each.name, user_id, now, (alert,), is_test=True))
            delivery = new_delivery(each, f"test\x1f{message_id}", given, message, now)
            found.append(delivery._replace(due_at=now + number * 1_000))
    return found


def _incident_id(trial_id: str, route: str, user_id: str) -> str:
    return derived_id("test", route, user_id, trial_id)


def to_verified(
    work: Work, rules: Rules, given: PlaceholderUser | None, messages: list[Delivery], now: int
) -> list[Delivery]:
    """Return messages to a user of which those to addresses that are to be verified, and are not, are skipped."""
    routes = {route.name: route for route in rules.routes}
    found = []
    for each in messages:
        try:
            contact_id = contact_id_of(routes[each.route], rules, given)
        except NoAddress:
            contact_id = ""
        contact = work.contacts([contact_id]).get(contact_id) if contact_id else None
        if contact_id and (contact is None or not contact.verified_at) and not each.settled_at:
            found.append(each._replace(state="skipped", settled_at=now, reason="the address is not verified"))
        else:
            found.append(each)
    return found
