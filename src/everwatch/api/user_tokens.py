"""Tokens of end users: JWTs that the product itself signs, so that a user's own monitors can be shown within it.

The keys come from a file (a JWKS, RFC 7517), which is followed, or from an address. ``sub`` is the user's id, and a
token sees that user's things only. Signatures are of public keys alone: a process that checks a token cannot make one.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from everwatch.api.fetching import Fetcher, FetchFailed
from everwatch.api.key_sets import ALGORITHMS, LEEWAY_S, RemoteKeys, is_public, keys_of
from everwatch.api.permissions import SCOPES_OF, Principal, Role
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.encoding.input_models import UserId

logger = logging.getLogger(__name__)
LONGEST_JWT = 8_000
PREFIX = "jwt-"
"""How ids of principals begin that come of a JWT."""
_LARGEST_FILE_BYTES = 256_000
_LONGEST_MS = 24 * 3_600_000
"""How far ahead a token may expire: it cannot be revoked."""


class UserTokens:
    """Judges JWTs by the keys of a file or of an address; without either, none is accepted.

    Raises SettingsError if the file or what belongs to it is wrong to begin with.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = settings.api_jwks_file
        self._issuer, self._audience = settings.api_jwt_issuer, settings.api_jwt_audience
        self._role = Role(settings.api_jwt_role)
        self._seen: tuple[int, int] | None = None
        self._keys: KeySet | None = None
        self._remote: RemoteKeys | None = None
        if settings.api_jwks_url:
            self._remote = _remote_keys(settings.api_jwks_url, Fetcher(settings.ca_file))
        if self._file is None:
            return
        self._seen = _stamp(self._file)
        try:
            self._keys = _read(self._file)
        except ValueError as error:
            raise SettingsError(f"The setting EVERWATCH_API_JWKS_FILE: {error}.") from None

    def look(self) -> None:
        """Take the file as it is now, if it has changed. A fault in it is logged once. For a thread."""
        if self._file is None or (stamp := _stamp(self._file)) == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = _read(self._file)
        except ValueError as error:
            logger.error("the keys of end users' tokens stay as they were: %s", error)
        else:
            logger.info("keys of end users' tokens taken from %s", self._file)

    async def refresh(self, now: int) -> None:
        """Fetch the keys of an address, if it is time to."""
        if self._remote is not None:
            await self._remote.refresh(now)

    async def renew_for(self, text: str, now: int) -> bool:
        """Fetch the keys of an address if a token names one that is unknown; tell whether to judge it again."""
        if self._remote is None or not _may_be_jwt(text):
            return False
        keys = self._remote.keys(now)
        if keys is not None and _names_one_of(text, keys):
            return False
        await self._remote.renew(now)
        return True

    def principal(self, text: str, now: int) -> Principal | None:
        """Return the user of a JWT at ``now``; None for one that is not valid."""
        keys = self._keys if self._remote is None else self._remote.keys(now)
        if keys is None or not _may_be_jwt(text):
            return None
        required = jwt.JWTClaimsRegistry(
            now=now // 1000,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            claims = jwt.decode(text, keys, algorithms=list(ALGORITHMS)).claims
            required.validate(claims)
            user_id = msgspec.convert(claims["sub"], type=UserId)
        except (JoseError, ValueError, KeyError, TypeError, RecursionError):
            # whatever it is, it is no token of this product for this API
            return None
        expires_at = int(claims["exp"]) * 1000
        if expires_at > now + _LONGEST_MS:
            return None
        token_id = PREFIX + hashlib.sha256(user_id.encode()).hexdigest()[:12]
        scopes = SCOPES_OF[self._role]
        return Principal(token_id, scopes, user_id, user_id, self._role, expires_at=expires_at, by_jwt=True)


def _may_be_jwt(text: str) -> bool:
    return len(text) <= LONGEST_JWT and text.count(".") == 2


def _names_one_of(text: str, keys: KeySet) -> bool:
    """Tell whether the key that a token names is known, or none can be made out."""
    try:
        kid = jws.extract_compact(text.encode()).headers().get("kid")
    except (JoseError, ValueError, KeyError, TypeError, RecursionError):
        return True
    return kid is None or any(key.kid == kid for key in keys.keys)


def _remote_keys(url: str, fetcher: Fetcher) -> RemoteKeys:
    async def fetch() -> Mapping[str, Any]:
        found = await fetcher.get(url)
        if found.status != 200:
            raise FetchFailed(f"{url} answers with status {found.status}")
        return found.document

    return RemoteKeys("the keys of end users' tokens (EVERWATCH_API_JWKS_URL)", fetch)


def _read(file: Path) -> KeySet:
    """Return the keys of a file. Raises ValueError with the reason."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST_FILE_BYTES:
        raise ValueError(f"{file} has more than {_LARGEST_FILE_BYTES} bytes")
    try:
        given: Any = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no JWKS: {error}") from None
    keys = given["keys"] if isinstance(given, dict) and "keys" in given else None
    if not isinstance(keys, list) or not keys:
        raise ValueError(f"{file} is no JWKS: it is an object with 'keys', at least one")
    if not all(is_public(key) for key in keys):
        raise ValueError(f"{file} has a key that is not public (RSA, EC or OKP, without 'd')")
    try:
        return keys_of(given)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
