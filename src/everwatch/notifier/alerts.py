"""The values of the notifier, frozen: what an alert says, and a message of alerts to one receiver.

Instants are whole milliseconds since the epoch (UTC). They are stored as JSON, so fields get defaults when they are
added, and none is given another meaning.
"""

from enum import StrEnum
from hashlib import sha1
from uuid import UUID

import msgspec

NAMESPACE = UUID("6f0b9c1e-7f5a-5d0a-9c55-2a1f5a3a7e11")
"""What ids of events, incidents and messages are derived in (UUIDv5): the same input always has the same id."""
_NAMESPACE_BYTES = NAMESPACE.bytes
_VARIANT = {digit: f"{int(digit, 16) & 0b0011 | 0b1000:x}" for digit in "0123456789abcdef"}


class Severity(StrEnum):
    """Severity of an alert, the least urgent first."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


URGENCY = tuple(Severity)


class AlertKind(StrEnum):
    """Kind of an alert.

    ``opened``: a monitor went down or late. ``changed``: it is down now and was late, or the reverse. ``reminder``:
    still so. ``closed``: it recovered. ``ended``: its owner paused, changed or removed it while it was down, or it
    recovered within maintenance; sent only to receivers that keep incidents. ``failed``: a task or last run failed.
    ``flapping``: it changes too often; quiet from now on. ``settled``: it stopped flapping and is up.
    """

    OPENED = "opened"
    CHANGED = "changed"
    REMINDER = "reminder"
    CLOSED = "closed"
    ENDED = "ended"
    FAILED = "failed"
    FLAPPING = "flapping"
    SETTLED = "settled"


RESOLVING = frozenset({AlertKind.CLOSED, AlertKind.ENDED, AlertKind.SETTLED})
"""Kinds after which a receiver that keeps incidents has this one no more."""


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of one monitor, as a receiver gets it.

    ``monitor_kind``, ``target`` (the host that it checks) and ``labels`` are the monitor's. ``opened_at``: when the
    incident began, with ``opened_severity``.
    ``untold``: the receiver did not get the incident's beginning; this message has both.
    ``subject``: what an incident of many monitors is about, such as "target shop.example"; "" for a monitor's own.
    ``monitors``: how many of them fail. Its ``user_id`` and ``monitor_id`` are empty. ``executor``: who found it.
    """

    kind: AlertKind
    incident_id: str
    user_id: str
    monitor_id: str
    state: str
    at: int
    opened_at: int
    severity: Severity
    opened_severity: Severity = Severity.CRITICAL
    reason: str = ""
    monitor_kind: str = ""
    target: str = ""
    labels: dict[str, str] = {}
    untold: bool = False
    subject: str = ""
    monitors: int = 0
    executor: str = ""

    @property
    def duration_ms(self) -> int:
        """Duration of the incident at ``at``, ms."""
        return max(0, self.at - self.opened_at)


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """Message: alerts that one receiver gets together.

    ``message_id`` is the same at each attempt. ``user_id``: whose alerts, "" in a message to operators. ``alerts``: at
    most ``grouping.MOST_LISTED`` of them; ``more`` counts the others by kind. ``is_test``: it is a test.
    ``code``: the message asks to confirm the address with it, and has no alert; ``link``: where.
    ``ack_link``: where its incidents are acknowledged, "" for nowhere.
    ``to``: the message is mail to this subscriber of a status page; ``link`` ends that.
    ``title`` and ``lines``: its text, in place of the one that is made of its alerts; "" and none: that one.
    """

    message_id: str
    route: str
    user_id: str
    created_at: int
    alerts: tuple[Alert, ...]
    more: dict[str, int] = {}
    is_test: bool = False
    code: str = ""
    link: str = ""
    ack_link: str = ""
    to: str = ""
    title: str = ""
    lines: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Number of its alerts of each kind."""
        counts = dict(self.more)
        for alert in self.alerts:
            counts[alert.kind.value] = counts.get(alert.kind.value, 0) + 1
        return counts


def derived_id(*parts: object) -> str:
    """An id that is always the same for these parts: their UUIDv5 (RFC 9562, 5.5)."""
    # uuid.uuid5 takes three times as long, and each event has four ids
    name = "\0".join(map(str, parts)).encode()
    text = sha1(_NAMESPACE_BYTES + name, usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def dated_id(at: int, *parts: object) -> str:
    """An id that is always the same for an instant (ms) and these parts: a UUIDv8 (RFC 9562, 5.8).

    It begins with the instant, so ids that are made one after another lie side by side in an index. Of ids in no order
    each one is on a page of its own, which must be read, changed and written; that is a third of what a row costs once
    there are 200,000.
    """
    stamp = f"{at & 0xFFFF_FFFF_FFFF:012x}"
    name = "\0".join(map(str, (at, *parts))).encode()
    text = sha1(_NAMESPACE_BYTES + name, usedforsecurity=False).hexdigest()
    return f"{stamp[:8]}-{stamp[8:]}-8{text[1:4]}-{_VARIANT[text[4]]}{text[5:8]}-{text[8:20]}"


encode = msgspec.json.Encoder().encode
decode_alert = msgspec.json.Decoder(Alert).decode
decode_message = msgspec.json.Decoder(Message).decode
