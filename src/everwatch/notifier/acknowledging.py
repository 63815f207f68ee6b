"""Acknowledgements: which alerts of an incident are no longer sent. Pure."""

import msgspec

from everwatch.notifier.alerts import RESOLVING, AlertKind
from everwatch.schedule.duration import DAY_MS

SHORTEST_SNOOZE_MS, LONGEST_SNOOZE_MS = 1_000, 30 * DAY_MS


class Acknowledgement(msgspec.Struct, frozen=True):
    """Acknowledgement of an incident: by whom, and when (ms). ``snoozed_until``: no alerts before then; 0: no snooze.

    An acknowledged incident sends no reminders and no escalations.
    """

    incident_id: str
    user_id: str
    monitor_id: str
    acked_at: int
    acked_by: str = ""
    snoozed_until: int = 0

    def silences(self, kind: AlertKind, now: int) -> bool:
        """Tell whether an alert of this kind is suppressed; the end of an incident never is."""
        if kind in RESOLVING:
            return False
        return kind is AlertKind.REMINDER or now < self.snoozed_until

    def verdict(self, now: int) -> str:
        """Return why an alert is not sent."""
        by = f" by {self.acked_by}" if self.acked_by else ""
        return f"not told: {'snoozed' if now < self.snoozed_until else 'acknowledged'}{by}"
