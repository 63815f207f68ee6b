"""Intervals with a deterministic phase: due at every instant t with t mod interval = phase. Pure arithmetic.

The phase is a stable hash of the monitor's key, so a million monitors of one interval are spread evenly over it,
every process works out the same due instants, and nothing has to be stored. Aligned to the epoch, all have phase 0.
Intervals that are counted from midnight are not of this kind (see ``midnight``).
"""

from collections.abc import Iterable
from hashlib import blake2b

from everwatch.model import Align, Every

PHASE_STEP_MS = 100
"""Phases, and so all due instants of an interval, are whole multiples of this many ms."""


# asked for every monitor that is put, where looking a member up takes longer than comparing it
_PHASE = Align.PHASE


def phase_of(key: bytes, schedule: Every) -> int:
    """The phase, in ms, of the monitor with this table key: 0 <= phase < interval, a multiple of PHASE_STEP_MS."""
    if schedule.align is not _PHASE:
        assert schedule.align is not Align.MIDNIGHT, "what is counted from midnight has no phase"
        return 0
    # BLAKE2b (RFC 7693), eight bytes of it: the same in every process, on every machine, forever
    number = int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
    return number % (schedule.interval_ms // PHASE_STEP_MS) * PHASE_STEP_MS


def phases_of(keys: Iterable[bytes], interval_ms: int) -> list[int]:
    """The phases, in ms, of monitors with these table keys, whose intervals have no alignment."""
    steps, number_of = interval_ms // PHASE_STEP_MS, int.from_bytes
    return [number_of(blake2b(key, digest_size=8).digest(), "big") % steps * PHASE_STEP_MS for key in keys]


def due_between(schedule: Every, phase_ms: int, after: int, upto: int) -> range:
    """All due instants t with after < t <= upto, in order; a ``range``, so counting them costs nothing."""
    interval = schedule.interval_ms
    first = after + 1 + (phase_ms - after - 1) % interval
    return range(first, upto + 1, interval)
