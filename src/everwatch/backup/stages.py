"""Progress of a backup or restore, as it is reported."""

from typing import Protocol


class Stages(Protocol):
    """Is told what is being done, and how much of it is done."""

    def begin(self, what: str, total: int | None = None) -> None:
        """Begin a stage of ``total`` steps; None: nobody knows how many."""
        ...

    def advance(self, steps: int) -> None:
        """Count steps of the stage that was begun last."""
        ...


class Silent:
    """Tells nobody."""

    def begin(self, what: str, total: int | None = None) -> None:
        """Begin a stage."""

    def advance(self, steps: int) -> None:
        """Count steps."""
