"""The clients of a worker that outlive a broker."""

from typing import Any

import pytest

from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.memory.clients import MemoryAdmin
from streams.transport.worker_clients import WorkerClients


class LostController(MemoryAdmin):
    """A client whose controller may be killed: it never asks another broker then."""

    is_lost = False

    def describe_topics(self, topics: Any, **more: Any) -> Any:
        if self.is_lost:
            raise BrokerUnavailable("Timed out waiting for controller.")
        return super().describe_topics(topics, **more)


class CountedClients(MemoryClients):
    """Clients of which the administrators are kept."""

    def __init__(self, kafka: MemoryKafka) -> None:
        super().__init__(kafka)
        self.admins: list[LostController] = []

    def admin(self) -> Any:
        self.admins.append(LostController(self.kafka))
        return self.admins[-1]


def test_a_client_that_had_no_answer_is_not_asked_again() -> None:
    kafka = MemoryKafka(1)
    kafka.create("everwatch-monitors-changelog")
    clients = CountedClients(kafka)
    made = clients.admins
    worker = WorkerClients(Settings(), clients)
    assert worker.changelog_id() == worker.changelog_id() != ""
    assert len(made) == 1, "as long as it answers"
    made[0].is_lost = True
    with pytest.raises(BrokerUnavailable):
        worker.changelog_id()
    assert worker.changelog_id() != ""
    assert len(made) == 2
