"""Doctor tries whether a network policy is enforced."""

import socket
from collections.abc import Iterator

import pytest
from support.ports import free_ports

from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import SettingsError
from everwatch.diagnosis import System
from everwatch.diagnosis.checks.network_policy import check_network_policy
from everwatch.diagnosis.finding import Finding


@pytest.fixture
def open_port() -> Iterator[int]:
    """A port that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def findings(addresses: str) -> list[Finding]:
    settings = load_settings(blocked_addresses=addresses)
    return list(check_network_policy(System(settings, "127.0.0.1:1", SettableClock())))


def test_address_that_can_be_reached_is_a_fault_with_a_remedy(open_port: int) -> None:
    (found,) = findings(f"127.0.0.1:{open_port},127.0.0.1:{free_ports(1)[0]}")
    assert not found.ok
    assert found.says.startswith(f"127.0.0.1:{open_port} can be reached from here")
    assert "NetworkPolicies" in found.remedy


def test_addresses_that_lead_nowhere_are_as_they_should_be() -> None:
    (found,) = findings(f"127.0.0.1:{free_ports(1)[0]},no-such-name.invalid:443")
    assert found.ok


def test_nothing_is_said_where_nothing_is_expected() -> None:
    assert findings("") == []


@pytest.mark.parametrize("wrong", ["169.254.169.254", "http://x:80", "a b:80"])
def test_address_without_a_port_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="EVERWATCH_BLOCKED_ADDRESSES"):
        load_settings(blocked_addresses=wrong)
