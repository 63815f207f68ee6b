"""Record of an output topic, before it is sent."""

from typing import NamedTuple


class OutputRecord(NamedTuple):
    """A record for the partition of its user."""

    topic: str
    key: bytes
    value: bytes
