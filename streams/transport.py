"""Faust's Kafka transport, with a consumer that reads committed records only.

Faust chooses this isolation level only when its own processing guarantee is exactly-once. Other clients' transactions
need it always: a command of an aborted transaction must not be carried out.
"""

from typing import Any

from faust.transport.drivers import aiokafka as driver


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Thread whose aiokafka consumer skips records of aborted transactions.

    Reported ends of partitions are last stable offsets, as the broker answers them for this isolation level.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # its fetcher takes this over when it starts
        consumer._isolation_level = "read_committed"
        return consumer


class Consumer(driver.Consumer):
    """Faust's consumer on that thread."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class Transport(driver.Transport):
    """Faust's Kafka transport with that consumer."""

    Consumer = Consumer
