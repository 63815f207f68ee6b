"""Tests of what a backup and a restore ask the broker for, while the broker is not ready to tell."""

from typing import Any

import pytest

from everwatch.backup import source_topics
from everwatch.backup.source_topics import SourceTopics, patiently
from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.memory import MemoryClients, MemoryKafka


def test_a_partition_that_has_no_leader_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[dict[tuple[str, int], range]] = [
        {("results", 0): range(3, 5)},
        {("results", 0): range(3, 5), ("results", 1): range(0)},
    ]
    monkeypatch.setattr(source_topics, "bounds_of", lambda *_: answers.pop(0))
    clients: Any = MemoryClients(MemoryKafka(2))
    source = SourceTopics(Settings(partitions=2), clients, clients.admin(), SystemClock())
    assert source.bounds("results") == {0: range(3, 5), 1: range(0)}


def test_a_broker_that_stays_away_is_told_after_a_while() -> None:
    clock, calls = SettableClock(), []

    def ask() -> None:
        calls.append(clock.monotonic_s())
        clock.advance(25_000)
        raise BrokerUnavailable("no group coordinator")

    with pytest.raises(BrokerUnavailable, match="coordinator"):
        patiently(ask, clock)
    assert len(calls) == 3
