"""Check whether a network policy that is expected is enforced: a cluster takes one and may ignore it."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System

# what is dropped gives no answer at all
ANSWERS_WITHIN_S = 3.0
_AT_ONCE = 8


def check_network_policy(system: System) -> Iterator[Finding]:
    """Try to connect to each of EVERWATCH_BLOCKED_ADDRESSES; an address that answers is a fault.

    Nothing without any.
    """
    addresses = system.settings.blocked_addresses
    if not addresses:
        return
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        reached = [
            address for address, is_open in zip(addresses, threads.map(_is_open, addresses), strict=True) if is_open
        ]
    for address in reached:
        yield fault(
            "network policy",
            f"{address} can be reached from here, although EVERWATCH_BLOCKED_ADDRESSES says that it is blocked",
            "Run a network plugin that enforces NetworkPolicies, and see whether the policy selects this pod.",
        )
    if not reached:
        yield well("network policy", f"{', '.join(addresses)} cannot be reached from here, as it should be")


def _is_open(address: str) -> bool:
    """Tell whether something takes a connection. A name that is not found leads nowhere, too."""
    host, _, port = address.rpartition(":")
    try:
        with closing(socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN_S)):
            return True
    except (OSError, OverflowError):
        return False
