"""Readers of the notifier for commands: its rules, its database, and one of its users."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.notifier.contacts import contact_id_of
from everwatch.notifier.routes import AlertRoute, Audience, NoAddress, Rules, channel_id_of
from everwatch.notifier.rules_file import read_rules
from everwatch.notifier.storage import Storage, Work, open_existing
from everwatch.plans.placeholders import PlaceholderUser


def rules_in(settings: Settings) -> Rules:
    """Return the rules that the settings name, with the people on call now. Raises SettingsError."""
    if settings.notify_file is None:
        raise SettingsError("EVERWATCH_NOTIFY_FILE names no file of rules: see docs/notifications.md for one.")
    return read_rules(settings.notify_file).at(now_ms())


@contextmanager
def reading_notifier(settings: Settings) -> Iterator[Storage]:
    """The notifier's database, to be read. Raises StoreError."""
    with closing(open_existing(settings)) as storage:
        yield storage


def known_user(work: Work, user: str) -> PlaceholderUser:
    """Return what the notifier knows of a user. Raises EverwatchError."""
    found = work.users([user]).get(user)
    if found is None:
        raise EverwatchError(f"The notifier knows no user {user!r} (a moment ago, or not yet).")
    return found


def problem_of(work: Work, rules: Rules, route: AlertRoute, found: PlaceholderUser | None) -> str:
    """Return why a route has no receiver, or does not reach this user; "" if it does."""
    if route.audience is Audience.USERS and found is None:
        return "the notifier does not know the user yet"
    whose = found if route.audience is Audience.USERS else None
    try:
        address = route.address(whose)
    except NoAddress as error:
        return str(error)
    contact_id = contact_id_of(route, rules, whose)
    contact = work.contacts([contact_id]).get(contact_id) if contact_id else None
    if contact_id and (contact is None or not contact.verified_at):
        return "not verified"
    channel_id = channel_id_of(route, whose, address)
    channel = work.channels([channel_id]).get(channel_id)
    if channel is not None and channel.disabled_at:
        return f"given up at {time_text(channel.disabled_at)}: {channel.reason}"
    return ""
