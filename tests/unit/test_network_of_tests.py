"""Tests of what keeps the packets of these tests on this machine."""

import socket
from contextlib import closing

import pytest
from support import network

ELSEWHERE = "203.0.113.7"


def test_a_packet_to_whatever_address_comes_to_this_machine(own_network: None) -> None:
    # made within: a socket stays in the network that it was made in
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listening:
        listening.bind(("0.0.0.0", 0))
        listening.settimeout(20)
        listening.sendto(b"for somebody else", (ELSEWHERE, listening.getsockname()[1]))
        assert listening.recv(100) == b"for somebody else"
        with (
            closing(socket.socket()) as nobody,
            pytest.raises(ConnectionRefusedError),
        ):
            nobody.connect((ELSEWHERE, 9))


def test_every_module_of_unit_tests_has_such_a_network_without_asking_for_it() -> None:
    try:
        with network.own_network():
            pass
    except network.NotPermitted as error:
        pytest.skip(f"there may be none here: {error}")
    with closing(socket.socket()) as nobody, pytest.raises(ConnectionRefusedError):
        nobody.connect((ELSEWHERE, 9))


@pytest.mark.parametrize("address", [ELSEWHERE, "2001:db8::1", "10.0.0.1"])
def test_where_there_may_be_none_a_connection_to_elsewhere_fails_its_test(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with network.loopback_only():
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with closing(socket.socket(family, kind)) as used, pytest.raises(pytest.fail.Exception, match="must not"):
                used.connect((address, 9))
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as used, pytest.raises(pytest.fail.Exception):
            used.sendto(b"x", (address, 9))


def test_connections_to_this_machine_are_none_of_its_business() -> None:
    with network.loopback_only(), closing(socket.create_server(("127.0.0.1", 0))) as server:
        for address in ("127.0.0.1", "localhost"):
            socket.create_connection((address, server.getsockname()[1]), 20).close()
