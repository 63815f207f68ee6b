"""What a person asked of a bench."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """``quick``: a smaller size, in under 50 s. ``peers``: compare with others. ``processes``: of the executor.

    ``users``: how many a generated database has; 0: as many as the bench takes by itself.
    """

    quick: bool = False
    peers: bool = True
    processes: int = 1
    users: int = 0

    @property
    def settle_s(self) -> float:
        """How long ticks that are late are waited for after a window, seconds."""
        return 1.0 if self.quick else 3.0
