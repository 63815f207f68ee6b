"""A simulated day: timetables of 10,000,000 monitors, swept by a clock that is given to them, faster than real time.

One process, 8 partitions, no Kafka: the timetables, and a worker's work on a batch up to the socket (header, CRC-32C).
The clock is virtual: a sweep that begins at an instant ends as much later as it used CPU, and the next one begins at
the next step after that, so a sweep that takes longer than its period makes the ones behind it late. A tick is as late
as the end of its sweep. The day is that of the clock's change in spring; a day of the change in autumn, with a tenth
of the monitors, comes after it. All that is emitted is counted against the schedules; of a sample of the monitors each
tick is compared with an independent computation (``bench.naive_schedules``).
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psutil

from bench.errors import Unmeasured
from bench.naive_schedules import cron_instants, interval_instants
from bench.plan import Plan
from bench.report import Figure, Outcome, percentile, say
from everwatch.core.process_memory import expect_batches, give_back
from everwatch.encoding import codec
from everwatch.kafka.compression import codec_named
from everwatch.kafka.stamped_batch import StampedBatch
from everwatch.model import Cron, Every, Misfire, Tick
from everwatch.schedule.duration import HOUR_MS, MINUTE_MS, SECOND_MS
from everwatch.schedule.every import phase_of
from everwatch.schedule.spread import spread_of
from everwatch.timetable import BatchKey, Chunk, Destination, Timetable, TimetableEntry, framed, unframed

MIB = 2**20
DAY_MS = 24 * HOUR_MS
SPRING, AUTUMN = (
    round(datetime(2026, month, day, tzinfo=UTC).timestamp() * 1000) for month, day in ((3, 29), (10, 25))
)
"""Midnight (UTC) of the days on which Europe's clocks change."""
# a worker takes a longer gap for an outage, and then misfire rules would say what is emitted
OUTAGE_MS = 5_000
SAMPLE = b"pick-"
LINE = BatchKey(Destination.NORMAL, Misfire.FIRE_LAST, MINUTE_MS)
_CONFIG = '{"expect_status":200,"url":"https://shop.example/health"}'
_SAY_EVERY_HOURS = 4

# schedules, and how many of a hundred monitors have each
MIX: tuple[tuple[Every | Cron, int], ...] = (
    (Every(30 * SECOND_MS), 5),
    (Every(MINUTE_MS), 30),
    (Every(5 * MINUTE_MS), 20),
    (Every(15 * MINUTE_MS), 10),
    (Every(HOUR_MS), 10),
    (Every(DAY_MS), 5),
    (Cron("*/5 * * * *"), 3),
    (Cron("*/10 * * * *", "Europe/Berlin", 5 * MINUTE_MS), 5),
    (Cron("0 9 * * *", "Europe/Berlin"), 5),
    (Cron("0 9 * * *", "Europe/London"), 2),
    (Cron("0 9 * * *", "America/New_York"), 2),
    (Cron("0 9 * * 1-5", "Europe/Berlin"), 1),
    (Cron("30 2 * * *", "Europe/Berlin"), 1),
    (Cron("30 1 * * *", "Europe/London", 10 * MINUTE_MS), 1),
)
assert sum(share for _, share in MIX) == 100

SampledTick = tuple[str, int]


@dataclass(frozen=True)
class Size:
    """``monitors`` over ``partitions``, one in ``one_in`` of them compared tick by tick, swept every ``sweep_ms``."""

    monitors: int
    partitions: int = 8
    one_in: int = 9_973
    sweep_ms: int = 100


@dataclass
class Load:
    """The timetables, and what the schedules say: ``due`` ticks in all, and each one of the sample."""

    timetables: list[Timetable]
    due: int = 0
    sample: set[SampledTick] = field(default_factory=set)
    sampled: int = 0
    put_s: float = 0.0


@dataclass
class Day:
    """Measurements of a simulated day. ``late_ms``, ``ticks``: by hour."""

    sweeps: int = 0
    chunks: int = 0
    cpu_s: float = 0.0
    longest_ms: float = 0.0
    overrun: int = 0
    ticks: Counter[int] = field(default_factory=Counter)
    late_ms: dict[int, Counter[int]] = field(default_factory=dict)
    found: Counter[SampledTick] = field(default_factory=Counter)
    resident_mib: float = 0.0


def measure(plan: Plan) -> Outcome:
    """Simulate the day in spring, and one in autumn with fewer monitors."""
    expect_batches()
    if plan.quick:
        size = Size(plan.users or 10_000, partitions=1, one_in=100, sweep_ms=1_000)
        later = Size(size.monitors // 10, partitions=1, one_in=10, sweep_ms=5_000)
    else:
        size = Size(plan.users or 10_000_000)
        later = Size(size.monitors // 10, partitions=2, one_in=1_999, sweep_ms=1_000)
    figures = list(_simulated(size, SPRING, hourly=True))
    for figure in _simulated(later, AUTUMN, hourly=False):
        figures.append(Figure(f"autumn: {figure.name}", figure.value, figure.unit, figure.target))
    return Outcome(figures)


def _simulated(size: Size, begin: int, *, hourly: bool) -> Iterator[Figure]:
    before_mib = _resident_mib()
    say(f"{size.monitors:,} monitors are put")
    load = fill(size, begin)
    give_back()
    filled_mib = _resident_mib()
    say(f"{filled_mib - before_mib:,.0f} MiB; the day begins")
    day = simulate(load, size, begin)
    late = sum(day.late_ms.values(), Counter())
    emitted = sum(day.ticks.values())
    yield Figure("monitors", size.monitors, "monitors")
    yield Figure("ticks emitted", emitted, "ticks")
    yield Figure("ticks that are due and were not emitted, or the reverse", abs(load.due - emitted), "ticks", "<= 0")
    yield Figure("compared one by one, of monitors", load.sampled, "monitors")
    yield Figure("compared one by one", len(load.sample), "ticks")
    yield Figure("missed, of those", len(load.sample - day.found.keys()), "ticks", "<= 0")
    yield Figure("not due, of those", len(day.found.keys() - load.sample), "ticks", "<= 0")
    yield Figure("twice, of those", sum(count - 1 for count in day.found.values()), "ticks", "<= 0")
    yield Figure("late p50", percentile(late, 0.5), "ms")
    yield Figure("late p99", percentile(late, 0.99), "ms", "<= 250" if size.sweep_ms == 100 else "")
    yield Figure("late at most", max(late), "ms")
    yield Figure("sweeps", day.sweeps, "sweeps")
    yield Figure("sweeps longer than their period", day.overrun, "sweeps")
    yield Figure("longest sweep", day.longest_ms, "ms")
    yield Figure("batches", day.chunks, "batches")
    yield Figure("CPU of the day's sweeps", day.cpu_s, "CPU s")
    yield Figure("CPU for a million ticks", day.cpu_s / emitted * 1e6, "CPU s")
    yield Figure("the day, faster than real by", DAY_MS / 1000 / day.cpu_s, "times")
    yield Figure("CPU of putting a monitor", load.put_s / size.monitors * 1e6, "µs")
    yield Figure("resident, for each monitor", (filled_mib - before_mib) * MIB / size.monitors, "bytes")
    yield Figure("resident at most, with the comparison's own", day.resident_mib, "MiB")
    if hourly:
        for hour, counts in sorted(day.late_ms.items()):
            yield Figure(f"ticks in hour {hour}", day.ticks[hour], "ticks")
            yield Figure(f"late p99 in hour {hour}", percentile(counts, 0.99), "ms")
            yield Figure(f"late at most in hour {hour}", max(counts), "ms")


def fill(size: Size, begin: int) -> Load:
    """Put all monitors, and work out what is due of them in the day after ``begin``."""
    load = Load([Timetable(codec_named("lz4"), begin) for _ in range(size.partitions)])
    upto = begin + DAY_MS
    first = 0
    for number, (schedule, share) in enumerate(MIX):
        count = size.monitors * share // 100
        value = codec.encode_tick(tick_of(number))
        shared = cron_instants(schedule, begin, upto) if isinstance(schedule, Cron) else []
        offsets: Counter[int] = Counter()
        for place in range(first, first + count):
            is_sampled = place % size.one_in == 0
            user = b"%b%010d" % (SAMPLE if is_sampled else b"user-", place)
            key = b"%b\0site-%d" % (user, number)
            cpu_s = time.process_time()
            entry = TimetableEntry(key, schedule, begin, LINE, framed(user, value))
            load.timetables[place % size.partitions].put(entry)
            load.put_s += time.process_time() - cpu_s
            offset = phase_of(key, schedule) if isinstance(schedule, Every) else spread_of(key, schedule.spread_ms)
            offsets[offset] += 1
            if is_sampled:
                load.sampled += 1
                instants = _instants(schedule, shared, offset, begin, upto)
                load.sample.update((user.decode(), instant) for instant in instants)
        first += count
        # of an interval that divides the day each phase comes equally often
        each = DAY_MS // schedule.interval_ms if isinstance(schedule, Every) else 0
        for offset, monitors in offsets.items():
            load.due += monitors * (each or len(_instants(schedule, shared, offset, begin, upto)))
        for timetable in load.timetables:
            # chunks that are saved are packed, as those of a worker are after ten seconds
            for _ in timetable.save():
                pass
    return load


def tick_of(number: int) -> Tick:
    """The tick of the monitors of schedule ``number``."""
    return Tick("", f"site-{number}", 0, "http", _CONFIG, 10_000, 1, 0)


def _instants(schedule: Every | Cron, shared: list[int], offset: int, after: int, upto: int) -> list[int]:
    if isinstance(schedule, Every):
        return interval_instants(schedule, offset, after, upto)
    return [instant + offset for instant in shared if after < instant + offset <= upto]


def simulate(load: Load, size: Size, begin: int) -> Day:
    """Sweep from ``begin`` until all that is due in the day is emitted. Raises Unmeasured if it gets far behind."""
    day, sample, end = Day(), _Sample(), begin + DAY_MS
    upto, now_ms, said = begin, float(begin), begin
    while upto < end:
        now_ms = max(now_ms, upto + size.sweep_ms)
        due_to = min(end, int(now_ms) // size.sweep_ms * size.sweep_ms)
        if due_to - upto > max(OUTAGE_MS, size.sweep_ms):
            raise Unmeasured(
                f"The sweeps are {due_to - upto} ms behind, {(upto - begin) / HOUR_MS:.2f} h into the day."
            )
        began = time.process_time()
        emitted = [(chunk, instant) for timetable in load.timetables for chunk, instant in _stamped(timetable, due_to)]
        swept_s = time.process_time() - began
        sample.look(emitted, day)
        began = time.process_time()
        for timetable in load.timetables:
            timetable.mark_emitted(due_to)
        swept_s += time.process_time() - began
        now_ms += swept_s * 1000
        _note(day, emitted, begin, now_ms, swept_s, size)
        upto = due_to
        if upto - said >= HOUR_MS:
            said += HOUR_MS
            day.resident_mib = max(day.resident_mib, _resident_mib())
            sample.forget()
            if (said - begin) // HOUR_MS % _SAY_EVERY_HOURS == 0:
                say(f"  hour {(said - begin) // HOUR_MS}: {sum(day.ticks.values()):,} ticks, {day.cpu_s:.0f} CPU s")
    return day


def _stamped(timetable: Timetable, due_to: int) -> Iterator[tuple[Chunk, int]]:
    """Build the batches of a sweep as a worker does, all but the sending."""
    packing = timetable.packing
    for firing in timetable.due(due_to):
        chunk = firing.chunk
        for instant in firing.fire:
            batch = StampedBatch(chunk.packed(packing), chunk.count, chunk.code, instant, chunk.reach)
            batch.stamp(1, 0, 0)
            batch.encoded()
            yield chunk, instant


def _note(day: Day, emitted: list[tuple[Chunk, int]], begin: int, now_ms: float, swept_s: float, size: Size) -> None:
    day.sweeps += 1
    day.cpu_s += swept_s
    day.longest_ms = max(day.longest_ms, swept_s * 1000)
    day.overrun += swept_s * 1000 > size.sweep_ms
    day.chunks += len(emitted)
    for chunk, instant in emitted:
        # records with distances from the base timestamp are all due within one step, which the largest one tells
        hour = min(23, (instant - begin) // HOUR_MS)
        day.ticks[hour] += chunk.count
        day.late_ms.setdefault(hour, Counter())[max(0, round(now_ms - instant - max(0, chunk.reach)))] += chunk.count


class _Sample:
    """Ticks of the sample among those emitted. A chunk that stays as it was is searched once an hour."""

    def __init__(self) -> None:
        self._packing = codec_named("lz4")
        self._known: dict[int, tuple[bytes, list[tuple[str, int]]]] = {}

    def look(self, emitted: list[tuple[Chunk, int]], day: Day) -> None:
        """Count those of a sweep."""
        for chunk, instant in emitted:
            packed = chunk.packed(self._packing)
            known = self._known.get(id(packed))
            if known is None:
                plain = self._packing.unpack(packed) if chunk.code else packed
                members = [
                    (unframed(entry.framed)[0].decode(), entry.delta)
                    for entry in (chunk.entries(self._packing) if SAMPLE in plain else ())
                    if entry.framed[1:].startswith(SAMPLE)
                ]
                # the bytes are kept, so that no others get their id
                known = self._known[id(packed)] = packed, members
            for user, delta in known[1]:
                day.found[user, instant + delta] += 1

    def forget(self) -> None:
        """Let go of what was found."""
        self._known.clear()


def _resident_mib() -> float:
    return float(psutil.Process().memory_info().rss) / MIB
