"""The clients of a worker that outlive a broker."""

from typing import Any

import pytest

from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from streams.transport.worker_clients import WorkerClients


def test_a_client_that_had_no_answer_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = MemoryKafka(1)
    kafka.create("everwatch-monitors-changelog")
    clients = MemoryClients(kafka)
    made: list[Any] = []
    new = clients.admin

    def admin() -> Any:
        made.append(new())
        return made[-1]

    monkeypatch.setattr(clients, "admin", admin)
    worker = WorkerClients(Settings(), clients)
    assert worker.changelog_id() == worker.changelog_id() != ""
    assert len(made) == 1, "as long as it answers"

    # as one does whose controller was killed: it never asks another broker
    def describe_topics(*_: object, **__: object) -> None:
        raise BrokerUnavailable("Timed out waiting for controller.")

    monkeypatch.setattr(made[0], "describe_topics", describe_topics, raising=False)
    with pytest.raises(BrokerUnavailable):
        worker.changelog_id()
    assert worker.changelog_id() != ""
    assert len(made) == 2
