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
    """Key by which records share a batch: their topic, and the misfire rule that is applied after an outage."""

    destination: Destination
    misfire: Misfire
    misfire_grace_ms: int
