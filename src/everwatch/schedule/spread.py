"""Spread of a cron expression: a stable delay per monitor, so that not all of one expression are due at once."""

from hashlib import blake2b

from everwatch.schedule.every import PHASE_STEP_MS


def spread_of(key: bytes, spread_ms: int) -> int:
    """The offset, in ms, of the monitor with this table key: 0 <= offset < spread_ms, a multiple of PHASE_STEP_MS.

    0 if ``spread_ms`` is 0.
    """
    steps = -(-spread_ms // PHASE_STEP_MS)
    # personalised, so that it says nothing about the phase that the same key has
    number = int.from_bytes(blake2b(key, digest_size=8, person=b"spread").digest(), "big")
    return number % steps * PHASE_STEP_MS if steps else 0
