"""A name server on the loopback address, UDP and TCP, whose answers tests decide."""

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "CAA": 257}
FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 1, 2, 3, 4, 5


def wire_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def rdata(record_type: str, text: str) -> bytes:
    """Return what a record of ``record_type``, written as in a zone file, holds."""
    parts = text.split(" ")
    match record_type:
        case "A" | "AAAA":
            return ipaddress.ip_address(text).packed
        case "CNAME" | "NS" | "PTR":
            return wire_name(text)
        case "MX":
            return struct.pack(">H", int(parts[0])) + wire_name(parts[1])
        case "SRV":
            return struct.pack(">HHH", *map(int, parts[:3])) + wire_name(parts[3])
        case "SOA":
            return wire_name(parts[0]) + wire_name(parts[1]) + struct.pack(">5I", *map(int, parts[2:]))
        case "CAA":
            return bytes([int(parts[0]), len(parts[1])]) + parts[1].encode() + parts[2].encode()
        case _:
            chunks = [text.encode()[at : at + 255] for at in range(0, len(text.encode()), 255)]
            return b"".join(bytes([len(chunk)]) + chunk for chunk in chunks)


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Answers from ``zone``: (name, type) -> records in zone file form, with the type where it is another's.

    ``"@b.example A=192.0.2.1"`` is a record of another name. ``edns_rcode``: what is answered to EDNS, with the
    question or, like some old servers, without it (``header_only``).

    ``ttls``: seconds for which the records of a name may be kept, else an hour. ``names``: the names that were asked
    for, and of which type, in order.
    """

    zone: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    rcodes: dict[str, int] = field(default_factory=dict)
    only_over_tcp: bool = False
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    ttls: dict[str, int] = field(default_factory=dict)
    names: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0
    edns_rcode: int = 0
    header_only: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append("udp")
        if not self.silent:
            self.transport.sendto(self.answer(data, cut=self.only_over_tcp), addr)

    async def over_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append("tcp")
        size = int.from_bytes(await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(size), cut=False)
        writer.write(len(answer).to_bytes(2) + answer)
        await writer.drain()
        writer.close()

    def answer(self, query: bytes, *, cut: bool) -> bytes:
        end = query.index(0, 12) + 5
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        name = ".".join(labels)
        number = int.from_bytes(query[end - 4 : end - 2])
        record_type = next(key for key, value in TYPES.items() if value == number)
        self.names.append((name, record_type))
        if self.edns_rcode and int.from_bytes(query[10:12]):
            head = query[:2] + struct.pack(">HHHHH", 0x8180 | self.edns_rcode, not self.header_only, 0, 0, 0)
            return head if self.header_only else head + query[12:end]
        records = b""
        given = [] if cut else self.zone.get((name, record_type), [])
        for text in given:
            owner, _, text = text[1:].partition(" ") if text.startswith("@") else (name, "", text)
            own_type, _, rest = text.partition("=") if text.partition("=")[0] in TYPES else (record_type, "", text)
            data = rdata(own_type, rest)
            records += (
                wire_name(owner) + struct.pack(">HHIH", TYPES[own_type], 1, self.ttls.get(name, 3600), len(data)) + data
            )
        flags = 0x8180 | (0x0200 if cut else 0) | self.rcodes.get(name, 0)
        return query[:2] + struct.pack(">HHHHH", flags, 1, len(given), 0, 0) + query[12:end] + records


@asynccontextmanager
async def open_name_server() -> AsyncIterator[NameServer]:
    """A name server that listens on 127.0.0.1 at ``port``."""
    server = NameServer()
    over_tcp = await asyncio.start_server(server.over_tcp, "127.0.0.1", 0)
    server.port = over_tcp.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", server.port)
    )
    async with over_tcp:
        yield server
    transport.close()
