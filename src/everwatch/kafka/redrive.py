"""Sends dead letters back to where they came from: the original bytes, once, with a header that says so."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from everwatch.core.clock import Clock
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.dead_letter_record import (
    REDRIVE_OF,
    REDRIVEN_AT,
    REDRIVEN_FROM,
    REDRIVEN_TO,
    DeadLetter,
    Redriven,
    SourcePosition,
)
from everwatch.kafka.full_queue import produce
from everwatch.kafka.topics import Topics
from everwatch.schedule.instant import instant_text

FLUSH_S = 30.0


class History:
    """Redriven dead letters, and the records that they became."""

    def __init__(self, topics: Topics) -> None:
        inputs = (topics.signups, topics.commands, topics.signals, topics.results, topics.transitions, topics.replies)
        self._ticks = frozenset(topics.all_ticks)
        self._sources = self._ticks.union(inputs)
        self._redriven: dict[SourcePosition, Redriven] = {}
        self._came_of_it: set[SourcePosition] = set()

    def note(self, redriven: Redriven) -> None:
        """Take in a note of the topic."""
        self._redriven[redriven.letter] = redriven
        if redriven.to is not None:
            self._came_of_it.add(redriven.to)

    def redriven(self, place: SourcePosition) -> Redriven | None:
        """The last redrive of a dead letter, if there was one."""
        return self._redriven.get(place)

    def objection(self, letter: DeadLetter, *, again: bool) -> str:
        """Return the reason for not redriving a dead letter, one sentence; empty if there is none.

        ``again``: one that was redriven before, or whose record came of a redrive, may be.
        """
        if letter.cut:
            parts = " and ".join(
                f"{part} ({len((letter.key if part == 'key' else letter.value) or b'')} of"
                f" {letter.lengths.get(part) or 'more'} bytes)"
                for part in letter.cut
            )
            return f"it was kept in part only, its {parts}, so the original cannot be sent back: send it anew."
        if letter.source is None or letter.source.partition < 0:
            return "its headers do not say where it came from."
        if letter.source.topic not in self._sources:
            return f"it came from {letter.source.topic}, which is no topic that Everwatch reads."
        if letter.source.topic in self._ticks and not letter.source_ms:
            return "a tick is due at its record's timestamp, which this dead letter does not hold."
        if again:
            return ""
        if (redriven := self._redriven.get(letter.place)) is not None:
            return f"it was redriven at {instant_text(redriven.at)} already: --again sends it once more."
        if letter.source in self._came_of_it:
            return "it came of a redrive and was refused again: mend the cause, then use --again."
        return ""


class RedrivenLetter(NamedTuple):
    """A dead letter that was sent back, and the place that its record got."""

    letter: DeadLetter
    to: SourcePosition


class Redriver:
    """Sends dead letters back; a note of each follows on ``dead-letters`` when the broker has the record.

    So one that was sent is not sent again; should the process be killed in between, one batch of them may be.
    """

    def __init__(self, producer: Producer, topics: Topics, clock: Clock) -> None:
        self._producer = producer
        self._topic = topics.dead_letters
        self._clock = clock
        self._failure = ""

    def send(self, letters: Sequence[DeadLetter]) -> list[RedrivenLetter]:
        """Send some back, in order. Raises BrokerUnavailable if the broker does not take one of them."""
        sent: list[RedrivenLetter] = []
        for letter in letters:
            assert letter.source is not None  # objected to otherwise

            def delivered(error: KafkaError | None, message: Message, letter: DeadLetter = letter) -> None:
                topic, partition, offset = message.topic(), message.partition(), message.offset()
                if error is not None:
                    self._failure = f"Dead letter {letter.place} could not be sent to {topic}: {error.str()}."
                elif topic is not None and partition is not None and offset is not None:
                    sent.append(RedrivenLetter(letter, SourcePosition(topic, partition, offset)))

            self._produce(
                letter.source.topic,
                letter.source.partition,
                letter.key,
                letter.value,
                letter.source_ms,
                [(REDRIVEN_FROM, str(letter.place).encode())],
                delivered,
            )
        self._flush()
        self._note(sent)
        if self._failure:
            raise BrokerUnavailable(self._failure)
        return sent

    def _note(self, sent: Iterable[RedrivenLetter]) -> None:
        def noted(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failure = self._failure or f"A note for {message.topic()} could not be sent: {error.str()}."

        at = str(self._clock.now_ms()).encode()
        for letter, to in sent:
            headers = [
                (REDRIVE_OF, str(letter.place.offset).encode()),
                (REDRIVEN_TO, str(to).encode()),
                (REDRIVEN_AT, at),
            ]
            self._produce(self._topic, letter.place.partition, letter.key, None, 0, headers, noted)
        self._flush()

    def _produce(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: list[tuple[str, bytes]],
        on_delivery: object,
    ) -> None:
        try:
            produce(
                self._producer,
                topic,
                value=value,
                key=key,
                partition=partition,
                timestamp=timestamp_ms,
                headers=headers,
                on_delivery=on_delivery,
            )
        except KafkaException as error:
            self._failure = self._failure or f"A record for {topic} could not be sent: {error.args[0].str()}."

    def _flush(self) -> None:
        if left := self._producer.flush(FLUSH_S):
            raise BrokerUnavailable(f"{left} records did not reach Kafka within {FLUSH_S:g} s: is it running?")
