"""Texts of a route's own: names of what an alert says, filled in. Names only, no code. Pure."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from everwatch.core.errors import InvalidInput
from everwatch.notifier.alerts import Alert, Message
from everwatch.notifier.wording import headline_of, instant, lasting, subject_of

_NAME = re.compile(r"\{\{\s*(?:(?P<name>[a-z_]+)|labels\.(?P<label>[^\s{}]{1,128}))\s*\}\}")
_ANY = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)

OF_ALERT: dict[str, Callable[[Alert], str]] = {
    "headline": headline_of,
    "change": lambda alert: alert.kind.value,
    "user_id": lambda alert: alert.user_id,
    "monitor_id": lambda alert: alert.monitor_id,
    "subject": lambda alert: alert.subject or alert.monitor_id,
    "kind": lambda alert: alert.monitor_kind,
    "target": lambda alert: alert.target,
    "state": lambda alert: alert.state,
    "severity": lambda alert: alert.severity.value,
    "reason": lambda alert: alert.reason,
    "at": lambda alert: instant(alert.at),
    "since": lambda alert: instant(alert.opened_at),
    "lasted": lambda alert: lasting(alert),
    "incident_id": lambda alert: alert.incident_id,
}
"""Names of an alert."""
OF_MESSAGE: dict[str, Callable[[Message], str]] = {
    "summary": subject_of,
    "count": lambda message: str(sum(message.counts.values())),
    "route": lambda message: message.route,
}
"""Names of a message; in a subject those of its first alert, the most urgent one, may stand beside them."""


@dataclass(frozen=True)
class MessageTexts:
    """Templates of a route: one of the subject, one of the line of each alert; "": as everywhere else."""

    subject: str = ""
    line: str = ""

    def applied(self, message: Message) -> Message:
        """Return a message of alerts with these texts."""
        if not message.alerts:
            return message
        title, lines = message.title, message.lines
        if self.subject:
            title = _filled(self.subject, message.alerts[0], message)
        if self.line:
            lines = tuple(_filled(self.line, alert, None) for alert in message.alerts)
        return replace(message, title=title, lines=lines)


NO_TEXTS = MessageTexts()
"""The texts of a route that has none of its own."""


def check_text(text: str, place: str, *, is_subject: bool) -> None:
    """Raise InvalidInput if a template has a name that nothing is known by."""
    known = [*OF_ALERT, *(OF_MESSAGE if is_subject else ())]
    for inner in _unknown(text, known):
        raise InvalidInput(f"{{{{{inner[:100]}}}}} is not known; known are {', '.join(known)} and labels.NAME", place)


def _unknown(text: str, known: list[str]) -> Iterator[str]:
    for found in _ANY.finditer(text):
        named = _NAME.fullmatch(found[0])
        if named is None or (named["name"] is not None and named["name"] not in known):
            yield found[1].strip()


def _filled(text: str, alert: Alert, message: Message | None) -> str:
    def value(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return alert.labels.get(found["label"], "")
        if message is not None and name in OF_MESSAGE:
            return OF_MESSAGE[name](message)
        return OF_ALERT[name](alert)

    # values are not looked at for names again
    return _NAME.sub(value, text)
