"""The timetable against a naive scan of all monitors, with the arithmetic written down anew.

The model keeps a plain list of monitors and the store's index: who is dated when (tasks, beginnings that are held back,
endings, retries), what was changed since included. As in a worker, what is dated late comes into the timetable by way
of the index, a few dates at a time.

All in one file: one state machine and its naive model.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from hashlib import blake2b
from itertools import count
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from everwatch.kafka.compression import codec_named
from everwatch.model import Align, At, Cron, Every, Misfire, Schedule
from everwatch.schedule.every import due_between, phase_of
from everwatch.schedule.misfire import divide
from everwatch.timetable import (
    LAST_KEY,
    NEVER,
    BatchKey,
    Destination,
    Firing,
    Retry,
    Timetable,
    TimetableEntry,
    framed,
    unframed,
)

START = 1_800_000_000_000
STEP_MS, MINUTE_MS, HOUR_MS, DAY_MS = 100, 60_000, 3_600_000, 86_400_000
FINE_MS = 10 * MINUTE_MS

# a few intervals that many monitors share, and any other
intervals = st.sampled_from([1_000, 1_100, 5_000, 60_000, HOUR_MS]) | st.integers(10, HOUR_MS // 100).map(
    lambda steps: steps * 100
)
short_intervals = st.sampled_from([1_000, 1_100, 5_000, 30_000, FINE_MS])
long_intervals = st.sampled_from(
    [FINE_MS + 100, 15 * MINUTE_MS, HOUR_MS, HOUR_MS + 100, DAY_MS, 7 * DAY_MS, 25 * MINUTE_MS + 700, DAY_MS + 12_300]
)
ZONES = ("UTC", "Asia/Kolkata", "America/St_Johns", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Beirut")
CRONS = [
    Cron(expression, zone)
    for expression in ("* * * * *", "*/7 * * * *", "30 9 * * 1-5", "0 0 1 * *", "15 0-20/2 * * *", "30 * * * *")
    for zone in ZONES
]
SPREADS_MS = (300, 25_000, 10 * MINUTE_MS, 2 * HOUR_MS, DAY_MS + 700)
crons = st.builds(
    lambda cron, spread_ms: Cron(cron.expression, cron.timezone, spread_ms),
    st.sampled_from(CRONS),
    st.just(0) | st.sampled_from(SPREADS_MS),
)
aligns = st.sampled_from([Align.PHASE, Align.PHASE, Align.EPOCH])
from_midnight = st.builds(
    Every,
    st.sampled_from([5_000, MINUTE_MS, 15 * MINUTE_MS, 90 * MINUTE_MS, DAY_MS, 3 * DAY_MS]),
    st.just(Align.MIDNIGHT),
    st.sampled_from(ZONES),
)
recurring = st.builds(Every, short_intervals | long_intervals, aligns) | crons | from_midnight
# shortly before clocks change in some zone or other, one at midnight, one by half an hour
CHANGES = [
    int(datetime(*day, tzinfo=UTC).timestamp()) * 1_000
    for day in (
        (2027, 3, 14, 5),
        (2027, 3, 27, 21),
        (2027, 3, 28, 0),
        (2027, 4, 3, 14),
        (2027, 10, 30, 20),
        (2027, 11, 7),
    )
]
# two ways under the same rule and one of its own: lines must not be mixed up
LINES = [
    BatchKey(Destination.NORMAL, Misfire.FIRE_LAST, 60_000),
    BatchKey(Destination.HIGH, Misfire.FIRE_LAST, 60_000),
    BatchKey(Destination.NORMAL, Misfire.FIRE_ALL, 5_000),
    BatchKey(Destination.INLINE, Misfire.SKIP, 5_000),
    BatchKey(Destination.LOW, Misfire.SKIP, HOUR_MS),
    BatchKey(Destination.LOW, Misfire.FIRE_LAST, 5_000),
]
lines = st.sampled_from(LINES)
keys = st.integers(0, 29).map(lambda number: f"u{number % 7}\0m{number}".encode())


# --- the model's arithmetic -------------------------------------------------------------------------------------------


def naive_phase(key: bytes, interval_ms: int, align: Align = Align.PHASE) -> int:
    if align is Align.EPOCH:
        return 0
    number = 0
    for byte in blake2b(key, digest_size=8).digest():
        number = number * 256 + byte
    return (number % (interval_ms // 100)) * 100


def naive_due(key: bytes, interval_ms: int, after: int, upto: int, align: Align = Align.PHASE) -> list[int]:
    """Due instants in (after, upto], found by looking at every step of 100 ms there is."""
    phase = naive_phase(key, interval_ms, align)
    first_step = after // 100 + 1
    return [step * 100 for step in range(first_step, upto // 100 + 1) if (step * 100 - phase) % interval_ms == 0]


def naive_due_by_turns(key: bytes, interval_ms: int, after: int, upto: int, align: Align = Align.PHASE) -> list[int]:
    """The same for long times: one instant in every turn of the interval."""
    phase = naive_phase(key, interval_ms, align)
    first, last = (turn * interval_ms + phase for turn in (after // interval_ms - 1, upto // interval_ms + 2))
    turns = range(first, last, interval_ms)
    return list(turns[bisect_right(turns, after) : bisect_right(turns, upto)])


@cache
def _numbers(field: str, lowest: int, highest: int) -> frozenset[int]:
    numbers: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{lowest}-{highest}" if span == "*" else span).partition("-")
        numbers.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return frozenset(numbers)


def _exists(wall: datetime, zone: ZoneInfo, fold: int) -> bool:
    there = wall.replace(tzinfo=zone, fold=fold)
    back = there.astimezone(UTC).astimezone(zone)
    return back.replace(tzinfo=None) == wall and back.fold == fold


def _instant(wall: datetime, zone: ZoneInfo, fold: int = 0) -> int:
    return int(wall.replace(tzinfo=zone, fold=fold).timestamp()) * 1_000


def _first(wall: datetime, zone: ZoneInfo) -> int:
    """The instant of a time of the wall clock, the first one of two; where there is none, the end of the gap."""
    while not _exists(wall, zone, 0):
        wall += timedelta(minutes=1)
    return _instant(wall, zone)


@cache
def _midnight(timezone: str, day: int) -> int:
    return _first(datetime.combine(date(1970, 1, 1) + timedelta(days=day), time()), ZoneInfo(timezone))


@cache
def _cron_day(expression: str, timezone: str, day: int) -> tuple[int, ...]:
    """Due instants of one day (as the zone counts it since 1970)."""
    minute, hour, of_month, month, of_week = expression.split()
    date_of = date(1970, 1, 1) + timedelta(days=day)
    if (
        date_of.day not in _numbers(of_month, 1, 31)
        or date_of.month not in _numbers(month, 1, 12)
        or date_of.isoweekday() % 7 not in _numbers(of_week, 0, 6)
    ):
        return ()
    zone = ZoneInfo(timezone)
    times = [(h, m) for h in sorted(_numbers(hour, 0, 23)) for m in sorted(_numbers(minute, 0, 59))]
    begin = _midnight(timezone, day)
    if _midnight(timezone, day + 1) - begin == DAY_MS:
        # no clock is changed
        return tuple(begin + h * HOUR_MS + m * MINUTE_MS for h, m in times)
    walls = [datetime.combine(date_of, time(h, m)) for h, m in times]
    if minute.startswith("*") or hour.startswith("*"):
        return tuple(sorted({_instant(w, zone, fold) for w in walls for fold in (0, 1) if _exists(w, zone, fold)}))
    return tuple(sorted({_first(wall, zone) for wall in walls}))


@cache
def _midnight_day(interval_ms: int, timezone: str, day: int) -> tuple[int, ...]:
    begin, end = _midnight(timezone, day), _midnight(timezone, day + 1)
    if interval_ms >= DAY_MS:
        return () if day % (interval_ms // DAY_MS) else (begin,)
    return tuple(range(begin, end, interval_ms))


def naive_offset(key: bytes, spread_ms: int) -> int:
    number = 0
    for byte in blake2b(key, digest_size=8, person=b"spread").digest():
        number = number * 256 + byte
    return number % -(-spread_ms // 100) * 100 if spread_ms else 0


def naive(schedule: Every | Cron, key: bytes, after: int, upto: int) -> list[int]:
    """Due instants in (after, upto]: of an interval by its turns, of a wall clock by looking at every day."""
    if isinstance(schedule, Every) and schedule.align is not Align.MIDNIGHT:
        scan = naive_due if upto - after <= 5_000 else naive_due_by_turns
        return scan(key, schedule.interval_ms, after, upto, schedule.align)
    offset = naive_offset(key, schedule.spread_ms) if isinstance(schedule, Cron) else 0
    after, upto = after - offset, upto - offset
    found: list[int] = []
    for day in range(after // DAY_MS - 2, upto // DAY_MS + 3):
        if isinstance(schedule, Cron):
            due = _cron_day(schedule.expression, schedule.timezone, day)
        else:
            due = _midnight_day(schedule.interval_ms, schedule.timezone, day)
        if due and due[0] <= upto and due[-1] > after:
            found += [t + offset for t in due[bisect_right(due, after) : bisect_right(due, upto)]]
    return found


def naive_settle(due: Iterable[int], now: int, rule: Misfire, grace_ms: int) -> tuple[list[int], list[int]]:
    """Instants to fire and to skip, as the rules are told in words."""
    fresh = [t for t in due if t >= now - grace_ms]
    late = [t for t in due if t < now - grace_ms]
    if rule is Misfire.FIRE_ALL:
        return late + fresh, []
    if rule is Misfire.FIRE_LAST and late and not fresh:
        return late[-1:], late[:-1]
    return fresh, late


# --- what the timetable says ------------------------------------------------------------------------------------------

Name = tuple[bytes, bytes]


@dataclass
class Said:
    """Firings, told monitor by monitor."""

    fire: Counter[tuple[Destination, Name, int]]
    skipped: Counter[tuple[Destination, Name, int]]


def said(firings: Iterator[Firing], timetable: Timetable) -> Said:
    """Return what goes out: way, key and value of the record, and the instant."""
    told = Said(Counter(), Counter())
    for firing in list(firings):
        entries = list(firing.chunk.entries(timetable.packing))
        assert len(entries) == firing.chunk.count > 0
        assert max(entry.delta for entry in entries) <= firing.chunk.reach
        assert is_within_limits(firing, timetable)
        for instants, into in ((firing.fire, told.fire), (firing.skipped, told.skipped)):
            for entry in entries:
                name = unframed(entry.framed)
                into.update((firing.batch_key.destination, name, instant + entry.delta) for instant in instants)
    return told


def is_within_limits(firing: Firing, timetable: Timetable) -> bool:
    chunk, limits = firing.chunk, timetable.limits
    return chunk.count == 1 or (chunk.count <= limits.count and chunk.size_in(timetable.packing) <= limits.size)


# --- the machine ------------------------------------------------------------------------------------------------------


class Wish(NamedTuple):
    """Events of a monitor beside its ticks: when it begins and ends, and (due, as which tick) a retry."""

    begins_at: int = 0
    until: int = NEVER
    retry: tuple[int, int] | None = None


NO_WISH = Wish()


class TimetableMachine(RuleBasedStateMachine):
    """Monitors come, change and go while sweeps advance, fail, and are late."""

    def __init__(self) -> None:
        super().__init__()
        self.timetable = Timetable(codec_named("none"), START)
        self.monitors: dict[bytes, TimetableEntry] = {}
        self.emitted_to = START
        self.put_so_far = 0
        # the store's index, and how far it is loaded
        self.index: set[tuple[int, bytes]] = set()
        self.loaded_to = (START, LAST_KEY)

    @initialize(
        compression=st.sampled_from(["lz4", "lz4", "none"]),
        start=st.builds(
            lambda base, steps: base + steps * 100,
            st.sampled_from([START, *CHANGES]),
            st.integers(0, DAY_MS // 100 // 4),
        ),
        most=st.sampled_from([1, 2, 3, 1_000]),
        size=st.sampled_from([100, 400, 192 * 1024]),
        seed=st.integers(0, 2**32),
    )
    def begin(self, compression: str, start: int, most: int, size: int, seed: int) -> None:
        self.timetable = Timetable(codec_named(compression), start)
        self.timetable.limits.count = most
        self.timetable.limits.size = size
        self.emitted_to = start
        self.loaded_to = (start, LAST_KEY)
        random = Random(seed)
        for _ in range(random.randrange(30)):
            self._put_any(random)

    # --- monitors come and go ---

    @rule(
        key=keys,
        interval_ms=short_intervals,
        ahead_ms=st.integers(-10_000, 10_000),
        batch_key=lines,
        size=st.integers(0, 90),
    )
    def put_often(self, key: bytes, interval_ms: int, ahead_ms: int, batch_key: BatchKey, size: int) -> None:
        self._put(key, Every(interval_ms), self.emitted_to + ahead_ms, batch_key, size)

    @rule(key=keys, interval_ms=long_intervals, ahead_ms=st.integers(-10_000, 40_000), batch_key=lines)
    def put_seldom(self, key: bytes, interval_ms: int, ahead_ms: int, batch_key: BatchKey) -> None:
        self._put(key, Every(interval_ms), self.emitted_to + ahead_ms, batch_key)

    @rule(key=keys, schedule=from_midnight, ahead_ms=st.integers(-10_000, 40_000), batch_key=lines)
    def put_from_midnight(self, key: bytes, schedule: Every, ahead_ms: int, batch_key: BatchKey) -> None:
        self._put(key, schedule, self.emitted_to + ahead_ms, batch_key)

    @rule(
        key=keys,
        schedule=recurring,
        begins_ms=st.none() | st.integers(-1_000, 90_000) | st.integers(0, 3 * HOUR_MS),
        lasts_ms=st.none() | st.integers(-1_000, 60_000) | st.integers(0, 3 * HOUR_MS),
        batch_key=lines,
    )
    def put_with_a_beginning_and_an_end(
        self, key: bytes, schedule: Schedule, begins_ms: int | None, lasts_ms: int | None, batch_key: BatchKey
    ) -> None:
        begins_at = 0 if begins_ms is None else self.emitted_to + begins_ms
        until = NEVER if lasts_ms is None else max(self.emitted_to, begins_at) + lasts_ms
        self._put(key, schedule, self.emitted_to, batch_key, wish=Wish(begins_at, until))

    @rule(key=keys, schedule=recurring, nth=st.integers(1, 3), off_ms=st.sampled_from([0, 0, -1, 1]), batch_key=lines)
    def put_that_ends_with_one_of_its_next_ticks(
        self, key: bytes, schedule: Every | Cron, nth: int, off_ms: int, batch_key: BatchKey
    ) -> None:
        due = naive(schedule, key, self.emitted_to, self.emitted_to + 40 * DAY_MS)
        until = due[min(nth, len(due)) - 1] + off_ms
        self._put(key, schedule, self.emitted_to, batch_key, wish=Wish(until=until))

    @rule(many=st.integers(2, 8), seconds=st.integers(0, 90), schedule=recurring, batch_key=lines)
    def put_many_that_begin_or_end_at_one_instant(
        self, many: int, seconds: int, schedule: Schedule, batch_key: BatchKey
    ) -> None:
        instant = self.emitted_to + 1_000 * seconds
        for number in range(many):
            wish = (Wish(begins_at=instant), Wish(until=instant), Wish(retry=(instant, self.emitted_to)))[number % 3]
            self._put(b"u%d\0crowd" % number, schedule, self.emitted_to, batch_key, wish=wish)

    @precondition(lambda self: self.monitors)
    @rule(
        data=st.data(),
        in_ms=st.none() | st.integers(-100, 5_000) | st.integers(0, 2 * HOUR_MS),
        after_ms=st.integers(0, 200_000),
    )
    def a_tick_is_to_be_tried_again_or_not_any_more(
        self, data: st.DataObject, in_ms: int | None, after_ms: int
    ) -> None:
        key = data.draw(st.sampled_from(sorted(self.monitors)))
        self._retry(key, None if in_ms is None else (self.emitted_to + in_ms, self.emitted_to + in_ms - after_ms))

    @precondition(lambda self: self.monitors)
    @rule(data=st.data(), seconds=st.integers(1, 60))
    def all_dates_of_a_monitor_are_one_instant(self, data: st.DataObject, seconds: int) -> None:
        key, instant = data.draw(st.sampled_from(sorted(self.monitors))), self.emitted_to + 1_000 * seconds
        old = self.monitors[key]
        schedule = At(instant) if isinstance(old.schedule, At) else old.schedule
        wish = Wish(instant if data.draw(st.booleans()) else 0, instant, (instant, instant - 500))
        self._put(key, schedule, self.emitted_to, old.batch_key, wish=wish)

    @rule(
        interval_ms=st.sampled_from([FINE_MS + 100, 15 * MINUTE_MS]),
        soon_ms=st.lists(st.integers(0, 45_000), min_size=1, max_size=4),
        ahead_ms=st.integers(-1_000, 10_000),
        batch_key=lines,
    )
    def put_seldom_and_due_soon(self, interval_ms: int, soon_ms: list[int], ahead_ms: int, batch_key: BatchKey) -> None:
        for ms in soon_ms:
            key = self._seldom_key(interval_ms, ms)
            self._put(key, Every(interval_ms), self.emitted_to + ahead_ms, batch_key)

    @rule(key=keys, cron=crons, ahead_ms=st.integers(-10_000, 2 * MINUTE_MS), batch_key=lines)
    def put_cron(self, key: bytes, cron: Cron, ahead_ms: int, batch_key: BatchKey) -> None:
        self._put(key, cron, self.emitted_to + ahead_ms, batch_key)

    @rule(
        key=keys,
        at_ms=st.integers(-MINUTE_MS, MINUTE_MS) | st.integers(0, 3 * HOUR_MS) | st.just(0),
        ahead_ms=st.integers(0, 10_000),
        batch_key=lines,
    )
    def put_once(self, key: bytes, at_ms: int, ahead_ms: int, batch_key: BatchKey) -> None:
        self._put(key, At(self.emitted_to + at_ms), self.emitted_to + ahead_ms, batch_key)

    @rule(key=keys, ahead_ms=st.integers(1, 60_000), batch_key=lines)
    def put_once_for_somebody_who_is_put_late(self, key: bytes, ahead_ms: int, batch_key: BatchKey) -> None:
        self._put(key, At(self.emitted_to - 1), self.emitted_to + ahead_ms, batch_key)

    @rule(key=keys, interval_ms=short_intervals | long_intervals, batch_key=lines, early_ms=st.integers(-1, 1))
    def put_at_the_very_instant_of_a_tick_to_come(
        self, key: bytes, interval_ms: int, batch_key: BatchKey, early_ms: int
    ) -> None:
        due = naive_due_by_turns(key, interval_ms, self.emitted_to, self.emitted_to + interval_ms)[0]
        self._put(key, Every(interval_ms), due - early_ms, batch_key)

    @rule(key=keys, cron=crons, batch_key=lines, early_ms=st.integers(-1, 1))
    def put_at_the_very_instant_of_a_cron_tick_to_come(
        self, key: bytes, cron: Cron, batch_key: BatchKey, early_ms: int
    ) -> None:
        # whether others share the schedule already, or not
        if early_ms >= 0:
            self._put(b"u0\0other", cron, self.emitted_to, batch_key)
        due = naive(cron, key, self.emitted_to, self.emitted_to + 33 * DAY_MS)
        self._put(key, cron, due[0] - early_ms, batch_key)

    @rule(at_once=st.integers(1, 4), first=st.integers(0, 2), batch_key=lines)
    def put_tasks_of_one_instant_while_they_are_loaded(self, at_once: int, first: int, batch_key: BatchKey) -> None:
        at = At((self.emitted_to // MINUTE_MS + 2) * MINUTE_MS)
        order = [b"u%d\0task" % number for number in range(5)]
        for key in order[first::2]:
            self._put(key, at, self.emitted_to, batch_key)
        self._load_some(at.at, at_once)
        for key in order:
            self._put(key, at, self.emitted_to, batch_key)
        self._remove(order[first])

    @rule(data=st.data(), many=st.integers(2, 12), batch_key=lines)
    def put_many_alike(self, data: st.DataObject, many: int, batch_key: BatchKey) -> None:
        kinds: st.SearchStrategy[Schedule] = (
            st.builds(Every, st.sampled_from([1_000, 15 * MINUTE_MS, DAY_MS]), aligns)
            | from_midnight
            | crons
            | st.integers(0, 3 * MINUTE_MS).map(lambda ms: At(self.emitted_to + ms))
        )
        schedule = data.draw(kinds)
        for number in range(many):
            self._put(f"u{number}\0group".encode(), schedule, self.emitted_to, batch_key, 10 * number)

    @rule(
        many=st.integers(1, 12),
        interval_ms=st.sampled_from([300, 1_000]) | short_intervals | long_intervals,
        ahead_ms=st.integers(-10_000, 11_000),
        batch_key=lines,
    )
    def put_many_together(self, many: int, interval_ms: int, ahead_ms: int, batch_key: BatchKey) -> None:
        schedule, since = Every(interval_ms), self.emitted_to + ahead_ms
        some: dict[bytes, TimetableEntry] = {}
        for number in range(many):
            key = b"u%d\0together" % number
            if key in self.monitors:
                self._remove(key)
            some[key] = TimetableEntry(key, schedule, since, batch_key, self._record(key, 10 * number))
        self.monitors.update(some)
        each = list(some.values())
        for place in self.timetable.put_many(schedule, batch_key, since, list(some), [e.record for e in each]):
            self.timetable.put(each[place])

    @precondition(lambda self: self.monitors)
    @rule(data=st.data(), schedule=recurring, batch_key=lines)
    def change_as_of_the_last_sweep(self, data: st.DataObject, schedule: Schedule, batch_key: BatchKey) -> None:
        key = data.draw(st.sampled_from(sorted(self.monitors)))
        self._put(key, schedule, max(self.emitted_to, self.monitors[key].since), batch_key)

    @precondition(lambda self: self.monitors)
    @rule(data=st.data(), at_ms=st.integers(0, 2 * HOUR_MS))
    def change_to_a_single_instant_as_of_the_last_sweep(self, data: st.DataObject, at_ms: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.monitors)))
        old = self.monitors[key]
        self._put(key, At(self.emitted_to + at_ms), max(self.emitted_to, old.since), old.batch_key)

    @precondition(lambda self: self.monitors)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self._remove(data.draw(st.sampled_from(sorted(self.monitors))))

    def _put_any(self, random: Random) -> None:
        """Put a monitor that is likely to be due soon, or change one."""
        batch_key = random.choice(LINES)
        since = self.emitted_to + random.choice([0, -1_000, 500, 500, 3_300, 30_000])
        key = f"u{random.randrange(7)}\0any{random.randrange(12)}".encode()
        if key in self.monitors:
            since = max(self.emitted_to, self.monitors[key].since)
        schedule: Schedule
        align = random.choice([Align.PHASE, Align.PHASE, Align.EPOCH])
        match random.randrange(7):
            case 0 | 1:
                schedule = Every(random.choice([1_000, 1_100, 5_000, 30_000, FINE_MS]), align)
            case 2 | 3:
                schedule = Every(random.choice([FINE_MS + 100, 15 * MINUTE_MS, HOUR_MS]), align)
                if align is Align.PHASE:
                    key = self._seldom_key(schedule.interval_ms, random.randrange(45_000))
            case 4:
                cron = random.choice(CRONS)
                schedule = Cron(cron.expression, cron.timezone, random.choice([0, 0, 0, *SPREADS_MS]))
            case 5:
                schedule = Every(random.choice([5_000, MINUTE_MS]), Align.MIDNIGHT, random.choice(ZONES))
            case _:
                schedule = At(self.emitted_to + random.randrange(-1_000, 90_000))
        begins_at, until, retry = 0, NEVER, None
        if random.random() < 0.2:
            begins_at = self.emitted_to + random.randrange(60_000)
        if random.random() < 0.3:
            until = max(begins_at, self.emitted_to) + random.randrange(90_000)
        if random.random() < 0.2:
            due = self.emitted_to + random.randrange(40_000)
            retry = due, due - random.randrange(100_000)
        self._put(key, schedule, since, batch_key, random.randrange(60), Wish(begins_at, until, retry))

    def _seldom_key(self, interval_ms: int, soon_ms: int) -> bytes:
        """Of somebody who is due within a few seconds after that."""
        begin = self.emitted_to + soon_ms
        candidates = (f"s{number}\0seldom".encode() for number in count())
        return next(key for key in candidates if naive_due_by_turns(key, interval_ms, begin, begin + 5_000))

    def _put(
        self, key: bytes, schedule: Schedule, since: int, batch_key: BatchKey, size: int = 0, wish: Wish = NO_WISH
    ) -> None:
        held_back = wish.begins_at > since and not isinstance(schedule, At)
        planned = TimetableEntry(
            key,
            schedule,
            wish.begins_at if held_back else since,
            batch_key,
            self._record(key, size),
            wish.until,
            held_back,
            wish.retry and Retry(*wish.retry, self._record(key, 3)),
        )
        self._change(key, planned)

    def _retry(self, key: bytes, retry: tuple[int, int] | None) -> None:
        self._change(key, self.monitors[key]._replace(retry=retry and Retry(*retry, self._record(key, 3))))

    def _change(self, key: bytes, planned: TimetableEntry) -> None:
        old = self.monitors.get(key)
        self.monitors[key] = planned
        self.index.update((date, key) for date in self._dates(planned))
        if old is None:
            self.timetable.put(planned)
        elif self.put_so_far % 4:
            self.timetable.replace(old, planned)
        else:
            self.timetable.remove(old)
            self.timetable.put(planned)

    def _record(self, key: bytes, size: int) -> bytes:
        self.put_so_far += 1
        return framed(key.partition(b"\0")[0], b"\xc3\x01 %s %d %b" % (key, self.put_so_far, b"." * size))

    def _dates(self, planned: TimetableEntry) -> list[int]:
        """Return what the store's index has of a monitor."""
        dates = [planned.until] if planned.until < NEVER else []
        if isinstance(planned.schedule, At):
            dates.append(self._task_due(planned))
        elif planned.held_back:
            dates.append(planned.since)
        return [*dates, planned.retry.due] if planned.retry else dates

    def _remove(self, key: bytes) -> None:
        self.timetable.remove(self.monitors.pop(key))

    # --- time goes on ---

    @rule(steps=st.lists(st.integers(1, 50).map(lambda steps: steps * 100), min_size=1, max_size=12))
    def sweep(self, steps: list[int]) -> None:
        for step_ms in steps:
            self._sweep(self.emitted_to + step_ms)

    @rule(seed=st.integers(0, 2**32))
    def a_minute_like_any_other(self, seed: int) -> None:
        """Sweep after sweep, and in between people do what they do."""
        random = Random(seed)
        end = self.emitted_to + MINUTE_MS
        while self.emitted_to < end:
            self._sweep(self.emitted_to + random.choice([100, 500, 1_000, 5_000, random.randrange(1, 50) * 100]))
            match random.randrange(6):
                case 0 | 1:
                    self._put_any(random)
                case 2 if self.monitors:
                    self._remove(random.choice(sorted(self.monitors)))
                case 3 | 4 if self.monitors:
                    due = self.emitted_to + random.randrange(1, 20_000)
                    self._retry(
                        random.choice(sorted(self.monitors)),
                        random.choice([None, (due, due - random.randrange(9_000))]),
                    )

    @rule(step_ms=st.integers(1, 50).map(lambda steps: steps * 100), tries=st.integers(1, 3))
    def sweep_that_fails_at_first(self, step_ms: int, tries: int) -> None:
        upto = self.emitted_to + step_ms
        self._load(upto)
        failed = [said(self.timetable.due(upto), self.timetable) for _ in range(tries)]
        assert all(each == failed[0] for each in failed)
        self._sweep(upto)

    @precondition(lambda self: self.monitors)
    @rule(data=st.data(), step_ms=st.integers(1, 50).map(lambda steps: steps * 100), interval_ms=long_intervals)
    def change_somebody_between_a_failed_sweep_and_the_next(
        self, data: st.DataObject, step_ms: int, interval_ms: int
    ) -> None:
        upto = self.emitted_to + step_ms
        self._load(upto)
        list(self.timetable.due(upto))
        if data.draw(st.booleans()):
            self.remove(data)
        else:
            self.change_as_of_the_last_sweep(data, Every(interval_ms), data.draw(lines))
        self._sweep(upto)

    @rule(to=st.sampled_from([-1, 0, 1, 2]))
    def sweep_up_to_about_the_next_tick(self, to: int) -> None:
        """Return where monitors of long intervals, which are seldom due, come to be due."""
        soon = [
            due[0] for p in self.monitors.values() if (due := self._due(p, self.emitted_to, self.emitted_to + DAY_MS))
        ]
        target = min((t for t in soon if t > self.emitted_to + 5_000), default=self.emitted_to)
        upto = target - target % STEP_MS + to * STEP_MS
        if upto > self.emitted_to:
            self._catch_up(upto - self.emitted_to - min(3_000, upto - self.emitted_to), 0)
            if upto > self.emitted_to:
                self._sweep(upto)

    @rule(
        gap_ms=st.integers(1, 1_200).map(lambda steps: steps * 100)
        | st.integers(-120, 2).map(lambda steps: 15 * MINUTE_MS + steps * 100),
        behind_ms=st.integers(0, 60_000),
    )
    def catch_up_after_an_outage(self, gap_ms: int, behind_ms: int) -> None:
        self._catch_up(gap_ms, behind_ms)

    @rule(gap_ms=st.integers(HOUR_MS // 100, 9 * DAY_MS // 100).map(lambda steps: steps * 100))
    def catch_up_after_days(self, gap_ms: int) -> None:
        for key, planned in list(self.monitors.items()):
            if isinstance(planned.schedule, Every) and planned.schedule.interval_ms < FINE_MS:
                self._remove(key)
        self._catch_up(gap_ms, 0)

    @rule()
    def let_a_while_pass_so_that_chunks_are_packed(self) -> None:
        for _ in range(60):
            self.emitted_to += STEP_MS
            self._load(self.emitted_to)
            self.timetable.mark_emitted(self.emitted_to)
        self.loaded_to = max(self.loaded_to, (self.emitted_to, LAST_KEY))

    @rule(back_ms=st.sampled_from([0, 0, 100, 30_000]), asked_ms=st.sampled_from([0, 0, 100, 5_000]))
    def be_put_away_and_taken_up_again(self, back_ms: int, asked_ms: int) -> None:
        """As of an instant that may be a bit earlier: not all progress is noted. A sweep may be under way."""
        old = self.timetable
        if asked_ms:
            self._load(self.emitted_to + asked_ms)
            list(old.due(self.emitted_to + asked_ms))
        newest = max(old.newest_since, old.newest_gone)
        emitted_to = max(self.emitted_to - back_ms, -(-newest // STEP_MS) * STEP_MS)
        if not old.can_be_saved or emitted_to > self.emitted_to:
            return
        self.timetable = Timetable(old.packing, emitted_to)
        self.timetable.limits.count, self.timetable.limits.size = old.limits.count, old.limits.size
        self.timetable.restore([bytes(shelf) for shelf in old.save()])
        self.timetable.newest_since, self.timetable.newest_gone = old.newest_since, old.newest_gone
        self.emitted_to, self.loaded_to = emitted_to, (emitted_to, LAST_KEY)

    @rule(size=st.sampled_from([60, 200, 1_000]))
    def a_topic_takes_only_smaller_batches(self, size: int) -> None:
        self.timetable.fit(size)

    @rule(ahead_ms=st.integers(0, 2 * HOUR_MS), at_once=st.integers(1, 3), most=st.integers(1, 5))
    def load_tasks_ahead(self, ahead_ms: int, at_once: int, most: int) -> None:
        for _ in range(most):
            self._load_some(self.emitted_to + ahead_ms, at_once)

    def _load(self, upto: int) -> None:
        # a slice may end among tasks of one instant: the rest of them is due then too
        while self.loaded_to < (upto, LAST_KEY):
            self._load_some(upto, 3)

    def _load_some(self, upto: int, at_once: int) -> None:
        if self.loaded_to >= (upto, LAST_KEY):
            return
        found = sorted(each for each in self.index if self.loaded_to < each and each[0] <= upto)[:at_once]
        dated = [
            (date, planned)
            for date, key in found
            if (planned := self.monitors.get(key)) and date in self._dates(planned)
        ]
        self.loaded_to = found[-1] if len(found) == at_once else (upto, LAST_KEY)
        self.timetable.load(dated, self.loaded_to)

    def _sweep(self, upto: int) -> None:
        self._load(upto)
        told = said(self.timetable.due(upto), self.timetable)
        expected = Counter(
            (p.batch_key.destination, unframed(p.record), t)
            for p in self.monitors.values()
            for t in self._due(p, self.emitted_to, upto)
        )
        expected += self._retried(upto)
        assert told.fire == expected
        assert not told.skipped
        self._settled(upto)

    def _catch_up(self, gap_ms: int, behind_ms: int) -> None:
        upto = self.emitted_to + gap_ms
        now = upto + behind_ms
        self._load(upto)
        told = said(self.timetable.backlog(upto, now), self.timetable)
        # retries are under no rule
        fire, skipped = self._retried(upto), Counter()
        for p in self.monitors.values():
            due = self._due(p, self.emitted_to, upto)
            if isinstance(p.schedule, At):
                # tasks are judged by the step that they are due in
                starts = [(t - 1) // STEP_MS * STEP_MS for t in due]
                run, not_run = naive_settle(starts, now, p.batch_key.misfire, p.batch_key.misfire_grace_ms)
                run, not_run = (due, []) if run else ([], due if not_run else [])
            else:
                run, not_run = naive_settle(due, now, p.batch_key.misfire, p.batch_key.misfire_grace_ms)
            fire.update((p.batch_key.destination, unframed(p.record), t) for t in run)
            skipped.update((p.batch_key.destination, unframed(p.record), t) for t in not_run)
        assert told.fire == fire
        assert told.skipped == skipped
        self._settled(upto)

    def _settled(self, upto: int) -> None:
        self.timetable.mark_emitted(upto)
        self.emitted_to = upto
        self.loaded_to = max(self.loaded_to, (upto, LAST_KEY))

    def _task_due(self, planned: TimetableEntry) -> int:
        at = planned.schedule.at
        return at if at > planned.since else planned.since + 1

    def _due(self, planned: TimetableEntry, after: int, upto: int) -> list[int]:
        schedule, begin, end = planned.schedule, max(after, planned.since), min(upto, planned.until)
        if not isinstance(schedule, At):
            return naive(schedule, planned.key, begin, end)
        due = self._task_due(planned)
        return [due] if after < due <= end else []

    def _retried(self, upto: int) -> Counter[tuple[Destination, Name, int]]:
        """Retries up to then: each once, as of the tick that it belongs to."""
        return Counter(
            (p.batch_key.destination, unframed(p.retry.record), p.retry.scheduled_at)
            for p in self.monitors.values()
            if p.retry and self.emitted_to < p.retry.due <= upto
        )

    # --- always ---

    @invariant()
    def it_counts_who_is_in_it(self) -> None:
        ahead = {p.key: self._loaded_ahead(p) for p in self.monitors.values()}
        tasks = sum("task" in dates for dates in ahead.values())
        recurring = [p for p in self.monitors.values() if self._is_here(p)]
        assert self.timetable.loaded_count == sum(len(dates) for dates in ahead.values())
        assert len(self.timetable) == len(recurring) + tasks
        assert self.timetable.emitted_to == self.emitted_to
        assert self.timetable.loaded_to == self.loaded_to

    def _is_here(self, p: TimetableEntry) -> bool:
        if isinstance(p.schedule, At) or p.until <= max(p.since, self.emitted_to):
            return False
        return not p.held_back or p.since <= self.emitted_to or (p.since, p.key) <= self.loaded_to

    def _loaded_ahead(self, p: TimetableEntry) -> set[str]:
        dates = {"ending": p.until, "retry": p.retry.due if p.retry else 0}
        if isinstance(p.schedule, At):
            due = self._task_due(p)
            dates = {"task": due if due <= p.until else 0, "retry": dates["retry"]}
        elif not self._is_here(p):
            del dates["ending"]
        elif p.held_back:
            dates["beginning"] = p.since
        return {what for what, date in dates.items() if self.emitted_to < date and (date, p.key) <= self.loaded_to}

    @invariant()
    def it_keeps_no_ring_and_no_group_for_a_schedule_that_nobody_has(self) -> None:
        recurring = self.timetable.recurring
        had = {(p.schedule, p.batch_key) for p in self.monitors.values()}
        intervals = {
            (s.interval_ms, batch_key) for s, batch_key in had if isinstance(s, Every) and s.align is not Align.MIDNIGHT
        }
        assert {*recurring.wheels.fine, *recurring.wheels.coarse} <= intervals
        assert set(recurring.groups.groups) <= had
        assert all(shelf for *_, shelf in (*recurring.wheels.shelves(), *recurring.groups.shelves()))
        for buckets in (recurring.ahead, self.timetable.tasks, self.timetable.retries):
            assert min(buckets.shelves, default=self.emitted_to) * STEP_MS >= self.emitted_to

    @invariant()
    def nobody_waits_whose_time_has_come(self) -> None:
        table = self.timetable
        for waiting, instant_of in ((table.held_back, "since"), (table.fresh, "since"), (table.endings, "until")):
            some = [p for bucket in waiting.seconds.values() for p in bucket.values()]
            assert waiting.count == len(some)
            assert waiting.order == sorted(waiting.seconds)
            assert all(getattr(p, instant_of) > self.emitted_to for p in some)


TimetableMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
TestTimetable = TimetableMachine.TestCase


# --- and where one look is enough -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=24), intervals), max_size=30, unique_by=lambda pair: pair[0]),
    st.lists(st.integers(1, 50).map(lambda steps: steps * 100), min_size=1, max_size=12),
)
def test_however_time_is_cut_into_sweeps_the_same_ticks_fire(
    monitors: list[tuple[bytes, int]], steps_ms: list[int]
) -> None:
    batch_key = BatchKey(Destination.NORMAL, Misfire.FIRE_LAST, 60_000)
    in_sweeps, at_once = Timetable(codec_named("lz4"), START), Timetable(codec_named("lz4"), START)
    for key, interval_ms in monitors:
        planned = TimetableEntry(key, Every(interval_ms), START, batch_key, framed(key, b"v"))
        in_sweeps.put(planned)
        at_once.put(planned)
    fired: Counter[tuple[Destination, Name, int]] = Counter()
    for step_ms in steps_ms:
        upto = in_sweeps.emitted_to + step_ms
        fired += said(in_sweeps.due(upto), in_sweeps).fire
        in_sweeps.mark_emitted(upto)
    end = in_sweeps.emitted_to
    assert fired == said(at_once.due(end), at_once).fire
    assert fired == Counter(
        (Destination.NORMAL, (key, b"v"), t)
        for key, interval_ms in monitors
        for t in naive_due(key, interval_ms, START, end)
    )


@given(st.binary(min_size=1, max_size=40), intervals)
def test_a_monitor_is_due_once_in_every_interval(key: bytes, interval_ms: int) -> None:
    schedule = Every(interval_ms)
    phase_ms = phase_of(key, schedule)
    assert 0 <= phase_ms < interval_ms
    assert phase_ms % 100 == 0
    assert len(due_between(schedule, phase_ms, START, START + interval_ms)) == 1


@settings(deadline=None)
@given(
    st.binary(min_size=1, max_size=40),
    intervals,
    st.integers(0, 10_000_000),
    st.integers(0, 300_000),
)
def test_due_instants_are_those_of_the_naive_scan(key: bytes, interval_ms: int, after_ms: int, length_ms: int) -> None:
    schedule, after = Every(interval_ms), START + after_ms
    found = due_between(schedule, phase_of(key, schedule), after, after + length_ms)
    assert list(found) == naive_due(key, interval_ms, after, after + length_ms)
    assert list(found) == naive_due_by_turns(key, interval_ms, after, after + length_ms)


def test_phases_never_change_or_every_monitor_would_move() -> None:
    assert phase_of(b"user-1\0http", Every(60_000)) == 18_100
    assert phase_of(b"user-1\0http", Every(HOUR_MS)) == 3_438_100


def test_phases_spread_many_monitors_evenly() -> None:
    schedule = Every(10_000)
    share = Counter(phase_of(f"user-{i}\0http".encode(), schedule) for i in range(50_000))
    assert len(share) == 100
    # 500 on average; six standard deviations
    assert min(share.values()) > 360
    assert max(share.values()) < 640


dues = st.builds(
    lambda start, interval, count: range(start, start + interval * count, interval),
    st.integers(START, START + HOUR_MS),
    intervals,
    st.integers(0, 50),
)
nows = st.integers(START, START + 2 * HOUR_MS)
graces = st.integers(5_000, HOUR_MS)


@given(dues, nows, st.sampled_from(Misfire), graces)
def test_every_due_instant_is_fired_or_skipped_never_both(due: range, now: int, rule: Misfire, grace_ms: int) -> None:
    fire, skipped = divide(due, now, rule, grace_ms)
    assert list(skipped) + list(fire) == list(due)  # nothing lost, nothing twice, the skipped ones first
    assert (list(fire), list(skipped)) == naive_settle(due, now, rule, grace_ms)


@given(dues, nows, st.sampled_from(Misfire), graces)
def test_what_is_within_the_grace_is_fired_under_every_rule(due: range, now: int, rule: Misfire, grace_ms: int) -> None:
    fire = divide(due, now, rule, grace_ms).fire
    assert set(fire) >= {t for t in due if now - t <= grace_ms}


@given(dues, nows, graces)
def test_the_rules_differ_only_in_what_is_too_late(due: range, now: int, grace_ms: int) -> None:
    late = sum(now - t > grace_ms for t in due)
    skipped = {rule: len(divide(due, now, rule, grace_ms).skipped) for rule in Misfire}
    assert skipped[Misfire.FIRE_ALL] == 0
    assert skipped[Misfire.SKIP] == late
    assert skipped[Misfire.FIRE_LAST] == (late - 1 if late == len(due) and late else late)


@given(dues.filter(len), nows, graces)
def test_fire_last_always_fires_the_newest(due: range, now: int, grace_ms: int) -> None:
    assert divide(due, now, Misfire.FIRE_LAST, grace_ms).fire[-1] == due[-1]


def test_counting_a_year_of_misses_costs_nothing() -> None:
    year = 365 * 86_400_000
    fire, skipped = divide(due_between(Every(1_000), 0, START, START + year), START + year, Misfire.FIRE_LAST, 5_000)
    assert (len(fire), len(skipped)) == (6, 365 * 86_400 - 6)
