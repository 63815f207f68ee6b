"""``python -m bench.unfenced_worker``: a worker that writes without transactions, so that no successor fences it.

Only for the comparison in ``bench registration`` and ``bench churn``: what fencing costs. Everything else of it is the
worker of ``everwatch worker``, its settings those of the environment.
"""

from typing import cast

from confluent_kafka import KafkaError, KafkaException, Producer

from everwatch.cli.support.options import prepare_data_folder, ready_broker
from everwatch.core.clock import SystemClock
from everwatch.core.config import load_settings
from everwatch.kafka.clients import KafkaClients
from everwatch.kafka.process_rights import ProcessRole
from everwatch.processes import run_process
from streams.worker import Worker


class PlainProducer:
    """An idempotent producer with a transaction's methods: to commit is to wait for the broker's acknowledgements."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.produce = producer.produce
        self.poll = producer.poll
        self.purge = producer.purge

    def init_transactions(self, timeout: float = -1) -> None:
        """Fence no earlier owner."""

    def begin_transaction(self) -> None:
        """Do nothing."""

    def commit_transaction(self, timeout: float = -1) -> None:
        """Wait until all is acknowledged. Raises KafkaException, retriable, if that takes longer."""
        if self._producer.flush(timeout):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "not acknowledged yet", False, True))

    def abort_transaction(self, timeout: float = -1) -> None:
        """Do nothing: sent records are not taken back."""


class UnfencedClients(KafkaClients):
    """Clients of the brokers whose transactional producers have no transactions."""

    def transactional_producer(self, transactional_id: str) -> Producer:  # noqa: ARG002
        """Make an idempotent producer that sends at once, as one of transactions does."""
        return cast(Producer, PlainProducer(self.producer(**{"linger.ms": 0})))


def main() -> None:
    """Run the worker until its parent process ends or SIGTERM comes."""
    settings = load_settings()
    prepare_data_folder(settings)
    settings, bootstrap = ready_broker(settings, ProcessRole.WORKER)
    clients = UnfencedClients(settings, bootstrap)
    run_process(Worker(settings, bootstrap, SystemClock(), clients=clients), stop_with_parent=True)


if __name__ == "__main__":
    main()
