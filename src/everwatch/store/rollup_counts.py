"""Counts of one roll-up, as the database gives them."""

from enum import Enum

import msgspec

from everwatch.schedule.duration import DAY_MS, HOUR_MS
from everwatch.store import sketch


class RollupStep(Enum):
    """How long a roll-up is, in ms."""

    HOUR = HOUR_MS
    DAY = DAY_MS


class Rollup(msgspec.Struct, frozen=True):
    """Counts of a monitor's ticks due at ``at`` <= t < ``at`` + ``length_ms``.

    ``successes``, ``failures`` and ``lates`` count results, each attempt by itself; ``skips`` counts ticks.
    ``duration_us``: of all successes and failures together, in microseconds, so that sums are exact. ``durations``:
    theirs, as ``store.sketch`` writes them.
    """

    user_id: str
    monitor_id: str
    at: int
    length_ms: int
    successes: int = 0
    failures: int = 0
    lates: int = 0
    skips: int = 0
    duration_us: int = 0
    durations: str = ""

    @property
    def mean_ms(self) -> float | None:
        """The mean duration; None if nothing ran."""
        ran = self.successes + self.failures
        return self.duration_us / ran / 1_000 if ran else None

    def quantiles_ms(self, *shares: float) -> list[float | None]:
        """Durations, within 2 %, that these shares (0 to 1) of all do not exceed; None if nothing ran."""
        counts = sketch.counts_of(self.durations)
        return [sketch.quantile_ms(counts, share) for share in shares]
