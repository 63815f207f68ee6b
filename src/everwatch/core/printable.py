r"""Characters that are invisible or change how others look: their names, and text in which they are escaped.

They are the general categories Cc (control), Cf (format: direction marks, joiners, zero width), Cs, Zl and Zp, and the
property Default_Ignorable_Code_Point (fillers, variation selectors) of the Unicode Character Database. The ranges are
constants instead of calls of ``unicodedata``: processes on different versions of Python must accept the same ids.
"""

import re

# as within [] of a pattern
CONTROL = r"\x00-\x1f\x7f-\x9f"
_FORMAT = (
    r"\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
)
_SEPARATORS_AND_SURROGATES = r"\u2028\u2029\ud800-\udfff"
_IGNORABLE = r"\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff"
HIDDEN = CONTROL + _FORMAT + _SEPARATORS_AND_SURROGATES + _IGNORABLE

# variation selectors choose the look of one character (emoji, mostly) and disguise nothing in a sentence
_ESCAPED = re.compile(rf"[{CONTROL}{_FORMAT}{_SEPARATORS_AND_SURROGATES}\u115f\u1160\u3164\uffa0\U000e0000-\U000e00ff]")
_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    r"""Return ``text`` with what would change how it is shown written as ``\u202e``; line breaks and tabs stay.

    In JSON text the escapes mean the characters that they stand for.
    """
    return text if text.isascii() and text.isprintable() else _ESCAPED.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _KEPT:
        return character
    units = character.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
