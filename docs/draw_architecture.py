"""Draw docs/pictures/architecture.svg from architecture.toml beside it: ``uv run python docs/draw_architecture.py``.

A test compares the two. The picture has its own light background, so it can be read on a dark page.
"""

import tomllib
from html import escape
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "pictures" / "architecture.toml"
PICTURE = SOURCE.with_suffix(".svg")

WIDTH, HEIGHT = 190, 58
ACROSS, DOWN = 238, 112
LEFT, TOP = 24, 24
KINDS = {
    "process": ("#dbeafe", "#1d4ed8"),
    "part": ("#ffffff", "#1d4ed8"),
    "topic": ("#fef3c7", "#b45309"),
    "store": ("#dcfce7", "#15803d"),
    "outside": ("#f3f4f6", "#4b5563"),
}
LEGEND = {"process": "process", "topic": "Kafka topic", "store": "database", "outside": "not Everwatch"}
PATHS = {1: "#1d4ed8", 2: "#c2410c", 3: "#15803d", 4: "#7e22ce", 5: "#374151"}
Point = tuple[float, float]


def drawn(source: dict[str, Any]) -> str:
    """Return the picture as SVG text."""
    boxes = {box["id"]: box for box in source["box"]}
    columns = 1 + max(box["at"][0] for box in source["box"])
    rows = 1 + max(box["at"][1] for box in source["box"])
    width = LEFT * 2 + ACROSS * (columns - 1) + WIDTH
    below = TOP + DOWN * (rows - 1) + HEIGHT + 40
    height = below + 22 * len(source["path"]) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="Helvetica, Arial, sans-serif" role="img" aria-labelledby="title">',
        '<title id="title">Everwatch: processes, topics and the five paths</title>',
        "<defs>",
        *(
            f'<marker id="head{number}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
            f' orient="auto"><path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
            for number, colour in PATHS.items()
        ),
        "</defs>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for frame in source["frame"]:
        parts += _frame(frame)
    for path in source["path"]:
        for begin, end in path["arrows"]:
            parts += _arrow(boxes[begin]["at"], boxes[end]["at"], path["number"])
    for box in source["box"]:
        parts += _box(box)
    for place, path in enumerate(source["path"]):
        y = below + 22 * place
        parts += [_number(LEFT + 9, y, path["number"]), _text(LEFT + 26, y + 4, path["title"], size=13, anchor="start")]
    for place, (kind, title) in enumerate(LEGEND.items()):
        fill, line = KINDS[kind]
        x, y = width / 2, below - 9 + 22 * place
        parts += [
            f'<rect x="{x:g}" y="{y}" width="26" height="16" rx="4" fill="{fill}" stroke="{line}"/>',
            _text(x + 36, y + 13, title, size=13, anchor="start"),
        ]
    return "\n".join([*parts, "</svg>", ""])


def _corner(at: list[int]) -> Point:
    return LEFT + ACROSS * at[0], TOP + DOWN * at[1]


def _box(box: dict[str, Any]) -> list[str]:
    x, y = _corner(box["at"])
    fill, line = KINDS[box["kind"]]
    rounding = 6 if box["kind"] in ("process", "part") else 18
    return [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="{rounding}" fill="{fill}" stroke="{line}"'
        ' stroke-width="1.5"/>',
        _text(x + WIDTH / 2, y + 25, box["title"], size=14, bold=True),
        _text(x + WIDTH / 2, y + 44, box["text"], size=12),
    ]


def _frame(frame: dict[str, Any]) -> list[str]:
    (x, y), (right, bottom) = _corner(frame["from"]), _corner(frame["to"])
    width, height = right - x + WIDTH + 28, bottom - y + HEIGHT + 28
    return [
        f'<rect x="{x - 14}" y="{y - 14}" width="{width}" height="{height}" rx="10" fill="#eff6ff" stroke="#1d4ed8"'
        ' stroke-dasharray="5 4"/>',
        _text(x + ACROSS, y + height - 24, frame["title"], size=13, bold=True, anchor="start"),
    ]


def _arrow(begin: list[int], end: list[int], number: int) -> list[str]:
    """Draw an arrow between boxes of one row or of one column."""
    (x1, y1), (x2, y2) = _corner(begin), _corner(end)
    if y1 == y2:
        forward = x2 > x1
        x1, x2 = (x1 + WIDTH, x2) if forward else (x1, x2 + WIDTH)
        y1 = y2 = y1 + HEIGHT / 2
        middle = ((x1 + x2) / 2, y1 - 12)
    else:
        down = y2 > y1
        y1, y2 = (y1 + HEIGHT, y2) if down else (y1, y2 + HEIGHT)
        x1 = x2 = x1 + WIDTH / 2
        middle = (x1 + 14, (y1 + y2) / 2)
    line = f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{PATHS[number]}" stroke-width="2"'
    return [f'{line} marker-end="url(#head{number})"/>', _number(*middle, number)]


def _number(x: float, y: float, number: int) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="8" fill="{PATHS[number]}"/>' + _text(
        x, y + 4, str(number), size=11, bold=True, fill="#ffffff"
    )


def _text(
    x: float, y: float, text: str, *, size: int, bold: bool = False, anchor: str = "middle", fill: str = "#111827"
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}"{weight} fill="{fill}">{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(drawn(tomllib.loads(SOURCE.read_text())))
