"""Addresses that hold a key, as types: webhooks, badges and status pages."""

import msgspec

from everwatch.notifier.page_access import PageAccess


class HookView(msgspec.Struct, frozen=True):
    """Address that takes webhooks for a user's monitors."""

    user_id: str
    key: str
    path: str


class BadgeView(msgspec.Struct, frozen=True):
    """Address of a monitor's badge."""

    key: str
    svg: str
    json: str


class StatusPageView(msgspec.Struct, frozen=True):
    """Addresses of a user's status page, its feed and its badge."""

    key: str
    html: str
    atom: str
    badge: str = ""


class OperatorPageView(msgspec.Struct, frozen=True):
    """A status page of operators: its addresses here, and the host at which it is the only page ("": none).

    ``html``, ``atom`` and ``badge`` are "" where the secret of keys, which a link is made with, is not known yet.
    """

    slug: str
    title: str
    domain: str
    html: str
    atom: str
    access: PageAccess = PageAccess.PUBLIC
    badge: str = ""


class OperatorPages(msgspec.Struct, frozen=True):
    """The status pages of operators."""

    items: list[OperatorPageView]
