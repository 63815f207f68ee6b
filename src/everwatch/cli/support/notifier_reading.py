"""Readers of the notifier for commands: its rules, its database, and one of its users."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from everwatch.cli.support.given import now_ms
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.notifier.routes import Rules
from everwatch.notifier.rules_file import read_rules
from everwatch.notifier.storage import Storage, Work, open_existing
from everwatch.plans.placeholders import PlaceholderUser


def rules_in(settings: Settings) -> Rules:
    """Return the rules that the settings name, with who is on call now. Raises SettingsError."""
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
    given = work.users([user]).get(user)
    if given is None:
        raise EverwatchError(f"The notifier knows no user {user!r} (a moment ago, or not yet).")
    return given
