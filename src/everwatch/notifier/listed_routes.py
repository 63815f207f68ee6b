"""Routes of the notification rules, as they are listed: without addresses. Pure."""

from typing import Any

import msgspec


class RouteFacts(msgspec.Struct, frozen=True, rename={"audience": "for", "goes_on": "continue"}):
    """A route of the notification rules, without addresses. Durations in ms.

    ``audience``: users or operators. ``match``: which alerts it takes. ``min_down_ms``: how long a monitor is down
    before. ``goes_on``: later routes get what it takes, too. ``doubt``: what becomes of a message that may have been
    sent. ``belongs_to``: who has the address: ``operator``, ``plan`` (users of the plans that ``match`` names) or
    ``user``. ``needs``: the user's attributes that the address takes.
    """

    route: str
    audience: str
    sender: str
    match: dict[str, Any]
    group_wait_ms: int
    group_interval_ms: int
    min_down_ms: int
    goes_on: bool
    doubt: str
    belongs_to: str = ""
    needs: list[str] = []


class ListedRoute(RouteFacts, frozen=True):
    """A route as the notifier notes it in its database.

    ``verifies``: whether its messages go to verified addresses alone. ``mailbox``: the attribute that is the whole mail
    address or number, "" if none is. ``after_ms``: an escalation, sent after so long without acknowledgement; 0: none.
    """

    verifies: bool = False
    mailbox: str = ""
    after_ms: int = 0
