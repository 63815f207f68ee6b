"""Senders of messages: a module for each kind of receiver, and what they share."""

from everwatch.notifier.addresses import Address, AppriseAddress, EmailAddress, host_of

RELAY_LANE = "smtp"
"""The lane of all mail: it goes to one relay."""
APPRISE_LANE = "apprise"
"""The lane of all programs that send by Apprise."""


def lane_of(address: Address) -> str:
    """Return the server that a message goes to: limits and circuits are for each of them."""
    match address:
        case EmailAddress():
            return RELAY_LANE
        case AppriseAddress():
            return APPRISE_LANE
    return host_of(address.url)
