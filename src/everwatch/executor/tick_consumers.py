"""Kafka consumers of ticks, one for each topic: the threads, and the group that they share.

Each consumer has a thread of its own, which takes the steps of a ``TickReader`` over and over. Work goes to the event
loop in batches; acknowledgements come back through a queue. ``acknowledge``, ``stop_taking`` and ``finish`` may be
called from other threads.
"""

import asyncio
import threading
from concurrent.futures import Future

from confluent_kafka import KafkaException

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.executor.assignment import HeldPartition
from everwatch.executor.tick_reader import Deliver, Refuse, TickReader
from everwatch.kafka.clients import Clients
from everwatch.kafka.topics import Topics


class TickConsumers:
    """Fetches the ticks of all priorities, in the region of the executor.

    Each topic has a consumer, and all of them are members of one group. One consumer of three topics would get its
    partitions of all topics together: with the cooperative-sticky assignor, a second executor could get every
    partition of one topic and none of another. So each topic is balanced by itself, within one partition, and the
    offsets are those of the group as ever.
    """

    def __init__(self, settings: Settings, clients: Clients, clock: Clock) -> None:
        own = Topics.of(settings).ticks_in(settings.region)
        topics = own.names if own else ()
        self._consumers = {topic: TickConsumer(topic, settings, clients, clock) for topic in topics}

    @property
    def ended(self) -> list[Future[None]]:
        """Of each consumer a future that is done when its thread is: with None after ``finish``, else with the error.

        The error is a BrokerUnavailable or an AccessError.
        """
        return [consumer.ended for consumer in self._consumers.values()]

    def measure(self) -> None:
        """Set the gauges of assigned partitions and waiting ticks."""
        for consumer in self._consumers.values():
            consumer.measure()

    def why_not_assigned(self) -> str:
        """Name the topics of which the group has given this executor no answer yet; empty once it has for all."""
        missing = [topic for topic, consumer in self._consumers.items() if not consumer.is_member]
        return f"not in the consumer group yet for {', '.join(missing)}" if missing else ""

    def held(self) -> dict[str, int]:
        """Return the number of partitions that are held, by topic."""
        return {topic: consumer.held for topic, consumer in self._consumers.items()}

    def start(self, deliver: Deliver, refuse: Refuse) -> None:
        """Begin to fetch ticks: ``deliver`` is called with each batch, ``refuse`` with offsets that cannot be read.

        Both in the consumers' threads. Of such offsets the last one is to be acknowledged.
        """
        for consumer in self._consumers.values():
            consumer.start(deliver, refuse)

    def acknowledge(self, held: HeldPartition, offset: int) -> None:
        """Note that the result of the record at ``offset`` is on the broker. From any thread."""
        self._consumers[held.topic].acknowledge(held, offset)

    def stop_taking(self) -> None:
        """Fetch no more ticks, but stay in the group and commit what gets done. From any thread."""
        for consumer in self._consumers.values():
            consumer.stop_taking()

    async def finish(self, timeout_s: float) -> bool:
        """Commit, leave the group and end the threads; False if that takes longer than ``timeout_s``."""
        return all(await asyncio.gather(*(consumer.finish(timeout_s) for consumer in self._consumers.values())))


class TickConsumer:
    """The thread of one topic: fetches ticks and hands them on with the partition they were fetched from.

    ``ended`` is done when the thread is: with None after ``finish``, else with the error (Transient).
    """

    def __init__(self, topic: str, settings: Settings, clients: Clients, clock: Clock) -> None:
        self._topic = topic
        self._reader = TickReader(topic, settings, clients, clock)
        # once for each result: without a call in between
        self.acknowledge = self._reader.acknowledge
        self.ended: Future[None] = Future()

    @property
    def is_member(self) -> bool:
        """Tell whether the group has assigned partitions to this member, or none, as there are more members."""
        return self._reader.is_member

    @property
    def held(self) -> int:
        """The number of partitions that it holds."""
        return len(self._reader.held)

    def start(self, deliver: Deliver, refuse: Refuse) -> None:
        """Begin to take ticks, as ``TickConsumers.start`` says."""
        threading.Thread(target=self._run, args=(deliver, refuse), name=self._topic, daemon=True).start()

    def stop_taking(self) -> None:
        """Take no more ticks, but stay in the group, and commit what gets done. From any thread."""
        self._reader.stopping.set()

    async def finish(self, timeout_s: float) -> bool:
        """Commit, leave the group and end the thread; False if that takes longer than ``timeout_s``."""
        self._reader.stopping.set()
        self._reader.finishing.set()
        ended = asyncio.wrap_future(self.ended)
        await asyncio.wait({ended}, timeout=timeout_s)
        if ended.done():
            ended.exception()  # the code that waits for ``ended`` raises it
        return ended.done()

    def measure(self) -> None:
        """Set the gauges of assigned partitions and waiting ticks. From any thread."""
        self._reader.measure()

    def _run(self, deliver: Deliver, refuse: Refuse) -> None:
        try:
            self._consume_until_finished(deliver, refuse)
        except KafkaException as error:
            self.ended.set_exception(self._reader.unavailable(error.args[0]))
        except BaseException as error:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _consume_until_finished(self, deliver: Deliver, refuse: Refuse) -> None:
        reader = self._reader
        consumer = reader.new_member()
        try:
            reader.subscribe(consumer)
            while not reader.finishing.is_set():
                batch, unreadable = reader.take(consumer)
                if reader.note_late_partitions(consumer) or batch:
                    deliver(batch)
                for held, each in unreadable:
                    refuse(held, each)
                reader.settle()
                reader.balance(consumer)
                reader.commit_when_due(consumer)
            reader.commit_at_last(consumer)
        finally:
            consumer.close()
