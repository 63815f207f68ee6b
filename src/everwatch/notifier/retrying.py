"""Retry policy: the pause before an attempt is repeated, and for how long a failing server is left alone. Pure."""

from collections import OrderedDict
from dataclasses import dataclass, replace

from everwatch.notifier.routes import KEEP_INCIDENTS
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#deliverability-and-reliability
WEBHOOK_DELAYS_MS = (
    5 * SECOND_MS,
    5 * MINUTE_MS,
    30 * MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
    10 * HOUR_MS,
    14 * HOUR_MS,
    20 * HOUR_MS,
    24 * HOUR_MS,
)
_FIRST_MS, _LONGEST_MS = 5 * SECOND_MS, 30 * MINUTE_MS
_INCIDENT_LONGEST_MS = 2 * MINUTE_MS
STALE_AFTER_MS = DAY_MS
"""Age at which a message to people is given up: an old alarm is of no use."""
GONE_AFTER_FAILURES, GONE_AFTER_MS = 5, DAY_MS
"""Consecutive failures, and their time span, after which an address is given up."""

_FAILURES_TO_OPEN = 5
_OPEN_MS, _LONGEST_OPEN_MS = 10 * SECOND_MS, 5 * MINUTE_MS
_MOST_LANES = 10_000


def retry_at(sender: str, attempt: int, created_at: int, now: int, retry_after_ms: int = 0) -> int | None:
    """Return when the attempt after ``attempt`` (1 for the first) is due; None if there is none.

    Webhooks by the schedule of Standard Webhooks; incident systems and people from 5 s on, doubling, until a message is
    a day old.
    """
    if sender == "webhook":
        if attempt > len(WEBHOOK_DELAYS_MS):
            return None
        return now + max(WEBHOOK_DELAYS_MS[attempt - 1], retry_after_ms)
    longest_ms = _INCIDENT_LONGEST_MS if sender in KEEP_INCIDENTS else _LONGEST_MS
    delay_ms = min(_FIRST_MS * 2 ** min(attempt - 1, 20), longest_ms)
    due = now + max(delay_ms, retry_after_ms)
    return due if due - created_at <= STALE_AFTER_MS else None


@dataclass(frozen=True)
class _Lane:
    failures: int = 0
    opened: int = 0
    closed_until: int = 0


class Circuits:
    """Circuit breakers: the servers that get no message for now, and until when.

    A server that fails five times in a row is tried again after 10 s, and each time it fails then after twice as long,
    up to 5 min. This state is lost at a restart.
    """

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, _Lane] = OrderedDict()

    def failed(self, lane: str, now: int, retry_after_ms: int = 0) -> int:
        """Note that a server failed; return until when it is left alone, 0 if it is not."""
        known = self._lanes.pop(lane, _Lane())
        known = replace(known, failures=known.failures + 1)
        # one address may ask for a day; those of others at the same server are not held back for that long
        until = now + min(retry_after_ms, _LONGEST_OPEN_MS) if retry_after_ms else 0
        # attempts that were under way when it was closed say nothing new
        if known.failures >= _FAILURES_TO_OPEN and now >= known.closed_until:
            until = max(until, now + min(_OPEN_MS * 2**known.opened, _LONGEST_OPEN_MS))
            known = replace(known, opened=min(known.opened + 1, 10), failures=_FAILURES_TO_OPEN - 1)
        self._lanes[lane] = replace(known, closed_until=max(known.closed_until, until))
        while len(self._lanes) > _MOST_LANES:
            self._lanes.popitem(last=False)
        return until

    def answered(self, lane: str) -> None:
        """Note that a server works."""
        self._lanes.pop(lane, None)

    def closed_until(self, lane: str, now: int) -> int:
        """Return until when a server is left alone, 0 if it is not."""
        known = self._lanes.get(lane)
        return known.closed_until if known is not None and now < known.closed_until else 0

    def is_probed(self, lane: str) -> bool:
        """Tell whether a server gets one message at a time, until it takes one."""
        known = self._lanes.get(lane)
        return known is not None and known.opened > 0
