"""Line plots as SVG, without a library: axes, a grid, one colour a line, readable on light and dark grounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 24, 52, 58
_INK, _GRID = "#7d8590", "#7d859040"
_COLOURS = ("#2f81f7", "#db6d28", "#3fb950", "#a371f7", "#d4a72c", "#e5534b")
_LEGEND_TOP, _LEGEND_STEP = 31, 17

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line: its name in the legend and its points, in the order of x."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """Axis of a plot; ``log``: in powers of ten, where every value must be positive."""

    label: str
    log: bool = False


@dataclass(frozen=True)
class _Scale:
    """Values of one axis to the unit interval."""

    ticks: Sequence[float]
    log: bool

    def place(self, value: float) -> float:
        low, high = (self._position(self.ticks[0]), self._position(self.ticks[-1]))
        return (self._position(value) - low) / (high - low)

    def _position(self, value: float) -> float:
        return log10(value) if self.log else value


def line_plot(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """The plot as the text of an SVG file. Raises ValueError if there is no point to draw, or no colour for a line."""
    if len(lines) > len(_COLOURS):
        raise ValueError(f"a plot has {len(_COLOURS)} lines at most")
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError("there is nothing to plot")
    across, up = _scale([p[0] for p in points], x.log), _scale([p[1] for p in points], y.log)
    rows = _legend([line.name for line in lines])
    below = (len(rows) - 1) * _LEGEND_STEP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + below}" role="img"'
        f' font-family="system-ui, sans-serif" font-size="12" fill="{_INK}">',
        f"<title>{escape(title)}</title>",
        _text(_LEFT, 20, title, size=15),
    ]
    colours = iter(_COLOURS)
    for number, row in enumerate(rows):
        for name, at in row:
            top = _LEGEND_TOP + number * _LEGEND_STEP
            parts.append(f'<rect x="{at:.0f}" y="{top}" width="14" height="3" fill="{next(colours)}"/>')
            parts.append(_text(at + 20, top + 6, name))
    parts += [
        f'<g transform="translate(0 {below})">',
        *_grid(across, up),
        _text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 14, x.label, anchor="middle"),
        f'<g transform="rotate(-90 16 {(_TOP + HEIGHT - _BOTTOM) / 2:.0f})">',
        _text(16, (_TOP + HEIGHT - _BOTTOM) / 2, y.label, anchor="middle"),
        "</g>",
    ]
    for line, colour in zip(lines, _COLOURS, strict=False):
        parts += _drawn(line, colour, across, up)
    return "\n".join([*parts, "</g>", "</svg>\n"])


def _legend(names: Sequence[str]) -> list[list[tuple[str, float]]]:
    """Rows of names and where each begins, none wider than the plot."""
    rows: list[list[tuple[str, float]]] = [[]]
    at = float(_LEFT)
    for name in names:
        width = 44 + 6.6 * len(name)
        if rows[-1] and at + width > WIDTH - _RIGHT:
            rows.append([])
            at = float(_LEFT)
        rows[-1].append((name, at))
        at += width
    return rows


def nice_ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers (1, 2 or 5 times a power of ten apart) from at or below ``low`` to at or above."""
    span = (high - low) or abs(high) or 1.0
    rough = span / 5
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def short(value: float) -> str:
    """A number for an axis: 1.5M, 200k, 0.05."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:.6g}"


def _scale(values: Sequence[float], log: bool) -> _Scale:
    if not log:
        return _Scale(nice_ticks(min(0.0, *values), max(values)), log)
    if min(values) <= 0:
        raise ValueError("a logarithmic axis shows positive values only")
    low, high = floor(log10(min(values)) + 1e-9), ceil(log10(max(values)) - 1e-9)
    return _Scale([10.0**power for power in range(low, max(high, low + 1) + 1)], log)


def _grid(across: _Scale, up: _Scale) -> list[str]:
    parts = []
    for value in across.ticks:
        at = _x(across, value)
        parts.append(f'<path d="M{at:.1f} {_TOP}V{HEIGHT - _BOTTOM}" stroke="{_GRID}"/>')
        parts.append(_text(at, HEIGHT - _BOTTOM + 18, short(value), anchor="middle"))
    for value in up.ticks:
        at = _y(up, value)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}" stroke="{_GRID}"/>')
        parts.append(_text(_LEFT - 8, at + 4, short(value), anchor="end"))
    parts.append(f'<path d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}" stroke="{_INK}" fill="none"/>')
    return parts


def _drawn(line: Line, colour: str, across: _Scale, up: _Scale) -> list[str]:
    places = [(_x(across, x), _y(up, y)) for x, y in line.points]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
        f"<title>{escape(f'{line.name}: {short(point[0])}, {point[1]:.4g}')}</title></circle>"
        for (x, y), point in zip(places, line.points, strict=True)
    ]
    return [f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots]


def _text(x: float, y: float, value: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(value)}</text>'


def _x(scale: _Scale, value: float) -> float:
    return _LEFT + scale.place(value) * (WIDTH - _LEFT - _RIGHT)


def _y(scale: _Scale, value: float) -> float:
    return HEIGHT - _BOTTOM - scale.place(value) * (HEIGHT - _TOP - _BOTTOM)
