"""One-time login links: codes that are known, and which of them were used.

A code is 256 random bits; only its SHA-256 is stored, on the compacted topic ``access``. A use of the code claims it
there first: every process reads the topic in one order, so the first claim wins everywhere, and a restart or another
process opens no link again.
"""

import hmac
import secrets
from collections.abc import Iterable

import msgspec

from everwatch.api.permissions import Role
from everwatch.api.tokens import LONGEST_TOKEN, LoginRecord, digest_of, token_id_of

LINK_VALID_MS = 600_000
_ID_CHARACTERS = 16


class NewLogin(msgspec.Struct, frozen=True):
    """A new code: its text, which is shown once, and its stored record."""

    code: str
    record: LoginRecord

    def link(self, address: str) -> str:
        """Return the link that logs a browser in at an API's address."""
        return f"{address.rstrip('/')}/login?code={self.code}"


def new_login(role: Role, now: int, *, user_id: str = "") -> NewLogin:
    """Make a code that is valid for ten minutes."""
    code = secrets.token_urlsafe(32)
    record = LoginRecord(
        login_id=token_id_of(code),
        sha256=digest_of(code),
        role=role,
        user_id=user_id or None,
        created_at=now,
        expires_at=now + LINK_VALID_MS,
    )
    return NewLogin(code, record)


def new_claim() -> str:
    """Make the mark of one use of a code."""
    return secrets.token_hex(_ID_CHARACTERS)


class Logins:
    """The codes that the topic ``access`` holds; changed in the follower's thread, one step at a time."""

    def __init__(self) -> None:
        self._records: dict[str, LoginRecord] = {}

    def put(self, record: LoginRecord) -> None:
        """Take in a code, or a claim of it: the first one stays."""
        held = self._records.get(record.login_id)
        if held is None or not held.claim:
            self._records[record.login_id] = record

    def forget(self, login_id: str) -> None:
        """Forget a code."""
        self._records.pop(login_id, None)

    def find(self, code: str, now: int) -> LoginRecord | None:
        """Return the code that may still be used at ``now``; None for one that is unknown, used or expired."""
        if len(code) > LONGEST_TOKEN or not code.isascii():
            return None
        record = self._records.get(token_id_of(code))
        if record is None or not hmac.compare_digest(record.sha256, digest_of(code)):
            return None
        return None if record.claim or now >= record.expires_at else record

    def claim_of(self, login_id: str) -> str:
        """Return the claim that won a code; "" while there is none."""
        record = self._records.get(login_id)
        return record.claim if record is not None else ""

    def records(self) -> Iterable[LoginRecord]:
        """Return all codes that are known."""
        return list(self._records.copy().values())
