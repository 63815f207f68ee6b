"""Badges as SVG: a label and what it says, in a colour. Pure. No script, no style, no font of its own."""

from html import escape

SVG = "image/svg+xml"
ANYWHERE = {"Cross-Origin-Resource-Policy": "cross-origin"}
"""Header by which pages of other origins may show it."""
COLOURS = {"up": "#1f7a3d", "late": "#9a5b00", "down": "#b3261e"}
OTHERWISE = "#5b6472"
_HEIGHT, _PADDING, _PER_CHARACTER = 20, 8, 6.6


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
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f"{_text(label, 0, left)}{_text(message, left, right)}</g></svg>"
    ).encode()


def _width(text: str) -> int:
    return round(len(text) * _PER_CHARACTER) + 2 * _PADDING


def _text(text: str, begin: int, width: int) -> str:
    middle, length = begin + width / 2, width - 2 * _PADDING
    return f'<text x="{middle:g}" y="14" textLength="{length}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
