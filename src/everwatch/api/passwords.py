"""Hashes of passwords: Argon2id (RFC 9106) in PHC format, by the library ``cryptography``.

Each takes tens of ms without the GIL: for a thread. The parameters are those of OWASP's Password Storage Cheat Sheet; a
hash carries its own, so that they can be raised.
"""

import secrets
import unicodedata

from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from everwatch.api.access_views import LONGEST_PASSWORD
from everwatch.core.errors import EverwatchError

SHORTEST, LONGEST = 12, LONGEST_PASSWORD
"""Characters of a password."""
_MEMORY_KIB, _ITERATIONS, _LANES = 19_456, 2, 1
_SALT_BYTES, _HASH_BYTES = 16, 32


def hash_of(password: str) -> str:
    """Return the hash of a password. Raises EverwatchError where OpenSSL has no Argon2."""
    salt = secrets.token_bytes(_SALT_BYTES)
    try:
        kdf = Argon2id(salt=salt, length=_HASH_BYTES, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY_KIB)
        return kdf.derive_phc_encoded(_bytes(password))
    except UnsupportedAlgorithm:
        raise EverwatchError(
            "Passwords of operators need OpenSSL 3.2 or newer, with which PyPI's wheels of 'cryptography' come."
        ) from None


def is_password(password: str, stored: str) -> bool:
    """Tell whether a password is that of a hash; compared in constant time. A broken hash matches no password."""
    try:
        Argon2id.verify_phc_encoded(_bytes(password), stored)
    except (InvalidKey, UnsupportedAlgorithm, ValueError):
        return False
    return True


def objection_to(password: str) -> str:
    """Return why this is no password for an operator; "" if it is one."""
    if len(password) < SHORTEST:
        return f"a password has at least {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"a password has at most {LONGEST} characters"
    return "" if len(set(password)) > 2 else "a password has more than two different characters"


def _bytes(password: str) -> bytes:
    # keyboards differ in how they write accents (NIST SP 800-63B, 3.1.1.2)
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")
