"""Timetable: the due-time index of one partition. Pure: no clock, no I/O, no threads."""

from everwatch.timetable.chunk import Chunk, ChunkLimits, Packing, chunk_of
from everwatch.timetable.destination import BatchKey, Destination
from everwatch.timetable.record_framing import framed, unframed
from everwatch.timetable.snapshot import FORMAT
from everwatch.timetable.timetable import LAST_KEY, Timetable
from everwatch.timetable.timetable_entry import NEVER, Firing, FirstCheck, LocalStateWrong, Retry, TimetableEntry

__all__ = [
    "FORMAT",
    "LAST_KEY",
    "NEVER",
    "BatchKey",
    "Chunk",
    "ChunkLimits",
    "Destination",
    "Firing",
    "FirstCheck",
    "LocalStateWrong",
    "Packing",
    "Retry",
    "Timetable",
    "TimetableEntry",
    "chunk_of",
    "framed",
    "unframed",
]
