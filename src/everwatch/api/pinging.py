"""Keys of ping URLs: a user's id with a truncated HMAC, checked without looking anything up. Pure."""

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

from everwatch.api.tokens import PingSecret
from everwatch.core.errors import EverwatchError

_MAC_BYTES = 15  # a multiple of three: base64 without padding
LONGEST_KEY = 1_500


class PingKeys:
    """Makes and checks ping keys with the secrets that are known."""

    def __init__(self) -> None:
        self._secrets: dict[str, PingSecret] = {}
        self._ordered: list[bytes] = []

    @property
    def is_empty(self) -> bool:
        """Whether no secret is known yet."""
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
        if not self._ordered:
            raise EverwatchError("There is no secret for ping keys yet.")
        name = urlsafe_b64encode(user_id.encode()).decode().rstrip("=")
        return f"{name}.{_mac(self._ordered[0], user_id.encode())}"

    def user_of(self, key: str) -> str | None:
        """Return the user that a key is of; None for a key that was never made."""
        name, dot, mac = key.partition(".")
        if not dot or len(key) > LONGEST_KEY:
            return None
        try:
            user = urlsafe_b64decode(name + "=" * (-len(name) % 4))
            for secret in self._ordered:
                if hmac.compare_digest(_mac(secret, user).encode(), mac.encode()):
                    return user.decode()
        except (binascii.Error, ValueError):
            return None
        return None

    def _sort(self) -> None:
        ordered = sorted(self._secrets.values(), key=lambda each: (each.created_at, each.secret_id))
        self._ordered = [bytes.fromhex(each.secret) for each in ordered]


def _mac(secret: bytes, user: bytes) -> str:
    return urlsafe_b64encode(hmac.digest(secret, user, hashlib.sha256)[:_MAC_BYTES]).decode()
