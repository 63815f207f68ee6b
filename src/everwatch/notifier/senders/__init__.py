"""Senders of messages: a module for each kind of receiver, and what they share."""

from everwatch.notifier.addresses import Address, EmailAddress, host_of

RELAY_LANE = "smtp"
"""The lane of all mail: it goes to one relay."""


def lane_of(address: Address) -> str:
    """Return the server that a message goes to: limits and circuits are for each of them."""
    return RELAY_LANE if isinstance(address, EmailAddress) else host_of(address.url)
