"""One line of a diagnosis."""

from typing import NamedTuple


class Finding(NamedTuple):
    """The outcome of a check: what was looked at, what was seen, and the remedy if that is a fault."""

    name: str
    ok: bool
    says: str
    remedy: str = ""


def well(name: str, says: str) -> Finding:
    """A finding without fault."""
    return Finding(name, True, says)


def fault(name: str, says: str, remedy: str) -> Finding:
    """A fault. ``says``: what happens, to which thing; ``remedy``: what to do."""
    return Finding(name, False, says, remedy)
