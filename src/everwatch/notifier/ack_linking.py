"""Adds the links that acknowledge to messages, where the rules want them."""

from msgspec.structs import replace

from everwatch.notifier.ack_links import SENDERS, is_for, link_of
from everwatch.notifier.alerts import Message
from everwatch.notifier.routes import AlertRoute, Audience, Rules
from everwatch.notifier.storage import Work


class AckLinking:
    """Links of one pass."""

    def __init__(self, work: Work, rules: Rules) -> None:
        self._links = rules.ack_links
        self._secret = work.link_secret() if rules.ack_links.url else None

    def linked(self, route: AlertRoute, message: Message) -> Message:
        """Return a message with its link, if it is to have one."""
        is_asked = route.audience is Audience.OPERATORS or self._links.users
        if self._secret is None or not is_asked or route.sender not in SENDERS:
            return message
        if not any(map(is_for, message.alerts)):
            return message
        return replace(message, ack_link=link_of(self._links, self._secret, message))
