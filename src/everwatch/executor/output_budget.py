"""Limits on the output of callables: bytes in one run, and bytes a minute in all runs of one callable (pure)."""

from dataclasses import dataclass

KIB = 1_024


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class OutputBudgets:
    """Grants each run what it may write: ``per_run`` bytes, as long as its callable keeps to ``per_minute``.

    A token bucket for each callable, which holds what it may write in a minute. Instants are seconds on a clock that
    never steps.
    """

    def __init__(self, per_run: int, per_minute: int) -> None:
        self.per_run = per_run
        self.per_minute = per_minute
        self._buckets: dict[str, _Bucket] = {}

    def grant(self, name: str, now_s: float) -> int:
        """Return the bytes that a run of the callable ``name`` may write from now on; ``settle`` has to follow."""
        bucket = self._filled(name, now_s)
        granted = min(self.per_run, int(bucket.left))
        bucket.left -= granted
        return granted

    def settle(self, name: str, unused: int, now_s: float) -> None:
        """Give back what a run did not use of its grant."""
        bucket = self._filled(name, now_s)
        bucket.left = min(float(self.per_minute), bucket.left + unused)

    def _filled(self, name: str, now_s: float) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(self.per_minute, now_s)
        bucket.left = min(float(self.per_minute), bucket.left + (now_s - bucket.at_s) * self.per_minute / 60)
        bucket.at_s = now_s
        return bucket
