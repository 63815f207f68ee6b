"""What a person asked of a bench."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """``quick``: a smaller size, in under 50 s. ``peers``: compare with Kafka Streams and plain Faust."""

    quick: bool = False
    peers: bool = True
