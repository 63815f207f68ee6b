"""Tests of which ports the embedded Kafka takes, and how clients find them."""

import socket
from pathlib import Path

import pytest

from everwatch.core.errors import EmbeddedKafkaError
from everwatch.kafka.embedded.address import Ports, choose_ports, remember_ports, remembered_address


def listener() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def free_port() -> int:
    with listener() as server:
        return int(server.getsockname()[1])


def test_next_start_takes_the_same_ports(tmp_path: Path) -> None:
    ports = Ports(free_port(), free_port())
    assert remembered_address(tmp_path) is None
    remember_ports(tmp_path, ports)
    assert remembered_address(tmp_path) == ports.bootstrap_servers == f"127.0.0.1:{ports.broker}"
    assert choose_ports(tmp_path, None) == ports


def test_remembered_ports_that_are_taken_give_way_to_free_ones(tmp_path: Path) -> None:
    with listener() as broker, listener() as controller:
        taken = Ports(broker.getsockname()[1], controller.getsockname()[1])
        remember_ports(tmp_path, taken)
        chosen = choose_ports(tmp_path, None)
    assert {chosen.broker, chosen.controller}.isdisjoint({taken.broker, taken.controller})
    assert chosen.broker != chosen.controller


def test_requested_port_is_taken_at_its_word(tmp_path: Path) -> None:
    remember_ports(tmp_path, Ports(free_port(), free_port()))
    wanted = free_port()
    assert choose_ports(tmp_path, wanted).broker == wanted


def test_requested_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with listener() as server:
        port = server.getsockname()[1]
        with pytest.raises(EmbeddedKafkaError) as caught:
            choose_ports(tmp_path, port)
    assert str(caught.value) == (
        f"Port {port} on 127.0.0.1, requested for the embedded Kafka, is taken by another program: "
        "stop that program, request another port, or request none to have a free one chosen."
    )


@pytest.mark.parametrize("text", ["", "nonsense", "127.0.0.1:", "127.0.0.1:99999", "10.0.0.1:9092", "\xff"])
def test_unreadable_address_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "address").write_text(text, encoding="latin-1")
    assert remembered_address(tmp_path) is None
