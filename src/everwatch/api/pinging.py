"""Keys of ping URLs, webhooks, badges and status pages: an id with a truncated HMAC; no look-up. Pure."""

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

from everwatch.api.tokens import PingSecret
from everwatch.core.errors import EverwatchError

_MAC_BYTES = 15  # a multiple of three: base64 without padding
LONGEST_KEY = 1_500
MOST_CHECKED = 20_000
# before what is signed for other uses than pings; no user's id has NUL
_BADGE = b"badge\0"
_STATUS = b"status\0"
_PAGE = b"page\0"
_HOOK = b"hook\0"
_SUBSCRIPTION = b"subscription\0"


class PingKeys:
    """Makes and checks keys with the secrets that are known; no key of one use is one of another."""

    def __init__(self) -> None:
        self._secrets: dict[str, PingSecret] = {}
        self._ordered: list[bytes] = []
        # keys that were checked, and what they name: a job pings with one key for years
        self._checked: dict[tuple[bytes, str], str] = {}

    @property
    def is_empty(self) -> bool:
        """Tell whether no secret is known yet."""
        return not self._ordered

    def put(self, secret: PingSecret) -> None:
        """Take in a secret."""
        self._secrets = self._secrets | {secret.secret_id: secret}
        self._sort()

    def forget(self, secret_id: str) -> None:
        """Forget a secret, and with it the keys that were made with it."""
        if secret_id in self._secrets:
            self._secrets = {name: each for name, each in self._secrets.items() if name != secret_id}
            self._sort()

    def key_of(self, user_id: str) -> str:
        """Return the key of a user. Raises EverwatchError while no secret is known."""
        return self._signed(user_id.encode(), b"")

    def user_of(self, key: str) -> str | None:
        """Return the user that a key is of; None for a key that was never made."""
        return self._named(key, b"")

    def badge_key_of(self, user_id: str, monitor_id: str) -> str:
        """Return the key of a monitor's badge. Raises EverwatchError while no secret is known."""
        return self._signed(f"{user_id}\0{monitor_id}".encode(), _BADGE)

    def badge_of(self, key: str) -> tuple[str, str] | None:
        """Return the user and the monitor whose badge a key is of; None for a key that was never made."""
        user_id, nul, monitor_id = (self._named(key, _BADGE) or "").partition("\0")
        return (user_id, monitor_id) if nul else None

    def status_key_of(self, user_id: str) -> str:
        """Return the key of a user's status page. Raises EverwatchError while no secret is known."""
        return self._signed(user_id.encode(), _STATUS)

    def status_of(self, key: str) -> str | None:
        """Return the user whose status page a key is of; None for a key that was never made."""
        return self._named(key, _STATUS)

    def page_key_of(self, slug: str) -> str:
        """Return the key of a status page of operators that only its link opens. Raises EverwatchError as above."""
        return self._signed(slug.encode(), _PAGE)

    def page_of(self, key: str) -> str | None:
        """Return the slug of the page that a key opens; None for a key that was never made."""
        return self._named(key, _PAGE)

    def hook_key_of(self, user_id: str) -> str:
        """Return the key of a user's webhook. Raises EverwatchError while no secret is known."""
        return self._signed(user_id.encode(), _HOOK)

    def hook_of(self, key: str) -> str | None:
        """Return the user whose webhook a key is of; None for a key that was never made."""
        return self._named(key, _HOOK)

    def subscription_key_of(self, slug: str, email: str) -> str:
        """Return the key of an address that subscribes to a status page. Raises EverwatchError while none is known."""
        return self._signed(f"{slug}\0{email}".encode(), _SUBSCRIPTION)

    def subscription_of(self, key: str) -> tuple[str, str] | None:
        """Return the page and the address that a key is of; None for a key that was never made."""
        slug, nul, email = (self._named(key, _SUBSCRIPTION) or "").partition("\0")
        return (slug, email) if nul else None

    def _signed(self, name: bytes, use: bytes) -> str:
        if not self._ordered:
            raise EverwatchError("There is no secret for ping keys yet.")
        return f"{_encoded(name)}.{_mac(self._ordered[0], use + name)}"

    def _named(self, key: str, use: bytes) -> str | None:
        # before the secrets: what is found with old ones goes into a dict that is not read any more
        checked = self._checked
        if (known := checked.get((use, key))) is not None:
            return known
        name = self._name_in(key, use)
        if name is not None:
            if len(checked) >= MOST_CHECKED:
                checked.clear()
            checked[use, key] = name
        return name

    def _name_in(self, key: str, use: bytes) -> str | None:
        encoded, dot, mac = key.partition(".")
        if not dot or len(key) > LONGEST_KEY:
            return None
        try:
            name = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            if _encoded(name) != encoded:
                return None  # decoding passes over what is not of the alphabet: one name would have any number of keys
            for secret in self._ordered:
                if hmac.compare_digest(_mac(secret, use + name).encode(), mac.encode()):
                    return name.decode()
        except (binascii.Error, ValueError):
            return None
        return None

    def _sort(self) -> None:
        ordered = sorted(self._secrets.values(), key=lambda each: (each.created_at, each.secret_id))
        self._ordered = [bytes.fromhex(each.secret) for each in ordered]
        self._checked = {}


def _encoded(name: bytes) -> str:
    return urlsafe_b64encode(name).decode().rstrip("=")


def _mac(secret: bytes, signed: bytes) -> str:
    return urlsafe_b64encode(hmac.digest(secret, signed, hashlib.sha256)[:_MAC_BYTES]).decode()
