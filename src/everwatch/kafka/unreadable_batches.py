"""Batches of records that librdkafka cannot read: found, measured, and passed over.

A consumer that meets a batch that it cannot unpack reports an error and asks for the same batch again, forever. Only
its first offset is reported. Its end is found by reading on from later offsets with a second client until the answer
is another one: that takes nothing but what every broker answers, where decoding the header of the batch would take a
second implementation of the protocol.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.errors import BrokerUnavailable, InvalidInput, RefusalCode, SettingsError
from everwatch.kafka import batch_ends
from everwatch.kafka.batch_ends import EndSearch, open_prober
from everwatch.kafka.clients import LARGEST_RECORD_BYTES
from everwatch.kafka.standing_partitions import STILL_S, Place, StandingPartitions
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled
from everwatch.observability.metrics import UNREADABLE

logger = logging.getLogger(__name__)

SOME = 1_000
MOST_BYTES = 32 * 1024 * 1024
LOOK_S = 1.0
"""Other partitions wait so long at most while the end of a batch is looked for: mostly it is found by then."""
TO_THE_END_S = 300.0
"""The same for a command, which has a limited patience and nothing else to do."""
# where an end cannot be found (not even the broker reads on behind it) others wait for that less and less often
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 640.0
# a look may fail with these, and is made again
_FAILURES = (BrokerUnavailable, KafkaException, SettingsError)


def is_unreadable(message: Message) -> bool:
    """Tell whether a consumer reports with this message that it cannot make records of the bytes it got."""
    error = message.error()
    return error is not None and error.code() in batch_ends.CODES and message.offset() is not None


class Unreadable(NamedTuple):
    """Offsets of a partition, from ``first`` up to but not including ``end``, whose records cannot be read, and why."""

    topic: str
    partition: int
    first: int
    end: int
    reason: str

    @property
    def refusal(self) -> InvalidInput:
        """Return the refusal of these offsets."""
        span = f"offset {self.first}" if self.end - self.first == 1 else f"offsets {self.first} to {self.end - 1}"
        return InvalidInput(f"{span} cannot be read: {self.reason}", code=RefusalCode.UNREADABLE)


class Sifted(NamedTuple):
    """Messages of a consumer, sorted: records, offsets to be passed over, and errors.

    A batch that cannot be read stands behind all records of its partition; a record that is too large may stand between
    them.
    """

    records: list[Message]
    unreadable: list[Unreadable]
    errors: list[Message]


class Sieve:
    """Separates what one consumer gives, and moves the consumer past what it cannot read.

    The end of an unreadable batch is looked for in a thread of its own. Calls wait for it for ``look_s`` at most; if it
    takes longer, other partitions are read meanwhile. Use it in the consumer's thread.
    """

    def __init__(
        self,
        consumer: Consumer,
        new_consumer: Callable[..., Consumer],
        clock: Clock,
        look_s: float = LOOK_S,
        is_paused: Callable[[Place], bool] = lambda _: False,
    ) -> None:
        """``new_consumer`` makes a second client, with the settings that it is given; it joins no group.

        ``is_paused`` tells whether the owner has paused a partition of the consumer: that it stands still says nothing.
        """
        self._consumer = consumer
        self._new_consumer = new_consumer
        self._clock = clock
        self._taken: list[Message] = []
        self._look_s = look_s
        self._looks: dict[tuple[str, int], EndSearch] = {}
        # unreadable batches whose end was not found: when to look again, and the pause after that
        self._tried: dict[tuple[str, int], tuple[float, float]] = {}
        self._standing = StandingPartitions(consumer, clock, is_paused)
        # the look at a partition that stands still, and from where
        self._silence: tuple[Place, int, EndSearch] | None = None
        self._log_throttle = LogThrottle(clock)

    @property
    def is_looking(self) -> bool:
        """Tell whether the end of a batch is being looked for; records behind it come later."""
        is_silent = self._silence is not None and not self._silence[2].is_done()
        return is_silent or any(not look.is_done() for look in self._looks.values())

    def take(self, most: int, wait_s: float, rest_s: float) -> Sifted:
        """Take records: up to ``most``, and about ``MOST_BYTES``.

        Waits ``wait_s`` for the first, then ``rest_s`` for each ``SOME`` more, since values may unpack to far more than
        they came as.
        """
        messages = self._taken = self._consumer.consume(1, wait_s)
        unpacked = 0
        while messages and len(messages) < most and unpacked < MOST_BYTES:
            more = self._consumer.consume(min(SOME, most - len(messages)), rest_s)
            messages += more
            unpacked += sum(map(len, more))
            if len(more) < SOME:
                break
        return self.sift(messages)

    def forget(self) -> None:
        """Give nothing of what ``take`` has so far: for a callback of it that makes the consumer read that again."""
        self._taken.clear()

    def sift(self, messages: list[Message]) -> Sifted:
        """Separate messages. A batch that cannot be read is logged, counted, and not given again by the consumer.

        The caller records it, and only then commits (or stores) any offset behind it. ``messages`` may be empty then:
        one that is too large is let go of at once, and what is read again is before a second client looks there.
        """
        sifted = Sifted([], [], [])
        self._look_at_silence(sifted)
        if all(message.error() is None and len(message) <= LARGEST_RECORD_BYTES for message in messages):
            return Sifted(messages, sifted.unreadable, [])
        messages.reverse()
        while messages:
            message = messages.pop()
            error, place = message.error(), _place_of(message)
            if error is None:
                if len(message) <= LARGEST_RECORD_BYTES:
                    sifted.records.append(message)
                else:
                    self._pass_over(sifted, [_too_large(message)])
            elif is_unreadable(message) or (error.code() == KafkaError.UNKNOWN and place in self._looks):
                # the broker may name another error when it is asked again, while the end is looked for
                # whatever came behind the error is read again
                others = [other for other in messages if _place_of(other) != place]
                has_gone_on, messages[:] = len(others) < len(messages), others
                self._pass_over(sifted, self._find(message, error, has_gone_on))
            elif error.code() == KafkaError.UNKNOWN and message.offset() is not None:
                # an error within the broker, as for a batch of a format version that it does not know
                self._standing.failed(place)
                if self._log_throttle.may_log(("unknown", place)):
                    logger.warning("%s, partition %d: %s; trying again", *place, error.str())
            else:
                sifted.errors.append(message)
        return sifted

    def _look_at_silence(self, sifted: Sifted) -> None:
        """Look at partitions that stand still, one after the other, and pass over what the broker never gives.

        No error of such a look is raised: records are taken without it.
        """
        if self._silence is None:
            for place, offset in self._standing.due():
                # one that reports errors is looked at for these
                if place not in self._looks and self._clock.monotonic_s() >= self._tried.get(place, (0,))[0] + STILL_S:
                    with self._optional_look(place, offset):
                        prober = open_prober(self._new_consumer, *place, self._clock)
                        self._silence = place, offset, EndSearch(prober, max(offset, 0), offset)
                        return
            return
        place, offset, look = self._silence
        if not look.is_done():
            return
        self._silence = None
        with self._optional_look(place, offset):
            found = [Unreadable(place[0], place[1], *each) for each in look.result()]
            if found and self._standing.is_at(place, offset):
                self._move_on(TopicPartition(*place, found[-1].end))
                self._pass_over(sifted, found)
                self._tried.pop(place, None)
            elif not found:
                self._standing.looked(place, is_readable=True)

    @contextmanager
    def _optional_look(self, place: Place, offset: int) -> Iterator[None]:
        """Log an error of a look at a partition that stands still; the next look is later then."""
        try:
            yield
        except Exception as problem:
            self._standing.looked(place, is_readable=False)
            if self._log_throttle.may_log(place):
                is_known = isinstance(problem, _FAILURES)
                where = f" at offset {offset}" if offset >= 0 else ""
                text = "%s, partition %d, stands still%s, and could not be looked at: %s"
                logger.warning(text, *place, where, problem, exc_info=not is_known)

    def _move_on(self, behind: TopicPartition) -> None:
        self._consumer.seek(behind)
        self._standing.sought((behind.topic, behind.partition), behind.offset)

    def _find(self, message: Message, error: KafkaError, has_gone_on: bool) -> list[Unreadable]:
        """The batches that cannot be read from where ``error`` was reported; the consumer stands behind them then.

        None if it can be read now, or if that is not known yet: then the consumer stands where they begin.
        """
        topic, number, first = message.topic() or "", message.partition() or 0, message.offset() or 0
        stands = first
        try:
            (position,) = self._consumer.position([TopicPartition(topic, number)])
            # the consumer may stand in the middle of a batch, when it begins there
            if not has_gone_on:  # else it stands behind records that are dropped here, and read again
                stands = max(first, position.offset)
            found = self._looked_for(topic, number, first, stands)
            # not only where something was found: behind a wrong checksum librdkafka asks for an offset that it made up,
            # and begins the partition anew when the broker has none such
            if found:
                self._move_on(TopicPartition(topic, number, found[-1].end))
            else:
                self._consumer.seek(TopicPartition(topic, number, stands))
            return found or []
        except _FAILURES as problem:
            with suppress(KafkaException):
                # the consumer reports the batch again
                self._consumer.seek(TopicPartition(topic, number, stands))
            if self._log_throttle.may_log((topic, number)):
                logger.warning(
                    "%s, partition %d, offset %d cannot be read (%s), nor can its end be found yet: %s",
                    topic,
                    number,
                    first,
                    error.str(),
                    problem,
                    extra=labelled(topic=topic, partition=number),
                )
            return []

    def _looked_for(self, topic: str, number: int, first: int, stands: int) -> "list[Unreadable] | None":
        """Return what a look at the batch of offset ``first`` has found, None while it lasts. Raises BrokerUnavailable.

        ``stands``: the offset to look from.
        """
        due_s, _ = self._tried.get((topic, number), (0.0, SHORTEST_PAUSE_S))
        look = self._looks.get((topic, number))
        if look is None:
            if self._clock.monotonic_s() < due_s:
                raise BrokerUnavailable("it is looked for again in a while")
            try:
                prober = open_prober(self._new_consumer, topic, number, self._clock)
            except _FAILURES:
                self._look_later((topic, number))
                raise
            look = self._looks[topic, number] = EndSearch(prober, first, stands)
            look.wait(self._look_s)
        if not look.is_done():
            return None  # the consumer reports the batch again
        del self._looks[topic, number]
        if look.first != first:
            return None  # the partition was given away and came back meanwhile
        try:
            found = [Unreadable(topic, number, *each) for each in look.result()]
        except _FAILURES:
            self._look_later((topic, number))
            raise
        self._tried.pop((topic, number), None)
        return found

    def _look_later(self, place: Place) -> None:
        _, pause_s = self._tried.get(place, (0.0, SHORTEST_PAUSE_S))
        self._tried[place] = self._clock.monotonic_s() + pause_s, min(2 * pause_s, LONGEST_PAUSE_S)

    def _pass_over(self, sifted: Sifted, found: list[Unreadable]) -> None:
        sifted.unreadable.extend(found)
        for each in found:
            UNREADABLE.labels(each.topic).inc()
            if self._log_throttle.may_log(each.topic):
                logger.error(
                    "%s, partition %d, %s; passed over (logged once a minute for a topic)",
                    each.topic,
                    each.partition,
                    each.refusal.reason,
                    extra=labelled(topic=each.topic, partition=each.partition),
                )


def _place_of(message: Message) -> tuple[str, int]:
    return message.topic() or "", message.partition() or 0


def _too_large(message: Message) -> Unreadable:
    offset = message.offset() or 0
    reason = f"the record has {len(message)} bytes; at most {LARGEST_RECORD_BYTES} are read"
    return Unreadable(message.topic() or "", message.partition() or 0, offset, offset + 1, reason)
