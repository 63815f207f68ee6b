"""For how long a monitor was in which state, from its transitions and maintenance: availability and state bars. Pure.

Availability is the share of time in which the monitor was up, of the time in which it was up, down or late. Time in
maintenance does not count, nor does time in which the monitor was new, paused or done, or in which its state is not
known: before its first transition that is kept, and after it was deleted.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from everwatch.model import ASLEEP, Cron, Maintenance, Monitor, State, Transition
from everwatch.schedule.cron import cron_times

MOST_BARS = 10_000

Span = tuple[int, int]

# which state a bar shows if there are several: what people must see first
_BY_GRAVITY = (State.DOWN, State.LATE, State.UP, State.NEW, State.PAUSED, State.DONE)


class Spell(NamedTuple):
    """A time, ``begin`` <= t < ``end`` in ms, in which a monitor was in one state; None: it is not known which."""

    begin: int
    end: int
    state: State | None


class Bar(msgspec.Struct, frozen=True):
    """For how long, in ms, a monitor was in which state at ``begin`` <= t < ``end``.

    ``by_state`` leaves out ``maintenance_ms`` and time in which the state is not known. ``state``: the gravest of them;
    None: it is not known, or all of it is maintenance.
    """

    begin: int
    end: int
    by_state: dict[State, int]
    maintenance_ms: int

    @property
    def state(self) -> State | None:
        """The state that a bar is coloured after."""
        return next((state for state in _BY_GRAVITY if state in self.by_state), None)

    @property
    def availability(self) -> float | None:
        """The share of time, 0 to 1, in which the monitor was up; None: there is no time that counts."""
        up = self.by_state.get(State.UP, 0)
        counted = up + self.by_state.get(State.DOWN, 0) + self.by_state.get(State.LATE, 0)
        return up / counted if counted else None


class Availability(msgspec.Struct, frozen=True):
    """The whole interval, and the same in bars of equal length."""

    total: Bar
    bars: list[Bar]


class KnownPast(NamedTuple):
    """What is known of a monitor's past.

    ``before``: its last transition before the interval; ``within``: those in it, by time. ``active``: since when and
    until when (None: still) it was active. ``monitor``: as it is now; None: it has gone.
    """

    before: Transition | None
    within: Sequence[Transition]
    active: Sequence[tuple[int, int | None]]
    monitor: Monitor | None


def availability(past: KnownPast, maintenance: Iterable[Maintenance], begin: int, end: int, bars: int) -> Availability:
    """Measure the time from ``begin`` to ``end`` (ms), and in ``bars`` parts of it."""
    spells, spans = spells_of(past, begin, end), maintained(maintenance, begin, end)
    edges = [begin + (end - begin) * i // bars for i in range(bars + 1)] if bars else []
    parts = [_bar(spells, spans, *edge) for edge in pairwise(edges)]
    return Availability(_bar(spells, spans, begin, end), parts)


def spells_of(past: KnownPast, begin: int, end: int) -> list[Spell]:
    """Return the states of a monitor between ``begin`` and ``end``, without a gap."""
    found: list[Spell] = []
    state, at = past.before.to_state if past.before else None, begin
    if past.before is None and past.within:
        state = past.within[0].from_state
    changes = [(each.at, each.to_state) for each in past.within]
    if not changes and past.before is None and past.monitor is not None:
        # no transition is kept, or it never had one
        changes = [(max(begin, past.monitor.state_since), past.monitor.state)]
    for changed_at, following in changes:
        if changed_at > at:
            found.append(Spell(at, min(changed_at, end), state))
            at = min(changed_at, end)
        state = following
    if at < end:
        found.append(Spell(at, end, state))
    return [part for spell in found for part in _while_there(spell, past.active)]


def _while_there(spell: Spell, active: Sequence[tuple[int, int | None]]) -> list[Spell]:
    """Take the state away where the monitor was not there; one that was asleep was not active but there."""
    if spell.state is None or spell.state in ASLEEP:
        return [spell]
    parts: list[Spell] = []
    at = spell.begin
    for since, until in sorted(active, key=lambda span: span[0]):
        begin, end = max(at, since), spell.end if until is None else min(until, spell.end)
        if begin < end:
            if begin > at:
                parts.append(Spell(at, begin, None))
            parts.append(Spell(begin, end, spell.state))
            at = end
    if at < spell.end:
        parts.append(Spell(at, spell.end, None))
    return parts


def maintained(windows: Iterable[Maintenance], begin: int, end: int) -> list[Span]:
    """Return when maintenance was on between ``begin`` and ``end``, in order; windows that overlap or touch are one."""
    spans: list[Span] = []
    for window in dict.fromkeys(windows):
        if not window.cron:
            spans.append((window.start, window.end))
        elif window.duration_ms > 0:
            times = cron_times(Cron(window.cron, window.timezone))
            spans += [(at, at + window.duration_ms) for at in times.between(begin - window.duration_ms, end - 1)]
    merged: list[Span] = []
    for first, last in sorted((max(first, begin), min(last, end)) for first, last in spans):
        if first >= last:
            continue
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _bar(spells: Sequence[Spell], spans: Sequence[Span], begin: int, end: int) -> Bar:
    by_state: dict[State, int] = {}
    first = bisect_right(spells, begin, key=lambda spell: spell.begin) - 1
    last = bisect_left(spells, end, key=lambda spell: spell.begin)
    for spell in spells[max(0, first) : last]:
        within = max(spell.begin, begin), min(spell.end, end)
        if spell.state is not None and within[0] < within[1]:
            counted = within[1] - within[0] - _overlap(spans, *within)
            if counted:
                by_state[spell.state] = by_state.get(spell.state, 0) + counted
    return Bar(begin, end, by_state, _overlap(spans, begin, end))


def _overlap(spans: Sequence[Span], begin: int, end: int) -> int:
    first = max(0, bisect_right(spans, begin, key=lambda span: span[0]) - 1)
    last = bisect_left(spans, end, key=lambda span: span[0])
    return sum(max(0, min(until, end) - max(since, begin)) for since, until in spans[first:last])
