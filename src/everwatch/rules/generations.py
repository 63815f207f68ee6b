"""Generations of topics: one installation's topics with one partition count, under one prefix. Pure.

``everwatch repartition`` copies a generation into the next one. Its steps are noted in the topic ``progress`` of both,
as the owner's mark of each partition (``changelog_marks.Mark``): a mark at an offset that no changelog reaches keeps
workers from the partition, and its ``member`` says why.
"""

import re
from typing import NamedTuple

from everwatch.rules.changelog_marks import Mark

FINISHED, UNFINISHED = "repartition", "an-unfinished-repartition"
"""Owner of a new generation's partitions, until a worker owns them."""
BEYOND_EVERY_OFFSET = 1 << 62
_CLOSED = "closed-by-repartition"
_SEPARATOR = ":"
_GENERATION = re.compile(r"(?:^|(?<=\.))g(\d+)\.$")


class Generation(NamedTuple):
    """One generation: the prefix of its topics and groups, and their partition count."""

    prefix: str
    partitions: int


def next_prefix(prefix: str) -> str:
    """Return the prefix of the generation that follows: ``prod.`` → ``prod.g2.`` → ``prod.g3.``."""
    found = _GENERATION.search(prefix)
    if found is None:
        return f"{prefix}g2."
    return f"{prefix[: found.start()]}g{int(found[1]) + 1}."


def closed_mark(topic_id: str, successor: Generation) -> Mark:
    """Return the mark of a partition whose state is in ``successor``: no worker opens it."""
    member = _SEPARATOR.join((_CLOSED, str(successor.partitions), successor.prefix))
    return Mark(topic_id, BEYOND_EVERY_OFFSET, 0, member)


def successor_of(mark: Mark | None) -> Generation | None:
    """Return the generation that a closed partition's state went to; None for a partition that is not closed."""
    said, _, rest = (mark.member if mark else "").partition(_SEPARATOR)
    count, separator, prefix = rest.partition(_SEPARATOR)
    if said != _CLOSED or not separator or not count.isdecimal():
        return None
    return Generation(prefix, int(count))


def reason_closed(mark: Mark | None) -> str:
    """Return why a partition stays closed, with the remedy; "" if ``repartition`` has not closed it."""
    successor = successor_of(mark)
    if successor is not None:
        return (
            f"'everwatch repartition' has moved these topics to those with the prefix {successor.prefix!r}: set"
            f" EVERWATCH_TOPIC_PREFIX={successor.prefix} and EVERWATCH_PARTITIONS={successor.partitions}. If it was"
            " interrupted, run it again, or 'everwatch repartition --undo', with the previous settings."
        )
    if mark is not None and mark.member == UNFINISHED:
        return (
            "These topics are an unfinished copy of another generation: run 'everwatch repartition' again, with the"
            " settings of that generation, or go on with that one."
        )
    return ""
