"""Expected times of a heartbeat: a cron expression, or daily windows in a time zone. Pure.

Windows stop the clock: the period of a heartbeat that is expected within windows passes only while one is open, so
that a job which reports hourly on weekdays is not late on Saturday, nor on Monday at eight.
"""

import re
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import count

import msgspec

from everwatch.core.bounds import LATEST_MS
from everwatch.kinds.protocol import FieldError
from everwatch.model import Cron
from everwatch.schedule.cron import EPOCH, MS, CronTimes, first_showing, zone_named
from everwatch.schedule.duration import DAY_MS, MINUTE_MS

CLOCK_ERROR_MS = MINUTE_MS
"""How far a job's clock may be behind ours: a success so shortly before an expected time counts for it."""
MOST_WEEKS = 5
"""How many weeks' windows a period may take: the end of it is looked for window by window."""
_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|(24):(00)", re.ASCII)
_MINUTES_OF_DAY = 24 * 60
# 29 February of a year without one stands eight years apart at most
_LOOK_BACK_MS = 9 * 366 * DAY_MS


# --- daily windows ----------------------------------------------------------------------------------------------------


class Within(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"from_": "from"}):
    """Daily windows: from ``from_`` to ``to`` by the wall clock of ``timezone``, on ``days``.

    ``days`` like "MON-FRI" or "MON,WED,SAT". A window whose end is not after its beginning ends on the next day.
    """

    days: str = "MON-SUN"
    from_: str = "00:00"
    to: str = "24:00"
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        days = "".join(self.days.split()).upper()
        days_of(days)
        msgspec.structs.force_setattr(self, "days", days)
        begin, end = _minutes("from", self.from_), _minutes("to", self.to)
        if begin == _MINUTES_OF_DAY:
            raise FieldError("from", "a window begins between 00:00 and 23:59")
        if begin == end:
            raise FieldError("to", "the window ends when it begins; a whole day is from 00:00 to 24:00")
        try:
            zone_named(self.timezone)
        except ValueError as error:
            raise FieldError("timezone", str(error)) from None

    @property
    def text(self) -> str:
        """For a sentence: "MON-FRI from 08:00 to 18:00 Europe/Berlin"."""
        whole = (self.from_, self.to) == ("00:00", "24:00")
        return f"{self.days} {'' if whole else f'from {self.from_} to {self.to} '}{self.timezone}"

    @property
    def weekly_ms(self) -> int:
        """Return the total length of a week's windows, ms, changes of the clock aside."""
        begin, end = _minutes("from", self.from_), _minutes("to", self.to)
        return len(days_of(self.days)) * ((end - begin) % _MINUTES_OF_DAY or _MINUTES_OF_DAY) * MINUTE_MS


@lru_cache(maxsize=1_024)
def days_of(text: str) -> frozenset[int]:
    """The days that a text like "MON-FRI,SUN" names, 0 for Monday. Raises FieldError."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS or part.endswith("-"):
            raise FieldError("days", f"{part!r} is no day or range of days, such as MON, MON-FRI or SAT,SUN")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        found.update((begin + i) % 7 for i in range((end - begin) % 7 + 1))
    return frozenset(found)


def _minutes(field: str, text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise FieldError(field, f"{text!r} is no time of day, such as 08:00 or 24:00")
    hour, minute = text.split(":")
    return 60 * int(hour) + int(minute)


def after_window_time(within: Within, since: int, length_ms: int) -> int:
    """The instant at which windows have been open for ``length_ms`` after ``since``; it lies within a window, in ms."""
    left = length_ms
    try:
        day = (EPOCH + since * MS).astimezone(zone_named(within.timezone)).toordinal()
        # a window of the day before may reach into this one
        for ordinal in count(day - 1):
            opens, closes = _window(within, ordinal)
            begin = max(opens, since)
            # not at its very end: no alert is due when the window is over
            if left < closes - begin:
                return begin + left
            left -= max(0, closes - begin)
    except (OverflowError, ValueError):
        pass  # beyond the year 9999
    return LATEST_MS


@lru_cache(maxsize=8_192)
def _window(within: Within, ordinal: int) -> tuple[int, int]:
    """Return opening and closing of the window of a day (``date.toordinal``), ms; both the same if there is none."""
    day = date.fromordinal(ordinal)
    if day.weekday() not in days_of(within.days):
        return 0, 0
    zone = zone_named(within.timezone)
    begin, end = _minutes("from", within.from_), _minutes("to", within.to)
    midnight = datetime.combine(day, time())
    opens = first_showing(midnight + timedelta(minutes=begin), zone)
    closes = first_showing(midnight + timedelta(minutes=end + (_MINUTES_OF_DAY if end < begin else 0)), zone)
    return opens, closes


# --- times of a cron expression ---------------------------------------------------------------------------------------


class ExpectedTimes:
    """The times of a cron expression, looked at when the grace of one may be over: each time a little later, mostly."""

    def __init__(self, expression: str, timezone: str, grace_ms: int) -> None:
        self._times = CronTimes(Cron(expression, timezone))
        self._grace_ms = grace_ms
        # the one before the last, the last, and the next one; replaced as a whole
        self._known = (0, 0, 0)

    def missed(self, heard: int, at: int) -> int:
        """The time whose grace is over at ``at`` and that nothing since ``heard`` counts for; 0 if there is none.

        A signal that comes a little early counts too: by the grace, but at most CLOCK_ERROR_MS and half the time from
        the one before. All in ms.
        """
        last, before = self._last_two(at - self._grace_ms)
        early_ms = min(self._grace_ms, CLOCK_ERROR_MS, (last - before) // 2)
        return last if last and heard < last - early_ms else 0

    def _last_two(self, upto: int) -> tuple[int, int]:
        """The last time up to ``upto`` and the one before it; 0 where there is none."""
        before, last, following = self._known
        if last <= upto < following:
            return last, before
        after = self._times.next_after(following) if 0 < following <= upto else 0
        if after and upto < after:
            before, last, following = last, following, after
        else:
            last = self._last(upto)
            before = self._last(last - 1) if last else 0
            following = self._times.next_after(upto) or LATEST_MS
        self._known = before, last, following
        return last, before

    def _last(self, upto: int) -> int:
        return self._times.last_between(max(0, upto - _LOOK_BACK_MS), upto) or 0


# those with the same grace look at the same instants
expected_times = lru_cache(maxsize=4_096)(ExpectedTimes)
