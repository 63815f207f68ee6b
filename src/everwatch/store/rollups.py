"""Roll-ups: a monitor's results in an hour or a day, as counts by status and a sketch of durations. Pure.

A roll-up is the sum over the rows of ``results`` due in its time. The sink adds to it what a batch changes of these
rows, in the batch's own transaction: a row that is new counts as a whole; one that was stored already counts for the
difference that the batch makes to it, which for a repetition is nothing.

A row that ran counts once for its status, and one that was skipped for all ticks that it stands for, in the hour of the
first. Only successes and failures have a duration. So what a skipped row counts for may be taken back when its run
arrives, while a duration never is: the sketch only grows.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from everwatch.model import Status
from everwatch.schedule.duration import DAY_MS, HOUR_MS
from everwatch.store import sketch
from everwatch.store.bulk_statements import Row
from everwatch.store.rollup_counts import Rollup, RollupStep
from everwatch.store.sql_schema import STATUS_CODES, results

MOST_SKIPPED = 1_000_000_000
"""Limit of the ticks that a skipped row counts for, so that sums stay within 64 bits."""


class Merged(NamedTuple):
    """A row of a batch whose identity was stored already: the row, and the stored one."""

    row: Row
    status: object
    skipped_count: int


class ResultChanges(NamedTuple):
    """Changes of the table of results by a batch: rows that were inserted, and rows that met a stored one."""

    inserted: Iterable[Row] = ()
    merged: Sequence[Merged] = ()


class Since(NamedTuple):
    """From which instants on (ms) results count.

    ``rollups``: earlier ones were stored before there were roll-ups. ``results``: earlier ones may have been deleted,
    so a new row may have counted before.
    """

    rollups: int = 0
    results: int = 0


USED = frozenset({"user_id", "scheduled_at", "monitor_id", "attempt", "status", "duration_ms", "skipped_count"})
"""The columns of a row of ``results`` that decide what it counts for."""

_AT_STATUS, _AT_DURATION, _AT_SKIPPED = map(results.c.keys().index, ("status", "duration_ms", "skipped_count"))
# of a row of hourly_rollups, behind its key
_SUCCESSES, _FAILURES, _LATES, _SKIPS, _DURATION, _DURATIONS = range(3, 9)
# by a status as text and as PostgreSQL stores it
_PLACES: dict[object, int] = {}
for _place, _status in enumerate((Status.SUCCESS, Status.FAILURE, Status.LATE, Status.SKIPPED), _SUCCESSES):
    _PLACES[_status.value] = _PLACES[STATUS_CODES[_status]] = _place

Key = tuple[str, str, int]


def additions(changes: ResultChanges, since: Since) -> list[Row]:
    """Return the additions to each monitor's hours: rows of ``hourly_rollups``, in the order of their key."""
    sums: dict[Key, list[Any] | Row] = {}
    earliest, places, code_of = max(since), _PLACES, sketch.code_of
    at_status, at_duration, at_skipped = _AT_STATUS, _AT_DURATION, _AT_SKIPPED
    for row in changes.inserted:
        at = row[1]
        if at < earliest:
            continue
        key = (row[0], row[2], at - at % HOUR_MS)
        place, skipped = places[row[at_status]], row[at_skipped]
        held = sums.get(key)
        if held is None:
            if place == _SUCCESSES and not skipped:
                # most are a success that is its monitor's only result in the batch
                duration = row[at_duration]
                sums[key] = (*key, 1, 0, 0, 0, round(duration * 1_000), code_of(duration))
                continue
            counts = sums[key] = _empty(key)
        elif isinstance(held, tuple):
            counts = sums[key] = list(held)
        else:
            counts = held
        if place == _SKIPS:
            counts[_SKIPS] += min(skipped, MOST_SKIPPED) or 1
            continue
        counts[place] += 1
        if skipped > 1:
            counts[_SKIPS] += min(skipped, MOST_SKIPPED) - 1
        if place != _LATES:
            duration = row[at_duration]
            counts[_DURATION] += round(duration * 1_000)
            counts[_DURATIONS] += code_of(duration)
    for each in changes.merged:
        _add_difference(sums, each, since.rollups)
    # their keys differ, so no more than these is compared
    return sorted(map(tuple, sums.values()))


def added(rows: Iterable[Row]) -> list[Row]:
    """Return rows of ``hourly_rollups`` with those of one key added up, in the order of their key."""
    sums: dict[Row, Row] = {}
    for row in rows:
        key = row[:_SUCCESSES]
        held = sums.get(key)
        if held is None:
            sums[key] = row
        else:
            counts = (one + other for one, other in zip(held[_SUCCESSES:], row[_SUCCESSES:], strict=True))
            sums[key] = (*key, *counts)
    return [sums[key] for key in sorted(sums)]


def _empty(key: Key) -> list[Any]:
    return [*key, 0, 0, 0, 0, 0, ""]


def _add_difference(sums: dict[Key, list[Any] | Row], merged: Merged, earliest: int) -> None:
    row, old = merged.row, _PLACES[merged.status]
    new, skipped = _PLACES[row[_AT_STATUS]], max(row[_AT_SKIPPED], merged.skipped_count)
    if old != _SKIPS:
        new = old
    difference = _skips(new, skipped) - _skips(old, merged.skipped_count)
    if row[1] < earliest or (new == old and not difference):
        return
    key = (row[0], row[2], row[1] - row[1] % HOUR_MS)
    counts = sums[key] = list(sums.get(key) or _empty(key))
    counts[_SKIPS] += difference
    if new != old:
        counts[new] += 1
        if new != _LATES:
            counts[_DURATION] += round(row[_AT_DURATION] * 1_000)
            counts[_DURATIONS] += sketch.code_of(row[_AT_DURATION])


def _skips(place: int, skipped_count: int) -> int:
    """Return how many skipped ticks a row counts for; the one that ran is none of them."""
    counted = min(skipped_count, MOST_SKIPPED)
    return max(counted, 1) if place == _SKIPS else max(counted - 1, 0)


def rollup(row: Sequence[Any], step: RollupStep) -> Rollup:
    """Return the roll-up of a row of the table of this step."""
    user_id, monitor_id, at, *counts = row
    return Rollup(user_id, monitor_id, at, step.value, *counts)


def by_hour(rollups: Iterable[Rollup]) -> list[Rollup]:
    """Merge roll-ups of hours, of one monitor, into one for each hour, the earliest first."""
    hours: dict[int, list[Rollup]] = {}
    for each in rollups:
        hours.setdefault(each.at, []).append(each)
    return [some[0] if len(some) == 1 else together(some) for _, some in sorted(hours.items())]


def by_day(rollups: Iterable[Rollup]) -> list[Rollup]:
    """Merge roll-ups, of hours and days, into one for each monitor and day, by day."""
    days: dict[Key, list[Rollup]] = {}
    for each in rollups:
        days.setdefault((each.user_id, each.monitor_id, each.at - each.at % DAY_MS), []).append(each)
    return [
        msgspec.structs.replace(together(some), at=at, length_ms=DAY_MS)
        for (_, _, at), some in sorted(days.items(), key=lambda day: day[0][2])
    ]


def together(some: Sequence[Rollup]) -> Rollup:
    """Merge roll-ups of one monitor into one that begins and lasts as the first."""
    return msgspec.structs.replace(
        some[0],
        successes=sum(each.successes for each in some),
        failures=sum(each.failures for each in some),
        lates=sum(each.lates for each in some),
        skips=sum(each.skips for each in some),
        duration_us=sum(each.duration_us for each in some),
        durations=sketch.merged(each.durations for each in some),
    )


def condensed(hours: Iterable[Row]) -> list[Row]:
    """Return rows of ``daily_rollups`` that hold what rows of ``hourly_rollups`` do, in the order of their key."""
    days = by_day(rollup(row, RollupStep.HOUR) for row in hours)
    return sorted(row_of(day) for day in days)


def row_of(each: Rollup) -> Row:
    """Return a row of the table of the roll-up's step."""
    counts: Mapping[str, Any] = msgspec.structs.asdict(each)
    return tuple(value for name, value in counts.items() if name != "length_ms")
