"""Options of a bench."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """``quick``: a smaller size, in under 50 s. ``peers``: compare with others. ``processes``: of the executor.

    ``users``: how many a generated database has; ``rate``: of a simulated load, in results/s; 0: as many as the bench
    takes by itself. ``only``: the one kind of database, or part, that is measured; empty: each. ``folder``: where a
    generated database is kept; None: nowhere. ``monitors``: of each user (bench registration).
    ``results``: how many a generated database has in all; 0: five for each user.
    ``fencing_turns``: so often workers with and without fencing take turns (bench registration, churn).
    """

    quick: bool = False
    peers: bool = True
    processes: int = 1
    users: int = 0
    rate: int = 0
    only: str = ""
    folder: Path | None = None
    monitors: int = 1
    fencing_turns: int = 0
    results: int = 0

    def takes(self, part: str) -> bool:
        """Tell whether to measure this kind of database ("PostgreSQL" or "SQLite") or this part."""
        return self.only in ("", part.lower())

    @property
    def settle_s(self) -> float:
        """Seconds to wait after a window for late ticks."""
        return 1.0 if self.quick else 3.0
