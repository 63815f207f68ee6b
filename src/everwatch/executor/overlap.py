"""Which ticks run here, and what stands in the way of another one of the same monitor (pure).

All ticks of a monitor come to one partition, and so to one executor: what runs here is all there is to overlap with,
but for what another executor had begun before the partition came here.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from everwatch.model import Priority, Tick

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Repeated = TypeVar("Repeated")


@dataclass(slots=True, eq=False)
class Run(Generic[Repeated]):
    """A tick that runs, the priority whose slot it holds, and what has come again of the very same tick meanwhile."""

    tick: Tick
    priority: Priority
    repeated: list[Repeated] = field(default_factory=list)


class Running(Generic[Repeated]):
    """The runs going on, by monitor. Constant time, whatever their number."""

    def __init__(self) -> None:
        self._monitors: dict[tuple[str, str], dict[tuple[int, int], Run[Repeated]]] = {}

    def __len__(self) -> int:
        """How many monitors have a run going on."""
        return len(self._monitors)

    def same_as(self, tick: Tick) -> Run[Repeated] | None:
        """The run of the very same tick: it was delivered again."""
        return self._monitors.get(_monitor(tick), {}).get(_firing(tick))

    def in_the_way_of(self, tick: Tick) -> Run[Repeated] | None:
        """The run because of which ``tick`` must not begin: its monitor's oldest, unless they may overlap."""
        if tick.may_overlap:
            return None
        runs = self._monitors.get(_monitor(tick))
        return next(iter(runs.values())) if runs else None

    def begin(self, tick: Tick, priority: Priority) -> Run[Repeated]:
        """Note that ``tick``, of which no run is going on, runs from now on until ``end``."""
        run = Run[Repeated](tick, priority)
        self._monitors.setdefault(_monitor(tick), {})[_firing(tick)] = run
        return run

    def end(self, run: Run[Repeated]) -> None:
        """Note that a run is over, however it ended."""
        runs = self._monitors[_monitor(run.tick)]
        del runs[_firing(run.tick)]
        if not runs:
            del self._monitors[_monitor(run.tick)]


def reason_of_skip(before: Tick, tick: Tick) -> str:
    """Why ``tick`` is not run while ``before`` is."""
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
