"""The guard against an outage of our own: what an executor that reaches little says is held back. Pure.

A result that did not reach its target says how many others its executor did not reach (``Result.unreached``). Above a
limit the executor is doubted: alerts of what it found lately are held from users meanwhile, and what recovers
meanwhile raises none. Operators get an alert that names the executor. Executors of one region count as one.
"""

import msgspec
from msgspec.structs import replace

from everwatch.model import Transition
from everwatch.notifier.alerts import RESOLVING, Alert, AlertKind, Severity, derived_id
from everwatch.schedule.duration import HOUR_MS, MINUTE_MS

LOOKED_BACK_MS = 2 * MINUTE_MS
"""Failures that an executor found in this time before it was doubted are doubted too: they could not show it yet."""
CUT_OFF_PERCENT = 95
"""An executor that reaches fewer than one target in twenty is cut off."""
FORGOTTEN_AFTER_MS = 10 * MINUTE_MS
"""An executor whose time is up is trusted again after this time without another failure that speaks against it."""
_FEWEST_RECOVERED = 3
_OF_REGION = "region "


class OwnOutage(msgspec.Struct, frozen=True):
    """Rules of when an executor is doubted, and for how long alerts of its findings are held.

    ``percent``: of its targets that it does not reach. ``hold_ms``: for how long at most; 0: never. ``cut_off_ms``: for
    how long if it reaches next to nothing.
    """

    percent: int = 30
    hold_ms: int = 5 * MINUTE_MS
    cut_off_ms: int = HOUR_MS


class ExecutorOutage(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of an executor that is or was doubted.

    ``since`` to ``closed_at`` (0: it is doubted still): what it found in between is doubted; instants of transitions.
    ``began_at`` and ``seen_at``: when the notifier saw it first and last, ms. ``percent``: the most targets that
    it did not reach. ``doubted``: monitors that it found failing meanwhile; ``recovered``: of these; ``recovering``:
    since its last failure. ``released``: the time was up, and users get alerts. ``routes``: operators' routes that
    got it.
    """

    executor: str
    incident_id: str = ""
    since: int = 0
    began_at: int = 0
    closed_at: int = 0
    percent: int = 0
    doubted: int = 0
    recovered: int = 0
    recovering: int = 0
    released: bool = False
    seen_at: int = 0
    routes: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Tell whether the executor is doubted."""
        return bool(self.incident_id) and not self.closed_at

    def covers(self, opened_at: int) -> bool:
        """Tell whether a failure that this executor found at an instant is, or was, doubted."""
        is_within = self.since <= opened_at and (not self.closed_at or opened_at <= self.closed_at)
        return bool(self.incident_id) and is_within

    def holds_until(self, rules: OwnOutage, now: int) -> int:
        """Return the instant until which its findings are held, and then judged again; 0: not held.

        Once it is trusted again, what it found waits for the next check of its monitor, which may find it up.
        """
        if not self.incident_id or self.released:
            return 0
        limit = self.closed_at + rules.hold_ms if self.closed_at else self._limit(rules)
        return min(now + rules.hold_ms, limit) if now < limit else 0

    def is_over_time(self, rules: OwnOutage, now: int) -> bool:
        """Tell whether users have waited for long enough."""
        return self.is_open and not self.released and now >= self._limit(rules)

    def is_forgotten(self, now: int) -> bool:
        """Tell whether users got messages, and nothing has spoken against the executor since."""
        return self.is_open and self.released and now - self.seen_at >= FORGOTTEN_AFTER_MS

    def _limit(self, rules: OwnOutage) -> int:
        longest_ms = max(rules.hold_ms, rules.cut_off_ms) if self.percent >= CUT_OFF_PERCENT else rules.hold_ms
        return self.began_at + longest_ms


def by_region(transition: Transition) -> Transition:
    """Return a transition whose ``executor`` is its region, if it has one: its executors share an uplink."""
    return replace(transition, executor=_OF_REGION + transition.region) if transition.region else transition


def is_suspect(unreached: int, rules: OwnOutage) -> bool:
    """Tell whether a failure makes its executor doubted."""
    return rules.hold_ms > 0 and unreached >= rules.percent


def after_suspect_failure(known: ExecutorOutage, at: int, unreached: int, now: int) -> ExecutorOutage:
    """Return the executor after a failure at ``at`` with ``unreached`` % of its targets out of reach."""
    if known.is_open:
        return replace(known, percent=max(known.percent, unreached), recovering=0, seen_at=now)
    if known.closed_at and at <= known.closed_at:
        # read late: it is over
        return known
    return ExecutorOutage(
        executor=known.executor,
        incident_id=derived_id("executor", known.executor, at),
        since=at - LOOKED_BACK_MS,
        began_at=now,
        percent=unreached,
        seen_at=now,
    )


def after_doubted_failure(known: ExecutorOutage) -> ExecutorOutage:
    """Return the executor after one more monitor is found failing that is doubted."""
    return replace(known, doubted=known.doubted + 1)


def after_recovery(known: ExecutorOutage, at: int) -> ExecutorOutage:
    """Return the executor after a monitor that it found failing recovers: with a fifth of them it is over.

    A failure with most targets out of reach begins the count anew.
    """
    if not known.is_open:
        return known
    after = replace(known, recovered=known.recovered + 1, recovering=known.recovering + 1)
    is_over = after.recovering >= max(_FEWEST_RECOVERED, after.doubted // 5)
    return replace(after, closed_at=at) if is_over else after


def alert_of(known: ExecutorOutage, kind: AlertKind, at: int) -> Alert:
    """Return the alert to operators about an executor."""
    match kind:
        case AlertKind.OPENED:
            said = f"it does not reach {known.percent} % of its targets; what it finds is not told to users for now"
        case AlertKind.CHANGED:
            said = f"it does not reach {known.percent} % of its targets; users are told now of what is still down"
        case AlertKind.SETTLED:
            said = f"nothing speaks against it any more; {known.recovered} monitors recovered meanwhile"
        case _:
            said = f"it reaches its targets; {known.recovered} monitors recovered meanwhile"
    return Alert(
        kind=kind,
        incident_id=known.incident_id,
        user_id="",
        monitor_id="",
        state="up" if kind in RESOLVING else "down",
        at=at,
        opened_at=known.since + LOOKED_BACK_MS,
        severity=Severity.CRITICAL,
        reason=said,
        subject=known.executor if known.executor.startswith(_OF_REGION) else f"executor {known.executor}",
        executor=known.executor,
    )
