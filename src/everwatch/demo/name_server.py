"""A name server for the demo: it knows a handful of names, and their IPv4 addresses (RFC 1035, UDP alone)."""

import asyncio
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import cast

_A, _IN = 1, 1
_NO_SUCH_NAME = 3
_HEADER_BYTES = 12


class NameServer(asyncio.DatagramProtocol):
    """Answers from ``addresses``, by name in lower case; of another name it says that it does not exist."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # not every loop's transports are of the class that this method is declared with
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = answer_to(data, self._addresses)
        if answer and self._transport is not None:
            self._transport.sendto(answer, addr)


def answer_to(query: bytes, addresses: Mapping[str, str]) -> bytes:
    """The answer to a query's first question; nothing to bytes that are no query."""
    labels, at = [], _HEADER_BYTES
    while at < len(query) and query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode(errors="replace").lower())
        at += 1 + query[at]
    question = query[_HEADER_BYTES : at + 5]
    if at + 5 > len(query):
        return b""
    address = addresses.get(".".join(labels))
    records = b""
    if address is not None and question.endswith(struct.pack(">HH", _A, _IN)):
        # 0xC00C: the name is the one in the question
        records = struct.pack(">HHHIH", 0xC00C, _A, _IN, 60, 4) + IPv4Address(address).packed
    flags = 0x8580 | (0 if address is not None else _NO_SUCH_NAME)
    return query[:2] + struct.pack(">HHHHH", flags, 1, bool(records), 0, 0) + question + records
