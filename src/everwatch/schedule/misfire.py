"""What becomes of ticks that are late because nobody was there to emit them. Pure."""

from typing import NamedTuple

from everwatch.model import Misfire


class Settled(NamedTuple):
    """Due instants divided: those to emit now, and those to report as skipped (always the earlier ones)."""

    fire: range
    skipped: range


def settle(due: range, now: int, rule: Misfire, grace_ms: int) -> Settled:
    """Divide the due instants under a misfire rule.

    An instant no older than the grace is emitted as if nothing had happened, under every rule. Of the older ones
    ``fire_all`` emits all; ``fire_last`` emits the newest, and that only if no due instant is within the grace;
    ``skip`` emits none.
    """
    oldest_in_grace = now - grace_ms
    late = len(range(due.start, min(due.stop, oldest_in_grace), due.step))
    if rule is Misfire.FIRE_ALL:
        late = 0
    elif rule is Misfire.FIRE_LAST and late == len(due):
        late = max(0, late - 1)
    return Settled(fire=due[late:], skipped=due[:late])
