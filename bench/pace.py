"""Rate at which a count grows, by looking at it often: between the last look at which nothing had come and the first at
which all had."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from bench.errors import Unmeasured
from bench.rig import Rig

_LOOK_EVERY_S = 0.02
_STALLED_AFTER_S = 60.0
_TELL_EVERY_S = 5.0


@dataclass
class Pace:
    """A count over time: (monotonic seconds, count), each time it changed, and the look before the first change."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def note(self, at_s: float, count: int) -> bool:
        """Note a look; whether the count has changed."""
        changed = bool(self.seen) and count != self.seen[-1][1]
        if changed or not self.seen:
            self.seen.append((at_s, count))
        elif len(self.seen) == 1:
            self.seen[0] = at_s, count
        return changed

    @property
    def seconds(self) -> float:
        """From the last look at which nothing had come to the last change. Raises Unmeasured if nothing came."""
        if len(self.seen) < 2:
            raise Unmeasured("Nothing came, so there is no rate.")
        return max(_LOOK_EVERY_S, self.seen[-1][0] - self.seen[0][0])

    def rate(self, total: int) -> float:
        """Number of arrivals a second, of ``total`` in all.

        The work on what came first was under way before it showed. So where there is enough to tell, the rate from
        the first change to the last is looked at too, and the lower one counts.
        """
        whole = total / self.seconds
        (_, nothing), (first_s, first), (last_s, last) = self.seen[0], self.seen[1], self.seen[-1]
        if last_s - first_s < _LOOK_EVERY_S:
            return whole
        return min(whole, total * (last - first) / (last - nothing) / (last_s - first_s))


def pace_of(rig: Rig, count: Callable[[], int], done: Callable[[int], bool], what: str, wanted: int) -> Pace:
    """Look at ``count`` until ``done``. Raises Unmeasured when nothing moves for a minute."""
    pace = Pace()
    moved_s = told_s = rig.clock.monotonic_s()
    while True:
        found = count()
        now_s = rig.clock.monotonic_s()
        if pace.note(now_s, found):
            moved_s = now_s
        if done(found):
            return pace
        rig.check()
        if now_s - moved_s > _STALLED_AFTER_S:
            raise Unmeasured(f"{what}: {found} of {wanted}, and nothing moved for {_STALLED_AFTER_S:g} s.")
        if now_s - told_s > _TELL_EVERY_S:
            told_s = now_s
            rate = (found - pace.seen[0][1]) / max(0.001, now_s - pace.seen[0][0])
            left = f", {max(0, wanted - found) / rate:,.0f} s to go" if rate > 0 else ""
            rig.say(f"  {what}: {found:,} of {wanted:,}, {rate:,.0f}/s{left}")
        Event().wait(_LOOK_EVERY_S)
