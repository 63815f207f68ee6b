"""A login that was begun at the identity provider, as the browser keeps it meanwhile. Pure.

A cookie holds a random value; ``state``, ``nonce`` and the verifier of PKCE are hashes of it (OpenID Connect Core,
15.5.2). So no process keeps anything, and an answer of the provider is of use only to the browser that asked.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, NamedTuple

from msgspec import Meta

LOGIN_VALID_MS = 600_000
ConsolePath = Annotated[
    str, Meta(max_length=500, pattern=r"^/(?:console|status)/(?!/|.*//|(.*/)?\.\.?(/|\Z))[A-Za-z0-9/._~%@:+!*'()-]*\Z")
]
"""A page of the console, or a status page, to lead back to, which no other host's address can be."""
_TEXT = re.compile(r"(\d{1,15})\.[A-Za-z0-9_-]{43}\.([A-Za-z0-9_=-]{0,700})\Z")


class BegunLogin(NamedTuple):
    """A login under way: the cookie's text, and the page to lead back to."""

    text: str
    page: str

    @property
    def state(self) -> str:
        """The ``state`` of the request."""
        return self._derived(b"state")

    @property
    def nonce(self) -> str:
        """The ``nonce`` that the ID token must have."""
        return self._derived(b"nonce")

    @property
    def verifier(self) -> str:
        """The verifier of PKCE (RFC 7636)."""
        return self._derived(b"verifier")

    def _derived(self, use: bytes) -> str:
        return urlsafe_b64encode(hmac.digest(self.text.encode(), use, hashlib.sha256)).rstrip(b"=").decode()


def begin_login(now: int, page: str) -> BegunLogin:
    """Begin a login that is valid for ten minutes."""
    return BegunLogin(f"{now}.{secrets.token_urlsafe(32)}.{urlsafe_b64encode(page.encode()).decode()}", page)


def begun_login(text: str, now: int) -> BegunLogin | None:
    """Return the login that a cookie holds; None for one that is over, or none."""
    found = _TEXT.match(text)
    if found is None or not 0 <= now - int(found[1]) < LOGIN_VALID_MS:
        return None
    try:
        # state is a hash of all of it: with another page it would not be that of the answer
        return BegunLogin(text, urlsafe_b64decode(found[2]).decode())
    except ValueError:
        return None
