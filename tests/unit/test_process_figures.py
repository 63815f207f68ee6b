"""Figures that are measured beside the work: certificates, disk, rebalances."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from prometheus_client import REGISTRY

from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.observability.rebalances import Rebalances
from everwatch.processes.certificates import measure_certificates
from everwatch.processes.metrics import measure_disk


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_certificate_that_expires_is_the_clients_own_and_of_authorities_the_last_one(tmp_path: Path) -> None:
    soon, later = datetime(2030, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    authority = trustme.CA()
    ours, authorities, key = tmp_path / "client.pem", tmp_path / "ca.pem", tmp_path / "key.pem"
    issued = [authority.issue_cert("client", not_after=when) for when in (soon, later)]
    chain = b"".join(each.cert_chain_pems[0].bytes() for each in issued)
    ours.write_bytes(chain)
    authorities.write_bytes(chain)
    issued[0].private_key_pem.write_to_path(key)
    settings = load_settings(ssl_certificate_file=ours, ssl_key_file=key, ssl_ca_file=authorities)
    measure_certificates(settings)
    assert value("everwatch_certificate_expires_seconds", setting="ssl_certificate_file") == soon.timestamp()
    assert value("everwatch_certificate_expires_seconds", setting="ssl_ca_file") == later.timestamp()
    ours.write_text("no certificate")
    measure_certificates(settings)
    assert value("everwatch_certificate_expires_seconds", setting="ssl_certificate_file") == soon.timestamp()


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    measure_disk(tmp_path / "not" / "yet")
    assert 0 < value("everwatch_data_free_bytes") < value("everwatch_data_size_bytes")


@pytest.mark.parametrize("opens_later", [False, True])
def test_a_rebalance_lasts_from_the_first_revocation_until_partitions_are_worked_on(opens_later: bool) -> None:
    clock, name = SettableClock(), "everwatch_rebalance_seconds"
    rebalances = Rebalances("some", clock)
    count, total = value(f"{name}_count"), value(f"{name}_sum")
    rebalances.assigned()  # the first assignment ends no rebalance
    rebalances.revoked()
    clock.advance(2_000)
    rebalances.lost()
    clock.advance(1_000)
    rebalances.assigned(is_over=not opens_later)
    if opens_later:
        clock.advance(500)
        rebalances.over()
    assert value(f"{name}_count") - count == 1
    assert value(f"{name}_sum") - total == (3.5 if opens_later else 3)
