"""Audit: due ticks recomputed from the history of the monitors, and compared with the stored results. Pure.

It is the proof that nothing is missed and nothing counts twice, so it shares nothing with what emits ticks but the
schedules themselves. Every instant is in ms since the epoch.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import msgspec

from everwatch.model import Align, At, Cron, Every, Schedule, Status
from everwatch.operations.audited_regions import by_region, in_region
from everwatch.schedule.due import due_in
from everwatch.schedule.spread import spread_of
from everwatch.schedule.wall_times import wall_times
from everwatch.store.stored_values import Identity, Stretch

MOST_LISTED = 1_000
_RAN_WELL = frozenset({Status.SUCCESS.value, Status.LATE.value})
_SKIPPED = Status.SKIPPED.value


class Label(StrEnum):
    """Outcome of a tick in the audit; ``duplicate`` is a surplus result."""

    ON_TIME = "on_time"
    LATE = "late"
    RETRIED = "retried"
    SKIPPED = "skipped"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    MISSED = "missed"
    DUPLICATE = "duplicate"


TICKS = (Label.ON_TIME, Label.LATE, Label.RETRIED, Label.SKIPPED, Label.WAITING, Label.UNKNOWN, Label.MISSED)
"""The labels of which each tick that was due has one."""


Waits = Callable[[Stretch, int], bool]
"""Tells of a tick without a result, by its monitor's stretch and its instant, whether it still waits for its run."""


class AuditFinding(msgspec.Struct, frozen=True):
    """A tick that was missed or a result that is one too many, and why it is taken for that."""

    user_id: str
    monitor_id: str
    instant: int
    reason: str


class AuditReport(msgspec.Struct, frozen=True):
    """Outcomes of the ticks due at ``begin`` <= t < ``end``.

    ``users``, ``monitors``: how many had a tick due or a result stored. ``redelivered``: deliveries of results that
    were held already, which is no fault. ``manual``: runs that were asked for beside the schedule. ``missed``,
    ``duplicates``: the first of those that ``counts`` tells of.
    """

    begin: int
    end: int
    users: int
    monitors: int
    counts: dict[Label, int]
    redelivered: int
    manual: int
    missed: tuple[AuditFinding, ...]
    duplicates: tuple[AuditFinding, ...]

    @property
    def ticks(self) -> int:
        """Return the number of due ticks."""
        return sum(self.counts[label] for label in TICKS)

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is missed and nothing counts twice."""
        return not (self.counts[Label.MISSED] or self.counts[Label.DUPLICATE])


class AuditTerms(NamedTuple):
    """Terms of an audit of the ticks due at ``begin`` <= t < ``end``, ms.

    A tick is late if its first attempt began more than ``late_after_ms`` behind it. ``waits``: whether a tick without
    a result waits. ``known_since``: from then on the database knows results, ms.
    """

    begin: int
    end: int
    late_after_ms: int = 1_000
    most_examples: int = 20
    waits: Waits = lambda _stretch, _instant: False
    known_since: int = 0


def audit(history: Iterable[Stretch], identities: Iterable[Identity], terms: AuditTerms) -> AuditReport:
    """Label every tick that is due within the terms; one user at a time, so that memory holds no more than that.

    ``history`` in the order of user and monitor, ``identities`` in the order of user, instant, monitor and attempt,
    as a ``Reader`` gives them. A tick is late whether or not it was tried again. A tick counts as skipped where a
    result says so of it, or of a span that it lies in: of such a span the first ticks within the interval, as many
    as the result says.

    A tick without a result is waiting where the terms say so, and unknown if it was due before results are known;
    else it was missed. A result from before the first known version is not superfluous.

    A tick of a monitor in regions is due once in each of them, so it counts as many times.

    One result too many is: one where nothing was due under any stretch of its monitor, an attempt beyond what the
    policy allows, an attempt after one that had ended well and was delivered once, and a second one of one identity.
    """
    books = _Books(terms)
    for user_id, stretches, found in _by_user(history, identities):
        books.enter_user(user_id, stretches, found)
    return books.report()


def _by_user(
    history: Iterable[Stretch], identities: Iterable[Identity]
) -> Iterator[tuple[str, list[Stretch], list[Identity]]]:
    user_of = attrgetter("user_id")
    all_stretches, all_found = groupby(history, user_of), groupby(identities, user_of)
    left, right = next(all_stretches, None), next(all_found, None)
    while left is not None or right is not None:
        user_id = min(group[0] for group in (left, right) if group is not None)
        stretches: list[Stretch] = []
        found: list[Identity] = []
        if left is not None and left[0] == user_id:
            stretches = list(left[1])
            left = next(all_stretches, None)
        if right is not None and right[0] == user_id:
            found = list(right[1])
            right = next(all_found, None)
        yield user_id, stretches, found


class _Monitor(NamedTuple):
    """A monitor, its table key, and the stretches in which it was active; of one in regions, each region by itself."""

    user_id: str
    monitor_id: str
    key: bytes
    stretches: list[Stretch]
    region: str = ""

    def is_before_history(self, instant: int) -> bool:
        """Tell whether earlier versions, which the history does not hold, may have been due at ``instant``."""
        first = min(self.stretches, key=lambda stretch: stretch.since, default=None)
        return first is not None and first.version > 1 and instant <= first.since

    def owing(self, instant: int) -> list[Stretch]:
        """The stretches in which it is due at ``instant``."""
        return [
            stretch
            for stretch in self.stretches
            if due_in(stretch.schedule, self.key, stretch.since, instant - 1, _end_of(stretch, instant))
        ]


class _Books:
    """Counts, user by user."""

    def __init__(self, terms: AuditTerms) -> None:
        self._begin, self._end, self._late_after_ms, self._most_examples, self._waits, self._known_since = terms
        self._calendar = _Calendar(terms.begin, terms.end)
        self._counts = dict.fromkeys(Label, 0)
        self._users = self._monitors = self._redelivered = self._manual = 0
        self._missed: list[AuditFinding] = []
        self._duplicates: list[AuditFinding] = []

    def report(self) -> AuditReport:
        return AuditReport(
            self._begin,
            self._end,
            self._users,
            self._monitors,
            dict(self._counts),
            self._redelivered,
            self._manual,
            tuple(self._missed),
            tuple(self._duplicates),
        )

    def enter_user(self, user_id: str, stretches: list[Stretch], found: list[Identity]) -> None:
        """Label everything of one user."""
        of_monitors: dict[str, tuple[list[Stretch], list[Identity]]] = {}
        for stretch in stretches:
            of_monitors.setdefault(stretch.monitor_id, ([], []))[0].append(stretch)
        for identity in found:
            of_monitors.setdefault(identity.monitor_id, ([], []))[1].append(identity)
        before = self._monitors
        for monitor_id, (active, results) in of_monitors.items():
            key = f"{user_id}\0{monitor_id}".encode()
            entered = [
                self._enter_monitor(_Monitor(user_id, monitor_id, key, some, region), found)
                for region, some, found in by_region(active, results)
            ]
            self._monitors += any(entered)
        self._users += self._monitors > before

    def _enter_monitor(self, monitor: _Monitor, found: list[Identity]) -> bool:
        """Label everything of one monitor; whether there was anything within the interval."""
        due = self._due(monitor)
        attempts: dict[int, list[Identity]] = {}
        spans: list[Identity] = []
        for identity in found:
            # a manual run and a retry that are skipped stand for nothing but themselves
            if identity.skipped_count and identity.attempt == 1 and not identity.manual:
                spans.append(identity)
            if identity.scheduled_at >= self._begin:
                self._redelivered += identity.deliveries - 1
                attempts.setdefault(identity.scheduled_at, []).append(identity)
        if not due and not attempts:
            return False
        skipped = _covered(due, spans) if spans else ()
        counts = self._counts
        for instant in due:
            tried = attempts.pop(instant, None)
            if tried is not None and tried[0].manual:
                self._manual += 1
                tried = None
            if tried is not None:
                counts[self._label(instant, tried)] += 1
                if len(tried) > 1 or tried[0].attempt > 1:
                    self._look_for_repetitions(monitor, instant, tried)
            elif instant in skipped:
                counts[Label.SKIPPED] += 1
            else:
                self._miss(monitor, instant)
        for instant, tried in attempts.items():
            # the retries of a manual run do not say that they are manual
            if tried[0].manual:
                self._manual += 1
                continue
            if monitor.is_before_history(instant):
                continue
            for _ in tried:
                self._repeat(monitor, instant, "nothing was due then")
        return True

    def _due(self, monitor: _Monitor) -> Sequence[int]:
        """Yield the due instants within the interval under any of the stretches, in order and once each."""
        found = []
        for stretch in monitor.stretches:
            after, upto = max(stretch.since, self._begin - 1), _end_of(stretch, self._end - 1)
            if after < upto and (due := self._calendar.due(stretch, monitor.key, after, upto)):
                found.append(due)
        if len(found) < 2:
            return found[0] if found else ()
        return sorted(set().union(*found))

    def _label(self, instant: int, tried: list[Identity]) -> Label:
        first = last = tried[0]
        if len(tried) > 1 or first.status == _SKIPPED:
            ran = [identity for identity in tried if identity.status != _SKIPPED]
            if not ran:
                return Label.SKIPPED
            first, last = ran[0], ran[-1]
        if first.attempt == 1 and first.started_at - instant > self._late_after_ms:
            return Label.LATE
        return Label.RETRIED if last.attempt > 1 else Label.ON_TIME

    def _look_for_repetitions(self, monitor: _Monitor, instant: int, tried: list[Identity]) -> None:
        most = 1 + max(stretch.policy.retries.most for stretch in monitor.owing(instant))
        before: Identity | None = None
        for one in tried:
            if before is not None and one.attempt == before.attempt:
                self._repeat(monitor, instant, f"attempt {one.attempt} is held twice")
            elif one.attempt > most:
                self._repeat(monitor, instant, f"it is attempt {one.attempt}, and the policy allows {most}")
            elif before and not monitor.region and before.status in _RAN_WELL and before.deliveries == 1:
                # a run in regions is tried again in all of them, as their quorum says
                reason = f"it is attempt {one.attempt}, although attempt {before.attempt} did not fail"
                self._repeat(monitor, instant, reason)
            before = one

    def _miss(self, monitor: _Monitor, instant: int) -> None:
        stretch = monitor.owing(instant)[-1]
        if instant < self._known_since:
            self._counts[Label.UNKNOWN] += 1
            return
        if self._waits(stretch, instant):
            self._counts[Label.WAITING] += 1
            return
        self._counts[Label.MISSED] += 1
        if len(self._missed) < self._most_examples:
            reason = f"it was due under version {stretch.version}, and no result stands for it, not even a skipped one"
            self._missed.append(
                AuditFinding(monitor.user_id, monitor.monitor_id, instant, reason + in_region(monitor.region))
            )

    def _repeat(self, monitor: _Monitor, instant: int, reason: str) -> None:
        self._counts[Label.DUPLICATE] += 1
        if len(self._duplicates) < self._most_examples:
            self._duplicates.append(
                AuditFinding(monitor.user_id, monitor.monitor_id, instant, reason + in_region(monitor.region))
            )


class _Calendar:
    """Due instants within the interval; those that follow a wall clock are listed once for all who share them."""

    def __init__(self, begin: int, end: int) -> None:
        self._after = begin - 1
        self._upto = end - 1
        self._listed = lru_cache(MOST_LISTED)(self._list)

    def due(self, stretch: Stretch, key: bytes, after: int, upto: int) -> Sequence[int]:
        """Return the due instants at after < t <= upto; both lie in the interval and after the stretch's ``since``."""
        schedule = stretch.schedule
        match schedule:
            case At() | Every(align=Align.PHASE | Align.EPOCH):
                return due_in(schedule, key, stretch.since, after, upto)
            case _:
                offset = spread_of(key, schedule.spread_ms) if isinstance(schedule, Cron) else 0
                listed = self._listed(schedule)
                some = listed[bisect_right(listed, after - offset) : bisect_right(listed, upto - offset)]
                return [instant + offset for instant in some] if offset else some

    def _list(self, schedule: Schedule) -> list[int]:
        assert not isinstance(schedule, At)  # at one instant, whatever the clock shows
        earlier = schedule.spread_ms if isinstance(schedule, Cron) else 0
        return wall_times(schedule).between(self._after - earlier, self._upto)


def _covered(due: Sequence[int], spans: Iterable[Identity]) -> set[int]:
    """The due instants that skipped results stand for."""
    covered: set[int] = set()
    for span in spans:
        first, behind = bisect_left(due, span.scheduled_at), bisect_right(due, span.skipped_until)
        covered.update(due[first : min(behind, first + span.skipped_count)])
    return covered


def _end_of(stretch: Stretch, upto: int) -> int:
    """The last instant up to ``upto`` at which the stretch can be due."""
    if stretch.until is not None:
        upto = min(upto, stretch.until)
    return min(upto, stretch.ends_at) if stretch.ends_at else upto
