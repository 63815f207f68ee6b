"""Outcomes of messages as records of the topic ``notifications``."""

import msgspec

from everwatch.notifier import alerts
from everwatch.notifier.alerts import Message


class NotifiedAlert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One alert of a message. ``subject``: of an incident of many monitors, which has no user and no monitor."""

    kind: str
    incident_id: str
    user_id: str = ""
    monitor_id: str = ""
    subject: str = ""


class NotificationRecord(msgspec.Struct, frozen=True):
    """Outcome of one attempt at a message, or of a message that needs no attempt any more. Instants in ms (UTC).

    ``notification_id``, ``attempt``, ``state`` and ``at`` identify it: a record may come twice, and attempts are
    counted anew when a message is sent again by command. ``state``: ``sent``; ``pending``, the next attempt is due at
    ``due_at`` (0 in any other state); ``dead``; ``skipped``, it was in doubt; ``superseded``, a message that is
    composed anew replaces it. ``user_id``: "" for operators. ``target``: the address as people may see it. ``alerts``:
    those that the message lists, 50 at most.
    """

    notification_id: str
    attempt: int
    state: str
    at: int
    created_at: int
    due_at: int
    route: str
    sender: str
    target: str
    user_id: str
    reason: str
    alerts: tuple[NotifiedAlert, ...] = ()
    test: bool = False


def notified_alerts(message: Message) -> tuple[NotifiedAlert, ...]:
    """Return the alerts of a message as its record lists them."""
    return tuple(
        NotifiedAlert(each.kind.value, each.incident_id, each.user_id, each.monitor_id, each.subject)
        for each in message.alerts
    )


def key_of(record: NotificationRecord) -> str:
    """Return what a record is keyed by: its user, or the route of a message to operators."""
    return record.user_id or record.route


encode_notification = alerts.encode
decode_notification = msgspec.json.Decoder(NotificationRecord).decode
