"""Expected contents of the database, computed from the documented rule alone: due at every t with t mod interval =
phase, where the phase is BLAKE2b-64 of ``user_id NUL monitor_id`` modulo the interval, in steps of 100 ms."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from everwatch.model import Align, Every, Status
from everwatch.store.interface import Reader
from everwatch.store.stored_values import Identity

STEP_MS = 100
Key = tuple[str, str]


class Account(NamedTuple):
    """Ticks in a window of time: those due, and what is wrong with what is stored."""

    due: int
    missed: dict[Key, list[int]]
    twice: dict[Key, list[int]]
    off_schedule: dict[Key, list[int]]

    @property
    def balanced(self) -> bool:
        """Tell whether everything that was due is stored once, and nothing else is."""
        return not (self.missed or self.twice or self.off_schedule)


def skipped_ticks(reader: Reader, began: int, upto: int) -> list[Identity]:
    """Results that stand for ticks that did not run.

    One that ran and was delivered once more meanwhile is none: the repetition alone was skipped, and is counted too.
    """
    stored = reader.identities(began, upto)
    return [found for found in stored if found.status == Status.SKIPPED or found.skipped_count > 1]


def due_instants(user_id: str, monitor_id: str, interval_ms: int, after: int, upto: int) -> list[int]:
    """All due instants after < t <= upto, found by looking at each instant there is."""
    digest = blake2b(f"{user_id}\0{monitor_id}".encode(), digest_size=8).digest()
    phase = int.from_bytes(digest, "big") % (interval_ms // STEP_MS) * STEP_MS
    first = after - after % STEP_MS + STEP_MS
    return [t for t in range(first, upto + 1, STEP_MS) if t % interval_ms == phase]


def due_range(user_id: str, monitor_id: str, interval_ms: int, after: int, upto: int) -> range:
    """The same by arithmetic, for a great many monitors."""
    digest = blake2b(f"{user_id}\0{monitor_id}".encode(), digest_size=8).digest()
    phase = int.from_bytes(digest, "big") % (interval_ms // STEP_MS) * STEP_MS
    return range(after + 1 + (phase - after - 1) % interval_ms, upto + 1, interval_ms)


class Emission(NamedTuple):
    """A tick as it stands on its topic. Ticks of one identity must be alike in everything."""

    topic: str
    partition: int
    user_id: str
    monitor_id: str
    scheduled_at: int
    value: bytes


class TickAccount(NamedTuple):
    """Ticks on their topics in a window of time: those due, and what is wrong with those that are there.

    ``copies``: how many are there once more than needed. ``unlike``: identities whose copies differ.
    """

    due: int
    missed: dict[Key, list[int]]
    off_schedule: dict[Key, list[int]]
    unlike: list[tuple[str, str, int]]
    copies: int

    @property
    def complete(self) -> bool:
        """Tell whether everything that was due is there, and nothing else but identical copies."""
        return not (self.missed or self.off_schedule or self.unlike)


def settle_ticks(emitted: Counter[Emission], intervals: Mapping[Key, int], after: int, upto: int) -> TickAccount:
    """Compare what monitors of these intervals had due at after < t <= upto with the ticks that are there."""
    there = {tick: count for tick, count in emitted.items() if after < tick.scheduled_at <= upto}
    found: dict[Key, Counter[int]] = defaultdict(Counter)
    for tick in there:
        found[tick.user_id, tick.monitor_id][tick.scheduled_at] += 1
    due = {key: set(due_range(*key, interval_ms, after, upto)) for key, interval_ms in intervals.items()}
    keys = due.keys() | found.keys()
    return TickAccount(
        due=sum(map(len, due.values())),
        missed=_some({key: due.get(key, set()) - found[key].keys() for key in keys}),
        off_schedule=_some({key: found[key].keys() - due.get(key, set()) for key in keys}),
        unlike=[(*key, t) for key, instants in found.items() for t, kinds in instants.items() if kinds > 1],
        copies=sum(there.values()) - len(there),
    )


def settle(reader: Reader, after: int, upto: int) -> Account:
    """Compare what was due at after < t <= upto with what is stored; a skipped result stands for a run of ticks.

    Ticks that were delivered once more after they ran may be skipped together: such a result covers what it stands
    for, and makes nothing of it count twice. Only monitors of an interval with nothing more to it are looked at.
    """
    due: dict[Key, set[int]] = defaultdict(set)
    interval: dict[Key, int] = {}
    others: set[Key] = set()
    for stretch in reader.history():
        key = stretch.user_id, stretch.monitor_id
        schedule = stretch.schedule
        if not isinstance(schedule, Every) or schedule.align is not Align.PHASE or stretch.ends_at:
            others.add(key)
            continue
        interval[key] = schedule.interval_ms
        until = upto if stretch.until is None else min(upto, stretch.until)
        due[key].update(due_instants(*key, interval[key], max(after, stretch.since), until))
    stored: dict[Key, Counter[int]] = defaultdict(Counter)
    covered: dict[Key, set[int]] = defaultdict(set)
    for found in reader.identities(after + 1, upto + 1):
        key = found.user_id, found.monitor_id
        if key in others or found.manual or found.attempt > 1:
            continue
        last = max(found.scheduled_at, found.skipped_until)
        for instant in range(found.scheduled_at, last + 1, interval[key]):
            if not after < instant <= upto:
                continue
            if instant > found.scheduled_at and found.deliveries > 1:
                covered[key].add(instant)
            else:
                stored[key][instant] += 1
    keys = (due.keys() | stored.keys() | covered.keys()) - others
    return Account(
        due=sum(map(len, due.values())),
        missed=_some({key: due[key] - stored[key].keys() - covered[key] for key in keys}),
        twice=_some({key: {t for t, count in stored[key].items() if count > 1} for key in keys}),
        off_schedule=_some({key: (stored[key].keys() | covered[key]) - due[key] for key in keys}),
    )


def _some(found: dict[Key, set[int]]) -> dict[Key, list[int]]:
    return {key: sorted(instants) for key, instants in sorted(found.items()) if instants}
