"""Time since the last signal of a monitor, for the kinds that listen to signals. Pure."""

from everwatch.kinds.protocol import InlineView
from everwatch.schedule.duration import SECOND_MS, describe_duration

_TAKEOVER_MS = 60 * SECOND_MS


def quiet_since(view: InlineView) -> int:
    """Instant of the newest signal; where there is none, the beginning of the watch.

    After a change or a pause it is that, if no signal is newer.
    """
    return max(view.last_signal, view.signals.counted_from) if view.last_signal else view.began


def is_taking_over(view: InlineView, at: int, patience_ms: int) -> bool:
    """Tell whether the worker began to watch so shortly before ``at`` that it may not have read the newest signals yet.

    It is given as long as the monitor's owner is patient, but at most a minute.
    """
    return at <= view.watching_since + min(patience_ms, _TAKEOVER_MS)


def silence_text(view: InlineView, at: int) -> str:
    """Return the time of silence at ``at`` as the end of a sentence: "for 5 min"."""
    since = quiet_since(view)
    quiet = to_the_second(at - since)
    return f"for {quiet}" if view.last_signal == since else f"since watching began {quiet} ago"


def to_the_second(duration_ms: int) -> str:
    """A duration, exact enough for a person."""
    return describe_duration(duration_ms - duration_ms % SECOND_MS or duration_ms)
