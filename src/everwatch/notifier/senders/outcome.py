"""Outcome of an attempt, and its meaning by HTTP status."""

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

from everwatch.core.printable import printable
from everwatch.network.http_response import HttpResponse
from everwatch.schedule.duration import DAY_MS

_LONGEST_RETRY_AFTER_MS = DAY_MS
_LONGEST_SAID = 200


class Verdict(StrEnum):
    """Verdict on an attempt.

    ``sent``: the receiver has it. ``failed``: it may take it later. ``refused``: it never takes this message.
    ``gone``: it takes nothing any more.
    """

    SENT = "sent"
    FAILED = "failed"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(frozen=True)
class AttemptOutcome:
    """Outcome of an attempt. ``reason``: one sentence. ``retry_after_ms``: the pause that the receiver asks for.

    ``is_servers``: the whole server is to blame (no connection, overload), not this message or address.
    """

    verdict: Verdict
    reason: str
    retry_after_ms: int = 0
    is_servers: bool = False


def judged(answer: HttpResponse, now: int, is_refusal: Callable[[HttpResponse], bool]) -> AttemptOutcome:
    """Return what an HTTP answer means. ``is_refusal``: whether a status of 4xx is final for this message."""
    status = answer.status
    if 200 <= status <= 299:
        return AttemptOutcome(Verdict.SENT, f"status {status}")
    said = said_of(bytes(answer.body).decode(errors="replace"))
    reason = f"status {status}{f': {said}' if said else ''}"
    if status == 410:
        return AttemptOutcome(Verdict.GONE, reason)
    if status in (429, 503):
        return AttemptOutcome(Verdict.FAILED, reason, retry_after_of(answer, now), is_servers=True)
    if 300 <= status <= 399:
        return AttemptOutcome(Verdict.FAILED, f"{reason} (redirects are not followed)")
    if 400 <= status <= 499 and status != 408 and is_refusal(answer):
        return AttemptOutcome(Verdict.REFUSED, reason)
    return AttemptOutcome(Verdict.FAILED, reason, is_servers=status >= 500)


def retry_after_of(answer: HttpResponse, now: int) -> int:
    """Return the pause that ``Retry-After`` asks for (RFC 9110, 10.2.3), ms; 0 without one, a day at most."""
    value = (answer.header(b"retry-after") or "").strip()
    if value.isdigit() and len(value) < 10:
        wanted = int(value) * 1_000
    else:
        try:
            wanted = int(parsedate_to_datetime(value).timestamp() * 1_000) - now
        except (TypeError, ValueError, OverflowError):
            return 0
    return max(0, min(wanted, _LONGEST_RETRY_AFTER_MS))


def said_of(text: str) -> str:
    """Return what a receiver says as one line that any terminal and database takes, of 200 characters at most."""
    return printable(" ".join(text[: 10 * _LONGEST_SAID].split())[:_LONGEST_SAID])
