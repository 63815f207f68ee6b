"""Ids of traces and spans, derived from what a tick is.

A repeated check is the same span, and no id has to travel with the tick: every process can compute it.
"""

from hashlib import blake2b
from typing import Protocol


class Attempted(Protocol):
    """The identity of an attempt, which a tick and a result have."""

    @property
    def user_id(self) -> str: ...
    @property
    def monitor_id(self) -> str: ...
    @property
    def scheduled_at(self) -> int: ...
    @property
    def attempt(self) -> int: ...


def trace_id_of(tick: Attempted) -> int:
    """Return the trace of a tick: BLAKE2b-128 of ``user_id NUL monitor_id NUL scheduled_at`` (ms, in digits)."""
    return _hash(f"{tick.user_id}\0{tick.monitor_id}\0{tick.scheduled_at}", 16)


def span_id_of(tick: Attempted, step: str = "") -> int:
    """Return the span of an attempt: BLAKE2b-64 of the same and ``NUL attempt``; of a later ``step``, its name too."""
    return _hash(f"{tick.user_id}\0{tick.monitor_id}\0{tick.scheduled_at}\0{tick.attempt}{step and chr(0)}{step}", 8)


def _hash(text: str, size: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=size).digest(), "big")
