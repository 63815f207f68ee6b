"""Ids of live events: where each topic goes on behind an event, so that a stream that broke is resumed. Pure.

An id is ``KIND/PARTITION/OFFSET;r=P0.P1…;t=P0.P1…``: the event's own place, and for each partition of results and of
transitions the offset of the first record that the client has not been offered.
"""

import re
from collections.abc import Mapping

from everwatch.api.queries import EventKind

Positions = dict[tuple[EventKind, int], int]
"""The next offset of each partition of each kind of events."""
MOST_PARTITIONS = 128
"""With more an id would be too long for a header: there the stream is not resumed."""
_LETTERS: Mapping[str, EventKind] = {"r": "result", "t": "transition"}
_OFFSETS = re.compile(r"(?:\d{0,18}\.)*\d{0,18}\Z")


def positions_text(positions: Positions) -> str:
    """Return positions as the part of an id that says them; "" where they are too many."""
    if len(positions) > 2 * MOST_PARTITIONS:
        return ""
    parts = []
    for letter, kind in _LETTERS.items():
        known = {number: offset for (of, number), offset in positions.items() if of == kind}
        if known:
            parts.append(f";{letter}=" + ".".join(str(known.get(n, "")) for n in range(max(known) + 1)))
    return "".join(parts)


def positions_in(event_id: str) -> Positions:
    """Return the positions that an id says; none for one that says none, or is no id of ours."""
    found: Positions = {}
    for part in event_id[:8_000].split(";")[1:]:
        letter, _, offsets = part.partition("=")
        if letter not in _LETTERS or not _OFFSETS.match(offsets) or offsets.count(".") >= MOST_PARTITIONS:
            return {}
        for number, offset in enumerate(offsets.split(".")):
            if offset:
                found[_LETTERS[letter], number] = int(offset)
    return found
