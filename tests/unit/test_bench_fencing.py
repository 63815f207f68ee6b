"""What the bench of fencing compares: producers without transactions, and the loss between medians."""

import pytest

from bench.fencing import loss, surcharge
from bench.report import Figure, Outcome, Peer, medians
from bench.unfenced_worker import PlainProducer
from everwatch.core.clock import SettableClock
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.transactional_producer import Fenced, RecordRun, TransactionalProducer

START = 1_800_000_000_000
RUN = [RecordRun("changelog", [(b"k", b"v", 0), (b"k", b"w", 0)])]


def two_owners(kafka: MemoryKafka, *, is_fenced: bool) -> list[TransactionalProducer]:
    """An owner of the partition and its successor."""
    clients = MemoryClients(kafka)

    def new_producer(number: int) -> object:
        return clients.transactional_producer(f"t-{number}") if is_fenced else PlainProducer(clients.producer())

    owners = [TransactionalProducer(new_producer, 0) for _ in range(2)]  # type: ignore[arg-type]
    for owner in owners:
        owner.initialise()
    return owners


def test_without_fencing_a_worker_writes_behind_its_successor_and_with_it_that_is_refused() -> None:
    kafka = MemoryKafka(1, SettableClock(START))
    kafka.create("changelog")
    before, successor = two_owners(kafka, is_fenced=False)
    assert successor.commit(RUN) == [1]
    assert before.commit(RUN) == [3]
    before, successor = two_owners(kafka, is_fenced=True)
    successor.commit(RUN)
    with pytest.raises(Fenced):
        before.commit(RUN)


def test_what_fencing_takes_is_told_of_the_medians_of_all_turns() -> None:
    turns = [
        Outcome([Figure("rate", fenced, "/s")], [Peer("without fencing", [Figure("rate", unfenced, "/s")])])
        for fenced, unfenced in ((90, 100), (20, 110), (85, 90))
    ]
    found = medians(turns)
    assert loss(found, "rate") == Figure("rate, lost by fencing", pytest.approx(15), "%", "<= 15")
    assert surcharge(found, "rate").value == pytest.approx(-15)
