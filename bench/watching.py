"""One window of time in which the reader watches a topic while CPU is counted, and what the window says."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol

import psutil

from bench.expectation import Due, Expectation
from bench.population import MINUTE_MS
from bench.reader import Reading, reading
from bench.report import Figure, percentile
from bench.rig import Rig

SETTLE_S = 3.0
STEP_MS = 100
LEAD_MS = 500


class Watched(Protocol):
    """A process whose cost is counted: a worker or a peer."""

    @property
    def process(self) -> psutil.Process: ...
    def cpu_s(self) -> float: ...
    def resident_mib(self) -> float: ...


@dataclass
class Window:
    """Ticks due after ``after`` up to ``upto`` (ms), as read, and what it cost: CPU seconds, MiB resident."""

    topic: str
    after: int
    upto: int
    begin: list[int]
    end: list[int]
    reading: Reading
    cpu_s: list[float]
    resident_mib: list[float]
    broker_cpu_s: float
    others_cpu_s: float

    @property
    def seconds(self) -> float:
        """Length of the window, seconds."""
        return (self.upto - self.after) / 1000


@dataclass
class Verdict:
    """A window compared with what was due. ``early`` are ticks that came before their instant."""

    ticks: int
    due: int
    missed: int
    duplicates: int
    early: int
    lateness: Counter[int]
    growth_ms: int

    def late(self, share: float) -> int:
        """Lateness, ms, that this share of all ticks does not exceed."""
        return percentile(self.lateness, share)

    @property
    def worst(self) -> int:
        """The greatest lateness, ms."""
        return max(self.lateness, default=0)


def watch(
    rig: Rig,
    topic: str,
    seconds: float,
    watched: Sequence[Watched],
    *,
    settle_s: float = SETTLE_S,
    over_a_minute: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> Window:
    """Watch ``topic`` for a while; with ``over_a_minute`` so that a full minute lies in the middle.

    ``meanwhile`` is called once, as the window begins.
    """
    begin = rig.ends(topic)
    with reading(rig.bootstrap_servers, {(topic, number): at for number, at in enumerate(begin)}) as reader:
        after = (rig.clock.now_ms() + LEAD_MS) // STEP_MS * STEP_MS
        if over_a_minute:
            half = int(seconds * 500) // STEP_MS * STEP_MS
            after += (-half - after) % MINUTE_MS
        upto = after + int(seconds * 1000)
        _sleep_until(rig, after)
        counted = [one.cpu_s() for one in watched], rig.broker_cpu_s(), _busy_s()
        if meanwhile is not None:
            meanwhile()
        _sleep_until(rig, upto)
        cpu_s = [one.cpu_s() - before for one, before in zip(watched, counted[0], strict=True)]
        broker_cpu_s, busy_s = rig.broker_cpu_s() - counted[1], _busy_s() - counted[2]
        resident = [one.resident_mib() for one in watched]
        Event().wait(settle_s)
        read = reader.stop()
    end = [read.positions[topic, number] for number in range(rig.partitions)]
    others = max(0.0, busy_s - sum(cpu_s) - broker_cpu_s - read.cpu_s)
    return Window(topic, after, upto, begin, end, read, cpu_s, resident, broker_cpu_s, others)


def judge(window: Window, expected: Expectation) -> Verdict:
    """Compare a window with what was due, by partition and instant."""
    return compare(window.reading, window.topic, window.after, window.upto, expected.due(window.after, window.upto))


def compare(read: Reading, topic: str, after: int, upto: int, due: Due) -> Verdict:
    """Compare what was read of ``topic`` with what was due after ``after`` up to ``upto``, by partition and instant."""
    came: Counter[tuple[int, int]] = Counter()
    lateness: Counter[int] = Counter()
    fifths: list[Counter[int]] = [Counter() for _ in range(5)]
    early = 0
    fifth_ms = max(1, (upto - after) // 5)
    for arrival, partition, instant, count in read.arrivals(topic):
        if after < instant <= upto:
            came[partition, instant] += count
            late = max(0, arrival - instant)
            early += count if arrival < instant else 0
            lateness[late] += count
            fifths[min(4, (instant - after - 1) // fifth_ms)][late] += count
    return Verdict(
        ticks=sum(came.values()),
        due=sum(due.values()),
        missed=sum(max(0, count - came[place]) for place, count in due.items()),
        duplicates=sum(max(0, count - due.get(place, 0)) for place, count in came.items()),
        early=early,
        lateness=lateness,
        growth_ms=percentile(fifths[4], 0.99) - percentile(fifths[0], 0.99),
    )


def per_million(cpu_s: float, ticks: int) -> float:
    """CPU seconds per million ticks."""
    return cpu_s / max(1, ticks) * 1e6


def cost_figures(window: Window, verdict: Verdict, name: str = "worker") -> list[Figure]:
    """Figures of cost and machine that every bench of ticks reports."""
    million = "CPU s per million"
    return [
        Figure(f"{name} CPU", per_million(sum(window.cpu_s), verdict.ticks), million),
        Figure(f"{name} CPU, of one core", sum(window.cpu_s) / window.seconds, "cores"),
        Figure(f"{name} resident", sum(window.resident_mib), "MiB"),
        Figure("broker CPU", per_million(window.broker_cpu_s, verdict.ticks), million),
        Figure("reader CPU", window.reading.cpu_s / max(0.001, window.reading.seconds), "cores"),
        Figure("CPU of everything else on the machine", window.others_cpu_s / window.seconds, "cores"),
        Figure("bytes per tick on the topic", window.reading.bytes_read / max(1, _records(window)), "bytes"),
        Figure("batches with a wrong checksum", window.reading.unsound, "batches"),
    ]


def _records(window: Window) -> int:
    return sum(count for _, _, _, count in window.reading.arrivals(window.topic))


def _sleep_until(rig: Rig, instant: int) -> None:
    while (left_ms := instant - rig.clock.now_ms()) > 0:
        rig.check()
        Event().wait(min(left_ms / 1000, 1.0))


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
