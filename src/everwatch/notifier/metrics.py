"""Metrics of the notifier."""

from prometheus_client import Counter

TAKEN_IN = Counter("everwatch_notifier_transitions", "Transitions taken in that concern people.")
REFUSED = Counter("everwatch_notifier_refused_records", "Records passed over, as nothing can be made of them.")
ALERTS = Counter("everwatch_notifier_alerts", "Alerts that were put to a route.")
CANCELLED = Counter(
    "everwatch_notifier_cancelled_alerts", "Alerts to users that were never sent, as an executor was doubted."
)
ATTEMPTS = Counter(
    "everwatch_notifier_attempts", "Attempts to send a message, by how they ended.", ["sender", "outcome"]
)
DOUBTS = Counter(
    "everwatch_notifier_doubts", "Messages that were being sent when their notifier ended, by what followed.", ["rule"]
)
