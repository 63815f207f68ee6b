"""What all records of one chunk have in common besides the time they are due."""

from enum import StrEnum
from typing import NamedTuple

from everwatch.model import Misfire


class Destination(StrEnum):
    """Where a firing goes: to one of the tick topics, or to the worker itself, which judges inline kinds."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    INLINE = "inline"


class BatchKey(NamedTuple):
    """Monitors of one line travel together and are caught up under the same rule after an outage."""

    way: Destination
    misfire: Misfire
    misfire_grace_ms: int
