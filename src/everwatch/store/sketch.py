"""Durations as counts in logarithmic buckets (DDSketch: Masson, Rim, Lee, VLDB 2019), written as text. Pure.

A bucket is 4 % wide and stands for the value in its middle, so a quantile is wrong by 1.97 % at most. Each bucket is
two letters, with a count before it unless that is 1: ``aB3aC`` is one value in one bucket and three in another.
Two texts, one behind the other, are the text of both sets of values together. So a database merges by ``||`` what a
sink adds, and reads nothing before it writes; ``compacted`` shortens a text that has grown.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, log
from string import ascii_letters

WIDTH = 1.04
SMALLEST_MS = 0.001
"""Up to here a duration counts as 0."""
LONGEST_TEXT = 1_000
"""Characters from which on it is worth to compact a text."""
COMPACTED = "everwatch_compacted"
"""The name of ``compacted`` as a function of SQL, which connections to SQLite have."""

CODES = [first + second for first in ascii_letters for second in ascii_letters]
"""By the number of a bucket: 0 holds up to ``SMALLEST_MS``, the last one all above 10^42 ms."""

_NUMBERS = {code: number for number, code in enumerate(CODES)}
_PER_E = 1 / log(WIDTH)
_BEFORE = log(SMALLEST_MS) * _PER_E
_TOKEN = re.compile(r"([0-9]*)([A-Za-z]{2})")
# the harmonic middle, from which both ends are equally far in proportion
_MIDDLE = 2 * SMALLEST_MS / (1 + 1 / WIDTH) / WIDTH


def code_of(duration_ms: float) -> str:
    """Return the bucket of a duration."""
    if duration_ms <= SMALLEST_MS:
        return CODES[0]
    try:
        return CODES[ceil(log(duration_ms) * _PER_E - _BEFORE)]
    except IndexError:
        return CODES[-1]


def text_of_durations(durations_ms: Sequence[float]) -> str:
    """Return the shortest text of these durations."""
    if len(durations_ms) == 1:
        return code_of(durations_ms[0])
    counts: dict[str, int] = {}
    for duration_ms in durations_ms:
        code = code_of(duration_ms)
        counts[code] = counts.get(code, 0) + 1
    return text_of({_NUMBERS[code]: count for code, count in counts.items()})


def counts_of(text: str) -> dict[int, int]:
    """Return how many values are in which bucket, by its number."""
    counts: dict[int, int] = {}
    for count, code in _TOKEN.findall(text):
        number = _NUMBERS[code]
        counts[number] = counts.get(number, 0) + (int(count) if count else 1)
    return counts


def text_of(counts: Mapping[int, int]) -> str:
    """Return the shortest text of these counts, the smallest bucket first."""
    return "".join(
        f"{count}{CODES[number]}" if count > 1 else CODES[number] for number, count in sorted(counts.items()) if count
    )


def compacted(text: str) -> str:
    """Return the shortest text of the same counts."""
    return text_of(counts_of(text))


def merged(texts: Iterable[str]) -> str:
    """Return the shortest text of all values."""
    return compacted("".join(texts))


def quantile_ms(counts: Mapping[int, int], share: float) -> float | None:
    """Return the value in ms that the ``share`` (0 to 1) of all values does not exceed, within 2 %; None of none.

    It is the value of rank floor(share * (n - 1)) of the n sorted values, as DDSketch defines it.
    """
    rank = int(share * (sum(counts.values()) - 1))
    passed = 0
    for number in sorted(counts):
        passed += counts[number]
        if passed > rank:
            return _MIDDLE * WIDTH**number if number else 0.0
    return None
