"""Sets of public keys (JWKS, RFC 7517): read from a document, and those of an address, which are fetched and kept.

Keys of an address are fetched anew for a token that names an unknown one, at a bounded rate, and every few minutes so
that a key that was withdrawn is accepted no longer. Where the address does not answer, the last ones stay for a day.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from everwatch.api.fetching import FetchFailed

logger = logging.getLogger(__name__)
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")
"""Signatures that are accepted: of public keys alone, so that a process that checks a token cannot make one."""
LEEWAY_S = 30
"""The most by which the clock of the host that signs tokens may differ from this one's."""
_PUBLIC_TYPES = ("RSA", "EC", "OKP")
_PRIVATE_PARTS = frozenset({"d", "p", "q", "k"})
RENEWED_AFTER_MS = 300_000
ASKED_AT_MOST_EVERY_MS = 30_000
"""For a token with an unknown key: anybody can send one."""
AGAIN_AFTER_FAILURE_MS = 5_000
KEPT_MS = 24 * 3_600_000


def is_public(key: Any) -> bool:
    """Tell whether an entry of a JWKS is a public key for signatures."""
    return (
        isinstance(key, dict)
        and key.get("kty") in _PUBLIC_TYPES
        and not _PRIVATE_PARTS & key.keys()
        and key.get("use", "sig") == "sig"
    )


def keys_of(document: Mapping[str, Any]) -> KeySet:
    """Return the public keys for signatures that a JWKS has; others in it are passed over. Raises ValueError."""
    listed = document.get("keys")
    public = [key for key in listed if is_public(key)] if isinstance(listed, list) else []
    if not public:
        raise ValueError("it has no public key (RSA, EC or OKP) for signatures")
    try:
        return KeySet.import_key_set({"keys": public})
    except (JoseError, KeyError, TypeError) as error:
        raise ValueError(f"it is no JWKS: {error}") from None


class RemoteKeys:
    """Keys of an address. ``fetch`` gives its JWKS and raises FetchFailed; ``what`` names the keys in the log."""

    def __init__(self, what: str, fetch: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        self._what = what
        self._fetch = fetch
        self._keys: KeySet | None = None
        self._fetched_at = 0
        self._asked_at = 0
        self._has_failed = False
        self._asking = asyncio.Lock()

    def keys(self, now: int) -> KeySet | None:
        """Return the keys as they were last seen; None if that is too long ago, or never was."""
        return self._keys if now - self._fetched_at < KEPT_MS else None

    async def refresh(self, now: int) -> None:
        """Fetch the keys if those that are held are some minutes old. A failure is logged."""
        if self._keys is None or now - self._fetched_at >= RENEWED_AFTER_MS:
            await self.renew(now)

    async def renew(self, now: int) -> None:
        """Fetch the keys, unless that was done a moment ago. A failure is logged, and the last ones stay."""
        async with self._asking:
            pause_ms = AGAIN_AFTER_FAILURE_MS if self._has_failed else ASKED_AT_MOST_EVERY_MS
            # a request that waited for another one's fetch takes its result
            if self._asked_at and now - self._asked_at < pause_ms:
                return
            self._asked_at = now
            try:
                self._keys = keys_of(await self._fetch())
            except (FetchFailed, ValueError) as error:
                if not self._has_failed:
                    logger.error("%s cannot be had, those from before stay for a day: %s", self._what, error)
                self._has_failed = True
                return
            self._fetched_at = now
            if self._has_failed:
                logger.info("%s are there again", self._what)
            self._has_failed = False
