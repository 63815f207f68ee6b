"""Delay before the retry of a failed tick. Pure."""

from hashlib import blake2b
from typing import assert_never

from everwatch.model import Backoff, Retries
from everwatch.schedule.every import PHASE_STEP_MS


def retry_delay_ms(retries: Retries, key: bytes, scheduled_at: int, attempt: int) -> int:
    """The delay, in ms, before attempt number ``attempt`` (2 is the first retry) of the tick due at ``scheduled_at``.

    It grows as ``retries.backoff`` says up to ``cap_ms``, and is then drawn from what lies within the share ``jitter``
    of it and not beyond the cap: a stable hash of table key, tick and attempt, so that computing it again gives
    to the same. A whole multiple of PHASE_STEP_MS and at least one.
    """
    plain_ms = min(_grown_ms(retries, attempt - 1), retries.cap_ms)
    least_ms, most_ms = plain_ms * (1 - retries.jitter), min(plain_ms * (1 + retries.jitter), retries.cap_ms)
    drawn_ms = least_ms + (most_ms - least_ms) * _share(key, scheduled_at, attempt)
    steps = min(round(drawn_ms / PHASE_STEP_MS), retries.cap_ms // PHASE_STEP_MS)
    return max(1, steps) * PHASE_STEP_MS


def _grown_ms(retries: Retries, retry: int) -> int:
    match retries.backoff:
        case Backoff.FIXED:
            return retries.base_ms
        case Backoff.LINEAR:
            return retries.base_ms * retry
        case Backoff.EXPONENTIAL:
            # as many doublings as it takes to get from one ms beyond the cap, and no more: numbers stay small
            return retries.base_ms << min(retry - 1, retries.cap_ms.bit_length())
        case _:
            assert_never(retries.backoff)


def _share(key: bytes, scheduled_at: int, attempt: int) -> float:
    """A number from 0 to 1."""
    # numbers of fixed length before the key: no two attempts are the same text
    text = scheduled_at.to_bytes(8, "big") + attempt.to_bytes(8, "big") + key
    return int.from_bytes(blake2b(text, digest_size=8, person=b"retry").digest(), "big") / 2**64
