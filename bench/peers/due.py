"""Index of due monitors in memory, which the plain Faust app builds from its table."""

from collections import defaultdict
from dataclasses import dataclass

from everwatch.model import Every
from everwatch.schedule.every import PHASE_STEP_MS, phase_of


@dataclass(frozen=True, slots=True)
class Due:
    """A monitor and what its ticks are made of."""

    key: bytes
    user_key: bytes
    partition: int
    schedule: Every
    spec: bytes


class DueIndex:
    """Monitors by interval and phase; those that are due are found without looking at the others."""

    def __init__(self, upto_ms: int) -> None:
        self._upto_ms = upto_ms
        # interval -> phase -> key -> the monitor and the instant after which it is due
        self._slots: dict[int, dict[int, dict[bytes, tuple[Due, int]]]] = defaultdict(lambda: defaultdict(dict))
        self._by_user: dict[bytes, list[Due]] = {}

    def clear(self) -> None:
        """Forget all monitors, but not up to when ticks have been handed out."""
        self._slots.clear()
        self._by_user.clear()

    def put(self, user_key: bytes, entries: list[Due], now_ms: int) -> None:
        """From now on the user has these monitors and no others. One that keeps its interval misses nothing."""
        before = self._by_user.get(user_key, [])
        since = {(due.key, due.schedule): self._slot(due).pop(due.key)[1] for due in before}
        for due in entries:
            self._slot(due)[due.key] = (due, since.get((due.key, due.schedule), now_ms))
        self._by_user[user_key] = entries

    def due_upto(self, now_ms: int) -> list[tuple[Due, int]]:
        """Monitors and the instants that were due since the last call, up to ``now_ms``."""
        after, self._upto_ms = self._upto_ms, max(now_ms, self._upto_ms)
        found: list[tuple[Due, int]] = []
        for interval_ms, slots in self._slots.items():
            start = after + 1
            while start <= self._upto_ms:
                lap = start - start % interval_ms
                end = min(self._upto_ms + 1, lap + interval_ms)
                first = -(-(start - lap) // PHASE_STEP_MS) * PHASE_STEP_MS
                for phase in range(first, end - lap, PHASE_STEP_MS):
                    slot = slots.get(phase, {})
                    found += [(due, lap + phase) for due, since_ms in slot.values() if lap + phase > since_ms]
                start = end
        return found

    def _slot(self, due: Due) -> dict[bytes, tuple[Due, int]]:
        return self._slots[due.schedule.interval_ms][phase_of(due.key, due.schedule)]
