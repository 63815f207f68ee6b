"""Links in messages that acknowledge or snooze the incidents of these: signed, and over after some days. Pure.

A link names the message, and the database knows its incidents. Opening it changes nothing, as mail scanners and chat
programs open links: its page has buttons.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from typing import NamedTuple

from everwatch.notifier.alerts import RESOLVING, Alert, AlertKind, Message
from everwatch.schedule.duration import DAY_MS, HOUR_MS

PATH = "/ack/"
SENDERS = frozenset({"email", "slack", "webhook"})
"""Receivers that a link is for; the others acknowledge by themselves."""
_MAC_BYTES = 18  # a multiple of three: base64 without padding
_USE = b"ack\0"
LONGEST_KEY = 200
SNOOZES_MS = {"1h": HOUR_MS, "4h": 4 * HOUR_MS, "24h": 24 * HOUR_MS}
"""For how long the buttons of a link's page snooze, by what they send; ms."""


class AckLinks(NamedTuple):
    """Tell whether messages have links: ``url`` is that of the API, "" for none. ``users``: in those to users, too."""

    url: str = ""
    valid_ms: int = 7 * DAY_MS
    users: bool = False


class AckKey(NamedTuple):
    """Content of a link: a message, and the instant up to which the link may be used (ms)."""

    delivery_id: str
    expires_at: int


def new_secret() -> str:
    """Return a secret that signs links."""
    return secrets.token_hex(32)


def link_of(links: AckLinks, secret: bytes, message: Message) -> str:
    """Return the link of a message."""
    key = AckKey(message.message_id, message.created_at + links.valid_ms)
    return f"{links.url.rstrip('/')}{PATH}{key_text(secret, key)}"


def key_text(secret: bytes, key: AckKey) -> str:
    """Return a key as it stands in a link."""
    signed = f"{key.delivery_id}.{key.expires_at:x}"
    return f"{signed}.{_mac(secret, signed)}"


def key_of(secret: bytes, text: str) -> AckKey | None:
    """Return the key of a link, whether or not it is over; None for one that was never made."""
    signed, _, mac = text.rpartition(".")
    if len(text) > LONGEST_KEY or not hmac.compare_digest(_mac(secret, signed).encode(), mac.encode()):
        return None
    delivery_id, _, expires = signed.partition(".")
    return AckKey(delivery_id, int(expires, 16))


def is_for(alert: Alert) -> bool:
    """Tell whether the incident of an alert may be acknowledged: a monitor's own incident that goes on."""
    return alert.kind not in RESOLVING and alert.kind is not AlertKind.FAILED and not alert.subject


def _mac(secret: bytes, signed: str) -> str:
    digest = hmac.digest(secret, _USE + signed.encode(errors="replace"), hashlib.sha256)
    return urlsafe_b64encode(digest[:_MAC_BYTES]).decode()
