"""Encryption of secrets at rest: Fernet (AES-128-CBC and HMAC-SHA-256), with several keys for rotation.

https://github.com/fernet/spec/blob/master/Spec.md
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

# 32 bytes, the last two bits of the last letter being 0
_KEY = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]=")
# a token holds the instant at which it was made, which must not be readable
_NO_TIME = 0


class Undecryptable(Exception):
    """None of the keys is the one that a token was made with, or the token was changed."""


class Cipher:
    """Encrypts with the first key and decrypts with all of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        # only where a key is set: OpenSSL's bindings take a while to import
        from cryptography.fernet import Fernet, MultiFernet

        fernets = [Fernet(key) for key in keys]
        self._first: Fernet = fernets[0]
        self._all: MultiFernet = MultiFernet(fernets)

    def encrypt(self, text: str) -> str:
        """Return the token of ``text``; each call gives another one."""
        return self._first.encrypt_at_time(text.encode(), _NO_TIME).decode()

    def decrypt(self, token: str) -> str:
        """Return the text of a token. Raises Undecryptable."""
        return _decrypted(self._all, token)

    def is_current(self, token: str) -> bool:
        """Tell whether a token was made with the first key."""
        try:
            _decrypted(self._first, token)
        except Undecryptable:
            return False
        return True


def generate_key() -> str:
    """Return a new key."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def keys_of(setting: str) -> tuple[str, ...]:
    """Return the keys in a comma-separated list. Raises ValueError with a sentence that quotes none of them."""
    keys = tuple(part.strip() for part in setting.split(",")) if setting.strip() else ()
    for number, key in enumerate(keys, 1):
        if not _KEY.fullmatch(key):
            which = f"key {number} of {len(keys)}" if len(keys) > 1 else "this"
            raise ValueError(
                f"{which} is not a key (32 bytes as URL-safe base64): make one with 'everwatch secrets generate-key'"
            )
    return keys


def _decrypted(fernet: "Fernet | MultiFernet", token: str) -> str:
    from cryptography.fernet import InvalidToken

    try:
        return fernet.decrypt(token.encode()).decode()
    except (InvalidToken, UnicodeError):
        raise Undecryptable from None
