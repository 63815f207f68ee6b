"""Running ticks by monitor, and the overlap rule between them (pure).

A tick that is due while the one before runs is skipped, unless the two may overlap. While a late one runs, it waits:
the backlog of a monitor must not cost it its fresh ticks.

All ticks of a monitor come to one partition, and so to one executor: what runs here is all there is to overlap with,
but for what another executor had begun before the partition came here.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from everwatch.executor.backlog import LATE_MS
from everwatch.model import Tick

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Repeated = TypeVar("Repeated")
Waiting = TypeVar("Waiting")


@dataclass(slots=True, eq=False)
class RunningTick(Generic[Repeated, Waiting]):
    """A tick that runs since ``began_at`` (ms).

    ``repeated``: what has come again of the very same tick. ``behind``: what waits for its end.
    """

    tick: Tick
    began_at: int
    repeated: list[Repeated] = field(default_factory=list)
    behind: list[Waiting] = field(default_factory=list)

    def overlaps(self, tick: Tick) -> bool:
        """Tell whether this run was going on when ``tick`` was due, and was not late itself.

        One that was due before it began is only late, as after an outage: nothing overlaps if it runs afterwards.
        """
        if self.tick.is_scheduled and self.began_at - self.tick.scheduled_at > LATE_MS:
            return False
        return self.began_at <= tick.scheduled_at


class Running(Generic[Repeated, Waiting]):
    """The runs going on, by monitor. Constant time, whatever their number."""

    def __init__(self) -> None:
        self._monitors: dict[tuple[str, str], dict[tuple[int, int], RunningTick[Repeated, Waiting]]] = {}

    def __len__(self) -> int:
        """Return the number of monitors with a run under way."""
        return len(self._monitors)

    def is_idle(self, tick: Tick) -> bool:
        """Return whether the monitor of ``tick`` has no run going on."""
        return (tick.user_id, tick.monitor_id) not in self._monitors

    def same_as(self, tick: Tick) -> RunningTick[Repeated, Waiting] | None:
        """The run of the very same tick: it was delivered again."""
        return self._monitors.get(_monitor(tick), {}).get(_firing(tick))

    def in_the_way_of(self, tick: Tick) -> RunningTick[Repeated, Waiting] | None:
        """The run because of which ``tick`` must not begin: its monitor's oldest, unless they may overlap."""
        if tick.may_overlap:
            return None
        runs = self._monitors.get(_monitor(tick))
        return next(iter(runs.values())) if runs else None

    def begin(self, tick: Tick, now: int) -> RunningTick[Repeated, Waiting]:
        """Note that ``tick``, of which no run is going on, runs from ``now`` (ms) on until ``end``."""
        run: RunningTick[Repeated, Waiting] = RunningTick(tick, now)
        self._monitors.setdefault((tick.user_id, tick.monitor_id), {})[tick.scheduled_at, tick.attempt] = run
        return run

    def end(self, run: RunningTick[Repeated, Waiting]) -> None:
        """Note that a run is over, however it ended."""
        runs = self._monitors[_monitor(run.tick)]
        del runs[_firing(run.tick)]
        if not runs:
            del self._monitors[_monitor(run.tick)]


def reason_of_skip(run: RunningTick[Repeated, Waiting], tick: Tick) -> str:
    """Return the reason for skipping ``tick`` while ``run`` is under way."""
    before = run.tick
    if _firing(before) == _firing(tick):
        return f"the run of {_written(before.scheduled_at)} was still going on when the same tick was delivered again"
    return f"the run of {_written(before.scheduled_at)} was still going on (overlap: skip)"


def _monitor(tick: Tick) -> tuple[str, str]:
    return tick.user_id, tick.monitor_id


def _firing(tick: Tick) -> tuple[int, int]:
    return tick.scheduled_at, tick.attempt


def _written(instant_ms: int) -> str:
    try:
        instant = _EPOCH + timedelta(milliseconds=instant_ms)
    except OverflowError:  # a record's timestamp is whatever its producer wrote
        return f"{instant_ms} ms"
    text = instant.isoformat(timespec="milliseconds" if instant_ms % 1000 else "seconds")
    return text.removesuffix("+00:00") + "Z"
