"""Alerts in plain words, the same for e-mail, chat and incident systems. Pure."""

from datetime import UTC, datetime
from functools import lru_cache

from everwatch.notifier.alerts import Alert, AlertKind, Message
from everwatch.notifier.incidents import FLAPPING_CHANGES, FLAPPING_WITHIN_MS
from everwatch.schedule.duration import describe_duration

_HEADLINES = {
    AlertKind.OPENED: "{state}: {title}",
    AlertKind.CHANGED: "{state} now: {title}",
    AlertKind.REMINDER: "Still {low}: {title}",
    AlertKind.CLOSED: "Recovered: {title}",
    AlertKind.ENDED: "Ended: {title}",
    AlertKind.FAILED: "Failed: {title}",
    AlertKind.FLAPPING: "Flapping: {title}",
    AlertKind.SETTLED: "Stable again: {title}",
}
_COUNTED = {
    AlertKind.OPENED: "down",
    AlertKind.CHANGED: "changed",
    AlertKind.REMINDER: "still down",
    AlertKind.CLOSED: "recovered",
    AlertKind.ENDED: "ended",
    AlertKind.FAILED: "failed",
    AlertKind.FLAPPING: "flapping",
    AlertKind.SETTLED: "stable again",
}
# what flapping means for the receiver of the alert: nothing follows for a while, whatever the monitor does
_QUIET = (
    f"; it changed between up and down more than {FLAPPING_CHANGES} times in {describe_duration(FLAPPING_WITHIN_MS)},"
    f" and the next alert comes when it has been up or down for {describe_duration(FLAPPING_WITHIN_MS)}"
)


def headline_of(alert: Alert) -> str:
    """Return one line on an alert: what happened to which monitor."""
    title = alert.subject or alert.monitor_id
    if alert.monitors:
        title += f", {alert.monitors:,} monitor{'s' if alert.monitors > 1 else ''}"
    line = _HEADLINES[alert.kind].format(state=alert.state.upper(), low=alert.state, title=title)
    if alert.kind is AlertKind.CLOSED:
        line += f" (after {lasting(alert)})"
    return line


def subject_of(message: Message) -> str:
    """Return one line on a whole message."""
    if message.code:
        return "Confirm this address for alerts"
    prefix = "Test: " if message.is_test else ""
    if message.title:
        return prefix + _one_line(message.title)
    counts = message.counts
    if sum(counts.values()) == 1:
        return prefix + headline_of(message.alerts[0])
    # an incident of many monitors must not read as one among others
    shared = next((alert for alert in message.alerts if alert.subject), None)
    if shared is not None:
        counts[shared.kind.value] -= 1
        prefix += f"{headline_of(shared)}; also "
    words = [f"{counts[kind.value]} {word}" for kind, word in _COUNTED.items() if counts.get(kind.value)]
    return prefix + ", ".join(words)


def lines_of(message: Message, *, with_user: bool) -> list[str]:
    """Return the message as lines of text, an alert each, and a last one on how many are not listed."""
    if message.code:
        how = f"To confirm it, open {message.link}" if message.link else f"Its code is {message.code}"
        return [
            f"This address was entered for alerts of {_one_line(message.user_id)}.",
            f"{how}. Without that nothing more is sent to it.",
        ]
    if message.lines:
        lines = [_one_line(each) for each in message.lines]
    else:
        lines = [_line(alert, with_user) for alert in message.alerts]
    if message.more:
        lines.append(f"… and {sum(message.more.values())} more")
    return lines


def lasting(alert: Alert) -> str:
    """Return how long the incident has lasted."""
    return describe_duration(max(1_000, alert.duration_ms // 1_000 * 1_000))


def instant(at: int) -> str:
    """Return an instant as people read it, in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


# alerts of one message, and messages of one pass, share most of their instants
@lru_cache(maxsize=4_096)
def iso(at: int) -> str:
    """Return an instant in ISO 8601, in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(alert: Alert, with_user: bool) -> str:
    if alert.subject:
        reason = f": {_one_line(alert.reason)}" if alert.reason else ""
        return f"{headline_of(alert)}{reason} — since {instant(alert.opened_at)}"
    # the headline names the monitor already, which is often called as its kind is
    whose = f"{alert.user_id}/{alert.monitor_id}" if with_user else ""
    kind = alert.monitor_kind if alert.monitor_kind != alert.monitor_id else ""
    parts = ", ".join(part for part in (whose, kind, alert.target) if part)
    about = f" ({parts})" if parts else ""
    reason = f": {_one_line(alert.reason)}" if alert.reason and alert.kind is not AlertKind.CLOSED else ""
    quiet = _QUIET if alert.kind is AlertKind.FLAPPING else ""
    return f"{headline_of(alert)}{about}{reason} — since {instant(alert.opened_at)}{quiet}"


def _one_line(text: str) -> str:
    # a name or a reason must not make a header, or a second line
    return " ".join(text.split())
