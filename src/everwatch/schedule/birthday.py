"""Cron expression of a birthday, once a year. Pure."""

import calendar

LEAP_YEAR = 2028


def birthday_expression(month: int, day: int, hour: int = 9, minute: int = 0) -> str:
    """The cron expression that comes true each year on this day at this time of day.

    For a birthday on 29 February it is the last day of February: the 29th in leap years and the 28th in others.
    Raises ValueError, with one sentence, for a day or a time of day that does not exist.
    """
    if not 1 <= month <= 12:
        raise ValueError(f"there is no month {month}")
    if not 1 <= day <= calendar.monthrange(LEAP_YEAR, month)[1]:
        raise ValueError(f"{calendar.month_name[month]} has no day {day}")
    if not (0 <= hour <= 23 and 0 <= minute <= 59):
        raise ValueError(f"there is no time of day {hour:02d}:{minute:02d}")
    return f"{minute} {hour} {'L' if (month, day) == (2, 29) else day} {month} *"
