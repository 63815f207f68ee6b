"""Reads the topic ``dead-letters``: refused records with reason and origin, and notes of redrives."""

from collections.abc import Iterator
from functools import partial

from confluent_kafka import Consumer, KafkaException, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, RecordsUnreadable
from everwatch.kafka.access_errors import raise_refused
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.dead_letter_record import DeadLetter, Redriven, SourcePosition, letter_or_note
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.topic_administration import expect_topic
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import TO_THE_END_S, Sieve

_AT_ONCE = 500
_TAKE_S = 0.25
# of _TAKE_S each, in which nothing comes
_PATIENCE = 120


class DeadLetterTopic:
    """The topic from an instant on (ms; 0: from its beginning). Raises BrokerUnavailable."""

    def __init__(self, settings: Settings, clients: Clients, clock: Clock, since_ms: int = 0) -> None:
        self._topic = Topics.of(settings).dead_letters
        numbers = range(expect_topic(clients.admin(), settings, self._topic))
        group = f"{settings.application}-dead-letters-{settings.instance}"
        self._consumer: Consumer = clients.consumer(group)
        self._sieve = Sieve(self._consumer, partial(clients.consumer, group), clock, look_s=TO_THE_END_S)
        try:
            held = {number: bounds(self._consumer, self._topic, number) for number in numbers}
            self._ends = {number: offsets.stop for number, offsets in held.items()}
            self._positions = {number: offsets.start for number, offsets in held.items()}
            if since_ms:
                self._positions |= self._since(since_ms)
            self._consumer.assign([TopicPartition(self._topic, n, at) for n, at in self._positions.items()])
        except BaseException:
            self._consumer.close()
            raise

    def read(self, *, follow: bool = False) -> Iterator[DeadLetter | Redriven]:
        """Everything up to where the topic ended when it was opened, then (``follow``) later records.

        Raises BrokerUnavailable when the rest does not come.
        """
        silent = 0
        while follow or any(self._positions[number] < end for number, end in self._ends.items()):
            messages, unreadable, errors = self._sieve.sift(self._consumer.consume(_AT_ONCE, _TAKE_S))
            raise_refused(errors, self._topic)
            for message in messages:
                record = Record.of(message, with_headers=True)
                self._positions[record.partition] = record.offset + 1
                # what came after it was opened is for readers that follow
                if follow or record.offset < self._ends[record.partition]:
                    yield letter_or_note(record)
            for stretch in unreadable:
                self._positions[stretch.partition] = max(stretch.end, self._positions[stretch.partition])
            if messages:
                silent = 0
                continue
            silent += 1
            for each in self._consumer.position(self._consumer.assignment()):
                # records that were never committed leave a gap, which the consumer passes over
                self._positions[each.partition] = max(self._positions[each.partition], each.offset)
            if silent > _PATIENCE and not follow:
                raise BrokerUnavailable(f"Kafka does not give the rest of topic {self._topic}: is it running?")

    def one(self, place: SourcePosition) -> DeadLetter | Redriven | None:
        """Return the letter or note at a place; None if the topic does not hold it.

        Raises BrokerUnavailable, RecordsUnreadable, AccessError.
        """
        number, offset = place.partition, place.offset
        if number not in self._ends or offset not in bounds(self._consumer, self._topic, number):
            return None
        self._consumer.assign([TopicPartition(self._topic, number, offset)])
        for _ in range(_PATIENCE):
            messages, unreadable, errors = self._sieve.sift(self._consumer.consume(1, _TAKE_S))
            raise_refused(errors, self._topic)
            for each in unreadable:
                if each.first <= offset < each.end:
                    raise RecordsUnreadable(self._topic, {number: (offset, each.reason)})
            for message in messages:
                record = Record.of(message, with_headers=True)
                return letter_or_note(record) if record.offset == offset else None
            (position,) = self._consumer.position([TopicPartition(self._topic, number)])
            if position.offset > offset:
                return None  # nothing that was committed stands there
        raise BrokerUnavailable(f"Kafka does not give what stands at {place}: is it running?")

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()

    def _since(self, since_ms: int) -> dict[int, int]:
        wanted = [TopicPartition(self._topic, number, since_ms) for number in self._ends]
        try:
            found = self._consumer.offsets_for_times(wanted, timeout=10)
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Kafka does not report which records of topic {self._topic} are young enough: {error.args[0].str()}."
            ) from None
        return {each.partition: each.offset if each.offset >= 0 else self._ends[each.partition] for each in found}
