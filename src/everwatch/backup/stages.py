"""Progress of a backup or restore, as it is reported."""

from typing import Protocol


class Stages(Protocol):
    """Receives the stage that is under way, and its progress."""

    def begin(self, what: str, total: int | None = None) -> None:
        """Begin a stage of ``total`` steps; None: their number is not known."""
        ...

    def advance(self, steps: int) -> None:
        """Count steps of the stage that was begun last."""
        ...


class Silent:
    """Reports nothing."""

    def begin(self, what: str, total: int | None = None) -> None:
        """Begin a stage."""

    def advance(self, steps: int) -> None:
        """Count steps."""
