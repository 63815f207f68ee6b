"""Contacts of a user: addresses in inputs, which are kept as attributes called ``contacts.NAME``. Pure."""

import re
from collections.abc import Mapping

from everwatch.core.errors import InvalidInput
from everwatch.model import Scalar

PREFIX = "contacts."
MOST_CONTACTS = 20
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MAILBOX = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[^\s@<>,;:\"()\[\]\\]{1,255}")
_URLS = frozenset({"webhook", "slack", "discord", "ntfy"})
"""Names whose value is a URL; ``email`` is a mailbox, and of any other name the route that uses it judges."""


def with_contacts(attributes: dict[str, Scalar], contacts: Mapping[str, str]) -> dict[str, Scalar]:
    """Return the attributes with contacts among them. Raises InvalidInput with the path of a wrong one."""
    if not contacts:
        return attributes
    for name, value in contacts.items():
        path = f"$.contacts.{name}"
        if not _NAME.fullmatch(name):
            raise InvalidInput("a contact's name has up to 32 small letters, digits, '_' and '-'", "$.contacts")
        if PREFIX + name in attributes:
            raise InvalidInput(f"the attribute {PREFIX + name!r} is given, too", path)
        if name == "email" and not _MAILBOX.fullmatch(value):
            raise InvalidInput("not an e-mail address such as ada@example.com", path)
        if name in _URLS and not value.startswith(("https://", "http://")):
            raise InvalidInput("a URL starts with http:// or https://", path)
    return attributes | {PREFIX + name: value for name, value in contacts.items()}
