"""Reader of the topic ``replies``: what workers answer to commands, signups and signals."""

from collections.abc import Mapping
from functools import partial

from confluent_kafka import Consumer, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, InvalidInput
from everwatch.encoding import codec
from everwatch.kafka.access_errors import raise_refused
from everwatch.kafka.clients import Clients
from everwatch.kafka.command_client import TAKE_S
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.topic_administration import expect_topic
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import TO_THE_END_S, Sieve
from everwatch.model import Reply

# of TAKE_S each
CATCH_UP_PATIENCE = 120


class ReplyTopic:
    """The topic ``replies`` from its present end on, or from positions: open it before the inputs are sent.

    ``positions``: offset of the next reply, by partition. ``is_incomplete``: replies behind the positions asked for are
    not kept any more.
    """

    def __init__(
        self, settings: Settings, clients: Clients, clock: Clock, since: Mapping[int, int] | None = None
    ) -> None:
        """Note where the topic ends, and begin there or at ``since``. Raises BrokerUnavailable."""
        topic = self._topic = Topics.of(settings).replies
        group = f"{settings.application}-asking-{settings.instance}"
        self._consumer: Consumer = clients.consumer(group)
        self._sieve = Sieve(self._consumer, partial(clients.consumer, group), clock, look_s=TO_THE_END_S)
        try:
            numbers = range(expect_topic(clients.admin(), settings, topic))
            kept = {n: bounds(self._consumer, topic, n) for n in numbers}
            self._ends = {n: offsets.stop for n, offsets in kept.items()}
            asked = self._ends if since is None else {n: since.get(n, kept[n].start) for n in numbers}
            self.is_incomplete = any(asked[n] < offsets.start for n, offsets in kept.items())
            self.positions = {n: max(asked[n], kept[n].start) for n in numbers}
            self._consumer.assign([TopicPartition(topic, n, offset) for n, offset in self.positions.items()])
        except BaseException:
            self._consumer.close()
            raise

    def take(self, timeout_s: float) -> list[Reply]:
        """Some answers; none if none comes within ``timeout_s``."""
        found: list[Reply] = []
        sifted = self._sieve.sift(self._consumer.consume(1_000, timeout_s))
        raise_refused(sifted.errors, self._topic)
        for each in sifted.unreadable:
            self.positions[each.partition] = max(self.positions[each.partition], each.end)
        for message in sifted.records:
            record = Record.of(message)
            self.positions[record.partition] = record.offset + 1
            try:
                found.append(codec.decode_reply(record.value))
            except InvalidInput:
                continue  # a record that no worker wrote answers nothing
        return found

    def catch_up(self) -> list[Reply]:
        """Some of the replies that were there when this was opened; none when all were given.

        Raises BrokerUnavailable when the rest does not come.
        """
        for _ in range(CATCH_UP_PATIENCE):
            # a record that was never committed leaves a gap at the end, which the consumer passes over
            for partition in self._consumer.position(self._consumer.assignment()):
                self.positions[partition.partition] = max(self.positions[partition.partition], partition.offset)
            if all(self.positions[n] >= end for n, end in self._ends.items()):
                return []
            if found := self.take(TAKE_S):
                return found
        raise BrokerUnavailable("Kafka does not give the rest of the topic of replies: is it running?")

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()
