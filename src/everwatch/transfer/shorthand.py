"""Monitors of a signup from a few words: URLs, addresses, a heartbeat's period. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from everwatch.core.errors import InvalidInput

COLUMNS = ("http", "tcp", "every")
"""Columns of a table of signups that stand for a monitor each, and for their interval."""


def monitors_of(
    urls: Sequence[str], addresses: Sequence[str], heartbeat: str | None, schedule: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The monitors, as a signup names them, all on the same schedule. Raises InvalidInput."""
    monitors: list[dict[str, Any]] = []
    for number, url in enumerate(urls, 1):
        monitors.append({"monitor_id": _numbered("http", number), "kind": "http", "config": {"url": url}})
    for number, address in enumerate(addresses, 1):
        host, colon, port = address.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()):
            raise InvalidInput(f"an address to connect to is HOST:PORT, not {address!r}", "$.tcp")
        config = {"host": host.strip("[]"), "port": int(port)}
        monitors.append({"monitor_id": _numbered("tcp", number), "kind": "tcp", "config": config})
    if heartbeat:
        monitors.append({"kind": "heartbeat", "config": {"period": heartbeat}})
    return [monitor | {"schedule": schedule} for monitor in monitors]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
