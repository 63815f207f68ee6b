"""Metrics of the notifier."""

from functools import lru_cache

from prometheus_client import Counter, Histogram

TAKEN_IN = Counter("everwatch_notifier_transitions", "Transitions read that change an incident.")
REFUSED = Counter("everwatch_notifier_refused_records", "Records passed over because they cannot be decoded.")
ALERTS = Counter("everwatch_notifier_alerts", "Alerts assigned to a route.")
CANCELLED = Counter(
    "everwatch_notifier_cancelled_alerts", "Alerts to users suppressed because an executor was in doubt."
)
ATTEMPTS = Counter("everwatch_notifier_attempts", "Attempts to send a message, by outcome.", ["sender", "outcome"])
MESSAGE_DELAY = Histogram(
    "everwatch_notifier_message_delay_seconds",
    "Delay of a message's arrival at its receiver behind the instant at which it was written.",
    ["sender"],
    buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200),
)
GIVEN_UP = Counter(
    "everwatch_notifier_given_up_messages", "Messages given up because no attempt succeeded.", ["sender"]
)
DOUBTS = Counter(
    "everwatch_notifier_doubts",
    "Messages that were being sent when their notifier ended, by the rule that applied.",
    ["rule"],
)


def count_attempt(sender: str, outcome: str, state: str, age_ms: int) -> None:
    """Count an attempt, and what it makes of its message: ``state``. ``age_ms``: since the message was written."""
    _attempts(sender, outcome).inc()
    if state == "sent":
        _delays(sender).observe(age_ms / 1000)
    elif state == "dead":
        GIVEN_UP.labels(sender).inc()


# finding the child of a metric by its labels takes longer than counting
_attempts = lru_cache(ATTEMPTS.labels)
_delays = lru_cache(MESSAGE_DELAY.labels)
