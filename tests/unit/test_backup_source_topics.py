"""Tests of what a backup and a restore ask the broker for, while the broker is not ready to tell."""

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from everwatch.backup.backing_up import LEFT_OUT
from everwatch.backup.source_topics import SourceTopics, patiently
from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, RecordsUnreadable
from everwatch.kafka.memory import MemoryClients, MemoryKafka, SentRecord
from everwatch.kafka.memory.clients import MemoryAdmin


class Leaderless(MemoryAdmin):
    """Finds no leader of partition 1 when it is asked first."""

    asked = 0

    def list_offsets(self, wanted: Any, **more: Any) -> Any:
        answers = super().list_offsets(wanted, **more)
        self.asked += 1
        if self.asked <= 2:  # the begin and the end
            for each in wanted:
                if each.partition == 1:
                    answers[each] = Future()
                    answers[each].set_exception(KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE)))
        return answers


def test_a_partition_that_has_no_leader_yet_is_waited_for() -> None:
    kafka = MemoryKafka(2)
    for _ in range(5):
        kafka.append(SentRecord("results", 0, b"ann", b"x", 1, []))
    kafka.logs("results")[0].cut(3)
    admin: Any = Leaderless(kafka)
    source = SourceTopics(Settings(partitions=2), MemoryClients(kafka), admin, SystemClock())
    assert source.bounds("results") == {0: range(3, 5), 1: range(0)}
    assert admin.asked == 4


def test_a_broker_that_stays_away_is_told_after_a_while() -> None:
    clock, calls = SettableClock(), []

    def ask() -> None:
        calls.append(clock.monotonic_s())
        clock.advance(25_000)
        raise BrokerUnavailable("no group coordinator")

    with pytest.raises(BrokerUnavailable, match="coordinator"):
        patiently(ask, clock)
    assert len(calls) == 3


def test_what_cannot_be_read_is_left_out_and_told_but_of_the_table_it_is_an_error() -> None:
    kafka = MemoryKafka(1)
    source = SourceTopics(Settings(partitions=1), MemoryClients(kafka), MemoryAdmin(kafka), SystemClock())
    passing = sorted(set(source.names) - {"monitors_changelog", *LEFT_OUT})
    for name in (*passing, "monitors_changelog"):
        for number in range(6):
            kafka.append(SentRecord(source.names[name], 0, b"%d" % number, b"x", 1, []))
        kafka.damaged[source.names[name], 0] = range(2, 4)
    for name in passing:
        # also twice, as a copy of a table is made
        for _ in range(2):
            read = [record.key for records in source.read(name, {0: range(6)}) for record in records]
            assert read == [b"0", b"1", b"4", b"5"], name
    assert [(each.topic, each.partition, each.begin, each.end) for each in source.unreadable] == [
        (name, 0, 2, 4) for name in passing
    ]
    # what lies behind the wanted offsets is not of this copy
    assert list(source.read("audit", {0: range(2)}))
    assert len(source.unreadable) == len(passing)
    with pytest.raises(RecordsUnreadable):
        list(source.read("monitors_changelog", {0: range(6)}))
