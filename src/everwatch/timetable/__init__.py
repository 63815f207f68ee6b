"""Who is due: the due-time index of one partition. Pure: no clock, no I/O, no threads."""

from everwatch.timetable.chunk import Chunk, Limits, Packing, chunk_of
from everwatch.timetable.line import Line, Way
from everwatch.timetable.planned import NEVER, Firing, FirstCheck, NotPlanned, Planned, Retry
from everwatch.timetable.records import framed, unframed
from everwatch.timetable.snapshot import FORMAT
from everwatch.timetable.timetable import LAST_KEY, Timetable

__all__ = [
    "FORMAT",
    "LAST_KEY",
    "NEVER",
    "Chunk",
    "Firing",
    "FirstCheck",
    "Limits",
    "Line",
    "NotPlanned",
    "Packing",
    "Planned",
    "Retry",
    "Timetable",
    "Way",
    "chunk_of",
    "framed",
    "unframed",
]
