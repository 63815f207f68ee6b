"""The scaling curves of ``docs/performance/``, drawn from saved reports: cost against rate and number of monitors."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plot import Axis, Line, Point, line_plot

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """One plot: the figures it is made of by a pattern on their names, whose group ``x`` is x, and how to draw it.

    A group ``line`` tells several lines of one report apart.
    """

    file: str
    bench: str
    pattern: str
    title: str
    x: Axis
    y: Axis


_RATE = Axis("ticks per second", log=True)
_MONITORS = Axis("monitors")
CURVES = (
    Curve(
        "cost-by-rate.svg",
        "capacity",
        r"CPU at (?P<x>[\d,]+)/s",
        "What a million ticks cost, by rate",
        _RATE,
        Axis("CPU seconds per million ticks", log=True),
    ),
    Curve(
        "lateness-by-rate.svg",
        "capacity",
        r"late p99 at (?P<x>[\d,]+)/s",
        "How late ticks are (p99), by rate",
        _RATE,
        Axis("ms"),
    ),
    Curve(
        "memory-by-monitors.svg",
        "memory",
        r"resident at (?P<x>[\d,]+) monitors",
        "Resident memory of one worker, by monitors",
        _MONITORS,
        Axis("MiB"),
    ),
    Curve(
        "bytes-by-monitors.svg",
        "memory",
        r"bytes per monitor at (?P<x>[\d,]+) monitors",
        "Resident memory per monitor, beyond the empty worker",
        _MONITORS,
        Axis("bytes"),
    ),
    Curve(
        "cost-by-monitors.svg",
        "memory",
        r"CPU at (?P<x>[\d,]+) monitors",
        "What a million ticks cost, by monitors",
        _MONITORS,
        Axis("CPU seconds per million ticks"),
    ),
    Curve(
        "size-by-hour.svg",
        "retention",
        r"(?P<line>PostgreSQL|SQLite), size at hour (?P<x>\d+)",
        "Size of a database that keeps results for a day",
        Axis("simulated hours of a steady load"),
        Axis("MiB"),
    ),
    Curve(
        "storing-by-results.svg",
        "sink",
        r"(?P<line>(?:PostgreSQL|SQLite), .+), rate at (?P<x>[\d,]+)",
        "Results stored a second by one sink's store",
        Axis("results stored"),
        Axis("results a second"),
    ),
    Curve(
        "p95-by-question.svg",
        "queries",
        r"(?P<line>PostgreSQL|SQLite), question (?P<x>\d+) by its p95",
        "p95 of the questions that pages ask, the fastest first",
        Axis("question"),
        Axis("ms", log=True),
    ),
    Curve(
        "lateness-by-hour.svg",
        "day",
        r"(?P<line>late at most|late p99) in hour (?P<x>\d+)",
        "How late the ticks of a simulated day are",
        Axis("hour of the day (UTC)"),
        Axis("ms"),
    ),
)


def draw(reports: Sequence[Report], folder: Path) -> list[Path]:
    """Write every curve that the reports (as ``--save`` writes them) have points for; gives the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for curve in CURVES:
        lines = [line for report in reports if report["bench"] == curve.bench for line in _lines(report, curve)]
        if lines:
            path = folder / curve.file
            path.write_text(line_plot(curve.title, curve.x, curve.y, lines), encoding="utf-8")
            written.append(path)
    return written


def _lines(report: Report, curve: Curve) -> Iterator[Line]:
    for name, figures in [("Everwatch", report["figures"]), *((p["name"], p["figures"]) for p in report["peers"])]:
        lines: dict[str, list[Point]] = {}
        for line, point in _points(figures, curve):
            lines.setdefault(line or name, []).append(point)
        yield from (Line(line, sorted(points)) for line, points in lines.items())


def _points(figures: Sequence[Mapping[str, Any]], curve: Curve) -> Iterator[tuple[str, Point]]:
    for figure in figures:
        found = re.fullmatch(curve.pattern, figure["name"])
        if found and (figure["value"] > 0 or not curve.y.log):
            line = found.groupdict().get("line", "")
            yield line, (float(found["x"].replace(",", "")), float(figure["value"]))
