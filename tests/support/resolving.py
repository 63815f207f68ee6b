"""A resolver whose addresses a test gives."""

import socket
from collections.abc import Awaitable, Callable

from everwatch.core.clock import SystemClock
from everwatch.network.resolver import AddressInfo, Resolver


class GivenAddresses(Resolver):
    """Answers with what ``find`` returns or raises for a host and a port; keeps the hosts in ``asked``."""

    def __init__(self, find: Callable[[str, int], Awaitable[list[AddressInfo]]]) -> None:
        super().__init__(SystemClock())
        self.asked: list[str] = []
        self._find = find

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        self.asked.append(host)
        return await self._find(host, port)


def info(address: str, port: int) -> AddressInfo:
    """An IPv4 address as a resolver answers it."""
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def at(*addresses: str) -> GivenAddresses:
    """Every name has these addresses."""

    async def find(_: str, port: int) -> list[AddressInfo]:
        return [info(address, port) for address in addresses]

    return GivenAddresses(find)


def failing(error: Exception) -> GivenAddresses:
    """No name has an address."""

    async def find(_: str, __: int) -> list[AddressInfo]:
        raise error

    return GivenAddresses(find)
