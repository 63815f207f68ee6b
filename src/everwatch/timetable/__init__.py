"""Who is due: the due-time index of one partition. Pure: no clock, no I/O, no threads."""

from everwatch.timetable.timetable import Backlog, Planned, Timetable

__all__ = ["Backlog", "Planned", "Timetable"]
