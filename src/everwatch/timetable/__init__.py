"""Who is due: the due-time index of one partition. Pure: no clock, no I/O, no threads."""

from everwatch.timetable.chunk import Chunk, Limits, Packing, chunk_of
from everwatch.timetable.line import Line, Way
from everwatch.timetable.records import framed, unframed
from everwatch.timetable.snapshot import FORMAT
from everwatch.timetable.timetable import LAST_KEY, Firing, NotPlanned, Planned, Timetable

__all__ = [
    "FORMAT",
    "LAST_KEY",
    "Chunk",
    "Firing",
    "Limits",
    "Line",
    "NotPlanned",
    "Packing",
    "Planned",
    "Timetable",
    "Way",
    "chunk_of",
    "framed",
    "unframed",
]
