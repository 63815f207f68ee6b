"""Figures and the machine they were measured on."""

import platform
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Figure:
    """One measured figure. ``target`` as text ("<= 50"), empty where none is set; ``met`` None then."""

    name: str
    value: float
    unit: str
    target: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached."""
        if not self.target:
            return None
        comparison, limit = self.target.split()
        return self.value <= float(limit) if comparison == "<=" else self.value >= float(limit)

    def as_json(self) -> dict[str, object]:
        """The figure as the report has it."""
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "target": self.target,
            "met": self.met,
        }

    def as_line(self) -> str:
        """The figure for a person."""
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        return f"{self.name:<34} {self.value:>14,.2f} {self.unit:<22} {self.target:<12} {verdict}".rstrip()


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def percentile(counts: dict[int, int], share: float) -> int:
    """The value below or at which ``share`` of all counted values lie."""
    total, seen = sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= share * total:
            return value
    return 0
