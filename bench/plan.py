"""What a person asked of a bench."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """``quick``: a smaller size, in under 50 s. ``peers``: compare with Kafka Streams and plain Faust."""

    quick: bool = False
    peers: bool = True

    @property
    def settle_s(self) -> float:
        """How long ticks that are late are waited for after a window, seconds."""
        return 1.0 if self.quick else 3.0
