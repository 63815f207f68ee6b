"""Address of the embedded Kafka: loopback, with ports that its folder keeps."""

import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path

from everwatch.core.errors import EmbeddedKafkaError

HOST = "127.0.0.1"
DEFAULT_PORT = 9092

_BROKER_FILE = "address"
_CONTROLLER_FILE = "controller-address"
# Below the ports that Linux (from 32768) and macOS (from 49152) lend to outgoing connections,
# so that a remembered port is not taken by some client when the broker comes back.
_FREE_PORTS = range(20_000, 30_000)
_TRIES = 200
_CONNECT_TIMEOUT_S = 0.5
_LARGEST_PORT = 65_535


@dataclass(frozen=True)
class Ports:
    """The broker's port, and that of its KRaft controller."""

    broker: int
    controller: int

    @property
    def bootstrap_servers(self) -> str:
        """Return the address for Kafka clients."""
        return f"{HOST}:{self.broker}"


def remembered_address(folder: Path) -> str | None:
    """Return the ``host:port`` that the last start in ``folder`` wrote down, or None if there was none."""
    port = _read(folder / _BROKER_FILE)
    return None if port is None else f"{HOST}:{port}"


def choose_ports(folder: Path, requested: int | None) -> Ports:
    """Return the ports for the next start: those of the last one where they are free.

    ``requested`` is the broker's port and nothing else will do; None takes the remembered one, 9092 or any free one.
    Raises EmbeddedKafkaError if the requested port is taken.
    """
    if requested is not None:
        if not is_free(requested):
            raise EmbeddedKafkaError(
                f"Port {requested} on {HOST}, requested for the embedded Kafka, is taken by another program: "
                "stop that program, request another port, or request none to have a free one chosen."
            )
        broker = requested
    else:
        broker = _first_free((_read(folder / _BROKER_FILE), DEFAULT_PORT), avoid=None)
    return Ports(broker, _first_free((_read(folder / _CONTROLLER_FILE),), avoid=broker))


def remember_ports(folder: Path, ports: Ports) -> None:
    """Write down the ports for ``remembered_address`` and the next start."""
    for name, port in ((_BROKER_FILE, ports.broker), (_CONTROLLER_FILE, ports.controller)):
        # A client may read while we write: it finds the old address or the new one, never half of one.
        fresh = folder / f"{name}.new"
        fresh.write_text(f"{HOST}:{port}\n", encoding="ascii")
        os.replace(fresh, folder / name)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on ``port`` of the loopback address now."""
    with socket.socket() as probe:
        # As Java does: connections of the previous broker that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    # macOS lets one bind to the loopback address beside a server that listens on all addresses.
    return not is_open(port)


def is_open(port: int) -> bool:
    """Tell whether something accepts connections on ``port`` of the loopback address."""
    with socket.socket() as client:
        client.settimeout(_CONNECT_TIMEOUT_S)
        return client.connect_ex((HOST, port)) == 0


def _first_free(wanted: tuple[int | None, ...], avoid: int | None) -> int:
    for port in (*wanted, *random.sample(_FREE_PORTS, _TRIES)):
        if port is not None and port != avoid and is_free(port):
            return port
    raise EmbeddedKafkaError(
        f"No free port was found on {HOST} for the embedded Kafka "
        f"({_TRIES} tries between {_FREE_PORTS.start} and {_FREE_PORTS.stop}): request one that is free."
    )


def _read(path: Path) -> int | None:
    try:
        host, _, port = path.read_text(encoding="ascii").strip().partition(":")
    except (OSError, UnicodeDecodeError):
        return None
    return int(port) if host == HOST and port.isdigit() and 0 < int(port) <= _LARGEST_PORT else None
