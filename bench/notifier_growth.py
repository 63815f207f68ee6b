"""CPU of a transition while what the notifier keeps grows: alternating with the same work on a new database.

Other work on the machine makes both slower alike, so the ratio says what growth alone costs.
"""

import tempfile
import time
from pathlib import Path

from bench.notifying import USERS_ROUTE, Changes, CountingReceivers, Notifying
from bench.report import Figure
from everwatch.core.clock import SystemClock

_AT_ONCE = 1_000
_MONITORS = 10
_RULES = '[defaults]\ngroup_wait = "0s"\ngroup_interval = "0s"\n' + USERS_ROUTE.format(url="http://127.0.0.1:9/")


async def growth(sizes: tuple[int, ...]) -> list[Figure]:
    """Take in, judge, compose and send (to receivers in this process) as many transitions as each size says.

    Half of them open incidents, half close them; each user has ten monitors. A new database does a thousand of the
    same kind beside each tenth thousand.
    """
    figures: list[Figure] = []
    for size in sizes:
        own_s, beside_s, compared_s = 0.0, 0.0, 0.0
        with tempfile.TemporaryDirectory(prefix="everwatch-bench-") as folder:
            grown = _Filled(Path(folder), size)
            for done in range(0, size, _AT_ONCE):
                took_s = await grown.step()
                own_s += took_s
                if done * 2 >= size and done // _AT_ONCE % 10 == (size // 2) // _AT_ONCE % 10:
                    compared_s += took_s
                    beside_s += await _closing_on_a_new_database()
            grown.close()
        figures.append(Figure(f"{size:,} transitions: CPU", own_s / size * 1e4, "s for 10,000"))
        name = f"{size:,} transitions: CPU of the second half, beside a new database"
        figures.append(Figure(name, compared_s / beside_s, "times"))
    return figures


async def _closing_on_a_new_database() -> float:
    """CPU seconds of closing as many incidents as a step closes, where nothing else is stored."""
    with tempfile.TemporaryDirectory(prefix="everwatch-bench-") as folder:
        new = _Filled(Path(folder), 2 * _AT_ONCE)
        await new.step()
        took_s = await new.step()
        new.close()
    return took_s


class _Filled:
    """A notifier whose users' monitors all fail, and then all recover."""

    def __init__(self, folder: Path, transitions: int) -> None:
        users = transitions // 2 // _MONITORS
        self._notifying = Notifying(folder, _RULES, CountingReceivers(), SystemClock())
        self._notifying.take(self._notifying.users(range(users)))
        self._changes = Changes(users, 0, transitions, monitors=_MONITORS).changes()

    async def step(self) -> float:
        """Carry the next thousand transitions through; return the CPU seconds that it took."""
        records = self._notifying.records(change for change, _ in zip(self._changes, range(_AT_ONCE), strict=False))
        began_s = time.process_time()
        self._notifying.take(records)
        self._notifying.judge()
        self._notifying.compose()
        await self._notifying.send_at_once()
        return time.process_time() - began_s

    def close(self) -> None:
        """Close the database."""
        self._notifying.close()
