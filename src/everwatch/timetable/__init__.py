"""Who is due: the due-time index of one partition. Pure: no clock, no I/O, no threads."""

from everwatch.timetable.chunk import Chunk, Limits, Packing, chunk_of
from everwatch.timetable.destination import Line, Way
from everwatch.timetable.record_framing import framed, unframed
from everwatch.timetable.snapshot import FORMAT
from everwatch.timetable.timetable import LAST_KEY, Timetable
from everwatch.timetable.timetable_entry import NEVER, Firing, FirstCheck, NotPlanned, Planned, Retry

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
