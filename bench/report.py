"""Figures and the machine they were measured on; printed for people, and as JSON for scripts."""

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import psutil


@dataclass(frozen=True)
class Figure:
    """One measured figure. ``target`` as text ("<= 50"), empty where none is set; ``met`` is None then.

    ``spread`` is the least and the greatest value of several runs, where ``value`` is their median.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """Tell whether the target is reached."""
        if not self.target:
            return None
        comparison, limit = self.target.split()
        return self.value <= float(limit) if comparison == "<=" else self.value >= float(limit)

    def as_json(self) -> dict[str, object]:
        """The figure as the report has it."""
        spread = {"min": round(self.spread[0], 4), "max": round(self.spread[1], 4)} if self.spread else {}
        shown = {"name": self.name, "value": round(self.value, 4), "unit": self.unit, "target": self.target}
        return shown | {"met": self.met} | spread

    def as_line(self) -> str:
        """The figure for a person."""
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        spread = f"({self.spread[0]:,.2f} to {self.spread[1]:,.2f})" if self.spread else ""
        return f"{self.name:<50} {self.value:>15,.2f} {self.unit:<20} {self.target:<11} {verdict:<7}{spread}".rstrip()


@dataclass(frozen=True)
class Peer:
    """Figures of a peer in the same run; ``problem``: a sentence that says why it has none."""

    name: str
    figures: Sequence[Figure] = ()
    problem: str = ""

    def as_json(self) -> dict[str, object]:
        """The peer as the report has it."""
        shown: dict[str, object] = {"name": self.name, "figures": [figure.as_json() for figure in self.figures]}
        return shown | ({"problem": self.problem} if self.problem else {})


@dataclass(frozen=True)
class Outcome:
    """Outcome of one run of a bench. ``unmeasured``: a sentence for each part that has no figures."""

    figures: Sequence[Figure]
    peers: Sequence[Peer] = field(default=())
    unmeasured: Sequence[str] = ()

    @property
    def problem(self) -> str:
        """Why a part or a comparison is missing, or nothing."""
        return " ".join([*self.unmeasured, *(peer.problem for peer in self.peers if peer.problem)])

    def as_json(self, bench: str) -> dict[str, object]:
        """The report: one object."""
        return {
            "bench": bench,
            "figures": [figure.as_json() for figure in self.figures],
            "peers": [peer.as_json() for peer in self.peers],
            "unmeasured": list(self.unmeasured),
            "machine": machine(),
        }

    def as_lines(self) -> list[str]:
        """The report for a person."""
        lines = [figure.as_line() for figure in self.figures]
        for peer in self.peers:
            lines += ["", f"{peer.name}: {peer.problem}" if peer.problem else peer.name]
            lines += [figure.as_line() for figure in peer.figures]
        return lines


def medians(outcomes: Sequence[Outcome]) -> Outcome:
    """Of several runs each figure's median, with its least and greatest value."""
    if len(outcomes) == 1:
        return outcomes[0]
    names = {peer.name: peer for outcome in outcomes for peer in outcome.peers}
    peers = [
        replace(peer, figures=_medians([p.figures for outcome in outcomes for p in outcome.peers if p.name == name]))
        for name, peer in names.items()
    ]
    unmeasured = [sentence for outcome in outcomes for sentence in outcome.unmeasured]
    return Outcome(_medians([outcome.figures for outcome in outcomes]), peers, unmeasured)


def _medians(runs: Sequence[Sequence[Figure]]) -> list[Figure]:
    found: dict[str, list[Figure]] = {}
    for figures in runs:
        for figure in figures:
            found.setdefault(figure.name, []).append(figure)
    return [_median(same) for same in found.values()]


def _median(same: Sequence[Figure]) -> Figure:
    values = [figure.value for figure in same]
    return replace(same[0], value=median(values), spread=(min(values), max(values)))


def machine() -> dict[str, object]:
    """Machine that figures were measured on."""
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def percentile(counts: Mapping[int, int], share: float) -> int:
    """The least value at or below which ``share`` of all counted values lie; 0 if nothing was counted."""
    total, seen = sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= share * total:
            return value
    return 0


def say(sentence: str) -> None:
    """Print a line of progress to stderr."""
    print(sentence, file=sys.stderr, flush=True)
