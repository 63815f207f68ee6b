"""Ports for servers of the tests."""

import random

from everwatch.kafka.embedded.address import is_free


def free_ports(number: int) -> list[int]:
    """Return so many free ports, chosen at random: another test that looks at the same moment finds others.

    They lie below those that the system lends to outgoing connections.
    """
    tries = random.sample(range(20_000, 30_000), 200)
    return [port for port in tries if is_free(port)][:number]
