"""Misfire rules for ticks that were not emitted in time. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from everwatch.model import Misfire


class MisfireSplit(NamedTuple):
    """Due instants divided: those to emit now, and those to report as skipped (always the earlier ones)."""

    fire: Sequence[int]
    skipped: Sequence[int]


def divide(due: Sequence[int], now: int, rule: Misfire, grace_ms: int) -> MisfireSplit:
    """Divide the due instants, which are in order, under a misfire rule. A ``range`` is divided into ranges.

    An instant no older than the grace is emitted as if nothing had happened, under every rule. Of the older ones
    ``fire_all`` emits all; ``fire_last`` emits the newest, and that only if no due instant is within the grace;
    ``skip`` emits none.
    """
    # costs the logarithm of their number, for a range too: a year of seconds is counted at once
    late = bisect_left(due, now - grace_ms)
    if rule is Misfire.FIRE_ALL:
        late = 0
    elif rule is Misfire.FIRE_LAST and late == len(due):
        late = max(0, late - 1)
    return MisfireSplit(fire=due[late:], skipped=due[:late])
