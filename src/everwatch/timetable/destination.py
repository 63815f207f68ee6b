"""Batch key: what all records of a chunk have in common besides the instant."""

from enum import StrEnum
from typing import NamedTuple

from everwatch.model import Misfire


class Destination(StrEnum):
    """Destination of a firing: one of the tick topics, or the worker itself, which judges inline kinds."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    INLINE = "inline"


class BatchKey(NamedTuple):
    """Key by which records share a batch: their topics, and the misfire rule that is applied after an outage.

    ``regions``: a batch goes to the topic of each of them; none: to that of the executors without a region.
    """

    destination: Destination
    misfire: Misfire
    misfire_grace_ms: int
    regions: tuple[str, ...] = ()
