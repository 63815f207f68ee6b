"""The demo's ports on the loopback address, the same at each start where they are free."""

import socket
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

HOST = "127.0.0.1"
PORTS_FILE = "demo-ports"
PORTS = range(18_080, 32_000)


class DemoPorts(NamedTuple):
    """Ports of the demo: HTTP, TLS and DNS of the target, one where nothing listens, and two for alerts."""

    web: int
    dead: int
    tls: int
    dns: int
    mail: int = 0
    hook: int = 0


def choose_ports(folder: Path) -> DemoPorts:
    """The ports of the demo in this data folder: those of its last start, or others if one of them is taken."""
    file = folder / PORTS_FILE
    remembered = [int(word) for word in file.read_text().split()] if file.exists() else []
    if len(remembered) != len(DemoPorts._fields) or not all(map(_is_free, remembered)):
        remembered = list(_free_ports(folder))
        file.write_text(" ".join(map(str, remembered)) + "\n")
    return DemoPorts(*remembered)


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
    return True


def _free_ports(folder: Path) -> Iterator[int]:
    """Free ports below the range from which outgoing connections get theirs.

    Every data folder looks from another port on, so that demos started at the same moment do not find the same ones.
    """
    begin = zlib.crc32(bytes(folder.resolve())) % len(PORTS)
    free = (port for port in [*PORTS[begin:], *PORTS[:begin]] if _is_free(port))
    return islice(free, len(DemoPorts._fields))
