"""Badges as SVG: a label and what it says, in a colour. Pure. No script, no style, no font of its own."""

from html import escape
from unicodedata import east_asian_width

SVG = "image/svg+xml"
ANYWHERE = {"Cross-Origin-Resource-Policy": "cross-origin"}
"""Header by which pages of other origins may show it."""
COLOURS = {"up": "#1f7a3d", "late": "#9a5b00", "down": "#b3261e"}
OTHERWISE = "#5b6472"
_HEIGHT, _PADDING, _FONT = 20, 8, 11
# letters by their width in Verdana, in thousandths of the font's size
_WIDTHS = {
    270: "'ijl", 360: " ,.Jf|", 420: "!It", 430: "r-()/:;[]", 525: "csz?", 560: "FL", 600: "aekovxyPTY",
    635: "bdghnpqu$*_", 690: "ABCEKRSVXZ", 750: "DGHNU&", 790: "OQ", 820: "w+<=>#~M", 980: "mW@", 1080: "%",
}  # fmt: skip
_WIDTH_OF = {each: width for width, some in _WIDTHS.items() for each in some} | dict.fromkeys("0123456789", 636)
_OTHER, _FULL = 700, 1000


def drawn(label: str, message: str, colour: str) -> bytes:
    """Return the badge."""
    left, right = _width(label), _width(message)
    title = escape(f"{label}: {message}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}" role="img"'
        f' aria-label="{title}"><title>{title}</title>'
        f'<clipPath id="r"><rect width="{left + right}" height="{_HEIGHT}" rx="4"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="{_HEIGHT}" fill="#3a404a"/>'
        f'<rect x="{left}" width="{right}" height="{_HEIGHT}" fill="{colour}"/></g>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{_FONT}">'
        f"{_text(label, 0, left)}{_text(message, left, right)}</g></svg>"
    ).encode()


def _width(text: str) -> int:
    """Return the width of a part: as wide as its text is in Verdana, so that letters are neither spread nor pressed."""
    letters = sum(_WIDTH_OF.get(each, _FULL if east_asian_width(each) in "WF" else _OTHER) for each in text)
    return round(letters * _FONT / 1_000) + 2 * _PADDING


def _text(text: str, begin: int, width: int) -> str:
    middle, length = begin + width / 2, width - 2 * _PADDING
    return f'<text x="{middle:g}" y="14" textLength="{length}">{escape(text)}</text>'
