"""Bringing records to the broker by the load, and knowing which loads are there."""

from collections.abc import Sequence
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from everwatch.core.clock import Clock
from everwatch.core.errors import BrokerUnavailable
from everwatch.encoding import codec
from everwatch.kafka.topics import Topics
from everwatch.transfer.import_rows import Row
from everwatch.transfer.ledger import LedgerMark

# so much is under way at most: the broker sets the pace, not our memory
QUEUE = {
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 64 * 1024,
    "linger.ms": 20,
    "batch.size": 512 * 1024,
}
STALLED_AFTER_S = 30.0


class LoadSender(Protocol):
    """Sender of rows to the brokers."""

    def send(self, rows: Sequence[Row], marks: Sequence[LedgerMark]) -> None:
        """Take a load of rows, each with its mark; waits while too much is under way. Raises BrokerUnavailable."""
        ...

    def arrived(self) -> list[LedgerMark]:
        """The marks of loads that are durable and were not returned yet.

        Raises BrokerUnavailable if there are none, and a record of some load could not be delivered.
        """
        ...

    def finish(self, within_s: float = STALLED_AFTER_S) -> list[LedgerMark]:
        """Wait until nothing is under way, and give the marks of loads that are durable and were not returned yet.

        Gives up when nothing more has come for ``within_s``: raises BrokerUnavailable. ``arrived`` raises for what
        could not be delivered, so it is asked until it gives nothing.
        """
        ...

    def close(self) -> None:
        """Let go of the brokers."""
        ...


class _Load:
    """Rows sent together, and how many of them are on the way yet."""

    __slots__ = ("failure", "left", "marks")

    def __init__(self, marks: Sequence[LedgerMark]) -> None:
        self.marks = marks
        self.left = len(marks)
        self.failure = ""

    def note(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.left -= 1
        else:
            self.failure = f"A record for topic {message.topic()} could not be delivered: {error.str()}."


class KafkaLoadSender:
    """A courier to the topics of signups and commands."""

    def __init__(self, producer: Producer, topics: Topics, address: str, clock: Clock) -> None:
        self._producer = producer
        self._signups, self._commands = topics.signups, topics.commands
        self._address = address
        self._clock = clock
        self._loads: list[_Load] = []

    def send(self, rows: Sequence[Row], marks: Sequence[LedgerMark]) -> None:
        load = _Load(marks)
        self._loads.append(load)
        produce, note, signups = self._producer.produce, load.note, self._signups
        for row in rows:
            topic = self._commands if row.monitor_id else signups
            while True:
                try:
                    produce(topic, row.value, codec.user_key(row.user_id), on_delivery=note)
                    break
                except BufferError:
                    self._wait(STALLED_AFTER_S)
                except KafkaException as error:
                    raise BrokerUnavailable(
                        f"A record for topic {topic} could not be sent: {error.args[0].str()}."
                    ) from None
        self._producer.poll(0)

    def arrived(self) -> list[LedgerMark]:
        self._producer.poll(0)
        there = [load for load in self._loads if not load.left]
        self._loads = [load for load in self._loads if load.left]
        # give the outcomes that are there first: after a failure the caller asks no more
        if not there and (failures := [load.failure for load in self._loads if load.failure]):
            raise BrokerUnavailable(failures[0])
        return [mark for load in there for mark in load.marks]

    def finish(self, within_s: float = STALLED_AFTER_S) -> list[LedgerMark]:
        while len(self._producer):
            self._wait(within_s)
        return self.arrived()

    def close(self) -> None:
        """Give up loads under way."""
        self._producer.purge()
        self._producer.flush(1)

    def _wait(self, within_s: float) -> None:
        """Wait until something more is there."""
        deadline_s = self._clock.monotonic_s() + within_s
        while not self._producer.poll(0.05):
            if self._clock.monotonic_s() >= deadline_s:
                raise BrokerUnavailable(
                    f"{len(self._producer)} records did not reach Kafka at {self._address} within {within_s:g} s:"
                    " is it running?"
                )
