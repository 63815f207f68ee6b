"""Mail addresses and mobile numbers of users that are verified before alerts go to them.

An address that is not confirmed gets one message, with a code, and nothing else: a client that signs users up cannot
have mail or texts sent to strangers.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

from everwatch.notifier.addresses import EmailAddress, SmsAddress
from everwatch.notifier.alerts import Message, derived_id
from everwatch.notifier.composing import new_delivery
from everwatch.notifier.contact_rows import Contact
from everwatch.notifier.routes import VERIFIED_SENDERS, AlertRoute, Audience, NoAddress, Rules
from everwatch.notifier.storage import Work
from everwatch.plans.placeholders import PlaceholderUser

# no letters that look like digits
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_LENGTH = 8


def new_code() -> str:
    """Return a code that cannot be guessed."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))


def contact_id_of(route: AlertRoute, rules: Rules, given: PlaceholderUser | None) -> str:
    """Return the id of the address that a route has for a user, if it must be verified; else "". Raises NoAddress."""
    if not rules.contacts.verify or route.audience is not Audience.USERS or given is None:
        return ""
    if route.sender not in VERIFIED_SENDERS:
        return ""
    address = route.address(given)
    assert isinstance(address, EmailAddress | SmsAddress)
    return derived_id("contact", given.user_id, address.to.casefold())


def contact_routes(rules: Rules, users: Iterable[PlaceholderUser]) -> dict[str, tuple[AlertRoute, PlaceholderUser]]:
    """Return the addresses to be verified of these users that routes lead to: by contact id, one route and the user."""
    found: dict[str, tuple[AlertRoute, PlaceholderUser]] = {}
    for given in users:
        for route in rules.routes:
            try:
                contact_id = contact_id_of(route, rules, given)
            except NoAddress:
                continue
            if contact_id:
                found.setdefault(contact_id, (route, given))
    return found


def ask(
    work: Work, rules: Rules, users: Iterable[PlaceholderUser], now: int, make_code: Callable[[], str] = new_code
) -> int:
    """Send a code to each address of these users that is not known yet; return how many."""
    wanted = contact_routes(rules, users)
    known = work.contacts(wanted)
    asked = {contact_id: each for contact_id, each in wanted.items() if contact_id not in known}
    send_codes(work, rules, asked, now, make_code)
    return len(asked)


def settle_contacts(work: Work, rules: Rules, given: PlaceholderUser, now: int, *, trust: bool) -> list[str]:
    """Send new codes to the addresses of a user that are not verified, or take them as verified; return these, masked.

    Codes are good for one address each, and a new one ends the one before.
    """
    found = contact_routes(rules, [given])
    known = work.contacts(found)
    waiting = {id_: each for id_, each in found.items() if id_ not in known or not known[id_].verified_at}
    shown = [route.address(user).shown for route, user in waiting.values()]
    if trust:
        work.put_contacts(
            Contact(id_, given.user_id, address, "", now, now) for id_, address in zip(waiting, shown, strict=True)
        )
    else:
        send_codes(work, rules, waiting, now)
    return shown


def send_codes(
    work: Work,
    rules: Rules,
    asked: Mapping[str, tuple[AlertRoute, PlaceholderUser]],
    now: int,
    make_code: Callable[[], str] = new_code,
) -> None:
    """Send a new code to each of these addresses, in place of one that it was sent before."""
    contacts, deliveries = [], []
    for contact_id, (route, given) in asked.items():
        code = make_code()
        shown = route.address(given).shown
        contacts.append(Contact(contact_id, given.user_id, shown, code, now, 0))
        message = Message(
            derived_id("verification", contact_id, now),
            route.name,
            given.user_id,
            now,
            (),
            code=code,
            link=link_of(rules.contacts.link, given.user_id, code),
        )
        deliveries.append(new_delivery(route, f"verification\x1f{contact_id}", given, message, now))
    work.put_contacts(contacts)
    work.put_deliveries(deliveries)


def link_of(template: str, user_id: str, code: str) -> str:
    """Return the link that confirms an address, "" without a template."""
    return template.replace("{user}", quote(user_id, safe="")).replace("{code}", code)
