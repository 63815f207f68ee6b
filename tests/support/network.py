"""A network that ends at this machine: no packet leaves it, and whatever address is named, this machine answers.

Linux gives each thread its network namespace (network_namespaces(7)), and what a thread starts has its own.
"""

import ctypes
import fcntl
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_CLONE_NEWNET = 0x40000000
# rtnetlink(7)
_RTM_NEWROUTE, _RTM_DELROUTE, _REQUEST, _ACK, _CREATE = 24, 25, 0x1, 0x4, 0x400
_TABLE_LOCAL, _STATIC, _SCOPE_HOST, _TYPE_LOCAL, _RTA_OIF = 255, 4, 254, 2, 4
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


class NotPermitted(Exception):
    """This process may not have a network of its own; ``str()`` says why."""


@contextmanager
def own_network() -> Iterator[None]:
    """Within, this thread has a network of its own, of a loopback interface to which every address belongs.

    Raises NotPermitted.
    """
    with open("/proc/thread-self/ns/net") as before:
        _call("unshare", _CLONE_NEWNET)
        try:
            _raise_loopback()
            for family in (socket.AF_INET, socket.AF_INET6):
                _route_all_to_loopback(family)
            yield
        finally:
            _call("setns", before.fileno(), _CLONE_NEWNET)


@contextmanager
def without_uplink() -> Iterator[None]:
    """Within ``own_network``: only loopback addresses are reached meanwhile, as by a machine that lost its uplink."""
    _route_all_to_loopback(socket.AF_INET, _RTM_DELROUTE)
    try:
        yield
    finally:
        _route_all_to_loopback(socket.AF_INET)


class NetworkBeside:
    """A second network like ``own_network``, for processes that lose their uplink while this thread keeps its own.

    What is started, and each socket that is made, within ``entered`` is in there for good.
    """

    def __init__(self) -> None:
        with open("/proc/thread-self/ns/net") as before:
            _call("unshare", _CLONE_NEWNET)
            try:
                self._namespace = open("/proc/thread-self/ns/net")  # noqa: SIM115 - it lives as long as the network
                _raise_loopback()
                _route_all_to_loopback(socket.AF_INET)
            finally:
                _call("setns", before.fileno(), _CLONE_NEWNET)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within, this thread is in that network."""
        with open("/proc/thread-self/ns/net") as before:
            _call("setns", self._namespace.fileno(), _CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", before.fileno(), _CLONE_NEWNET)

    def cut(self) -> None:
        """Take its uplink away: what is in there reaches loopback addresses only."""
        with self.entered():
            _route_all_to_loopback(socket.AF_INET, _RTM_DELROUTE)

    def mend(self) -> None:
        """Give it its uplink back."""
        with self.entered():
            _route_all_to_loopback(socket.AF_INET)

    def close(self) -> None:
        """Let go of it; it ends with the last process in it."""
        self._namespace.close()


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise NotPermitted(f"{name}: {os.strerror(ctypes.get_errno())}")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", request)[1] | _IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags))


def _route_all_to_loopback(family: socket.AddressFamily, change: int = _RTM_NEWROUTE) -> None:
    """Do what ``ip route add local default dev lo`` does, which not every machine has."""
    route = struct.pack("BBBBBBBBI", family, 0, 0, 0, _TABLE_LOCAL, _STATIC, _SCOPE_HOST, _TYPE_LOCAL, 0)
    attribute = struct.pack("HHI", 8, _RTA_OIF, socket.if_nametoindex("lo"))
    body = route + attribute
    flags = _REQUEST | _ACK | (_CREATE if change == _RTM_NEWROUTE else 0)
    header = struct.pack("IHHII", 16 + len(body), change, flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.sendto(header + body, (0, 0))
        error = struct.unpack_from("i", kernel.recv(65_536), 16)[0]
    if error and family == socket.AF_INET:  # a machine without IPv6 has no such routes
        raise NotPermitted(f"route: {os.strerror(-error)}")


_CONNECTING = ("socket.connect", "socket.sendto", "socket.sendmsg")
_held: list[bool] = []


@contextmanager
def loopback_only() -> Iterator[None]:
    """Within, Python's own sockets of this process connect and send to loopback addresses only.

    What libraries in C do (libcurl, c-ares, librdkafka, the system's resolver) is not seen.
    """
    if not _held:
        _held.append(False)
        sys.addaudithook(_refuse_elsewhere)  # for good, so it is switched
    _held[0] = True
    try:
        yield
    finally:
        _held[0] = False


def _refuse_elsewhere(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _CONNECTING or not _held[0]:
        return
    used, address = arguments[:2]
    if used.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
        return
    host = str(address[0]).partition("%")[0]
    try:
        known = ipaddress.ip_address(host)
    except ValueError:  # a name has been looked up by then, and is an address the next time
        return
    if not (known.is_loopback or known.is_unspecified):
        pytest.fail(f"{event} to {host}: a test's packets must not leave this machine")
