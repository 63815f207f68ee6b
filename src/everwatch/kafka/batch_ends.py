"""End of a batch of records that librdkafka cannot read, found by a second client.

Only the batch's first offset is reported. Its end is found by reading on from later offsets until the answer is another
one: that takes nothing but what every broker answers.
"""

import threading
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.errors import BrokerUnavailable

# the client could not make records of the bytes that it got
CODES = frozenset(
    {
        KafkaError._BAD_COMPRESSION,
        KafkaError._BAD_MSG,
        KafkaError._NOT_IMPLEMENTED,
        KafkaError._UNDERFLOW,
        KafkaError.INVALID_MSG,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
_PATIENCE_S = 20.0
SILENT_S = 5.0
"""An offset that gives nothing for so long, while the batch before it still gives its error, gives nothing at all."""
_TAKE_S = 0.5
# of one partition at a time: many in a row are found with one client
MOST_IN_A_ROW = 1_000


class UnreadableSpan(NamedTuple):
    """Offsets from ``first`` up to but not including ``end`` whose records cannot be read, and why."""

    first: int
    end: int
    reason: str


class EndSearch:
    """A search for the end of the batch of offset ``first``, and of those behind it, in a thread of its own."""

    def __init__(self, prober: "Prober", first: int, stands: int) -> None:
        self.first = first
        self._stands = stands
        self._prober = prober
        self._found: list[UnreadableSpan] = []
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="batch end", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until it is done, for this long at most."""
        self._thread.join(timeout_s)

    def is_done(self) -> bool:
        """Tell whether it has found something, or given up."""
        return not self._thread.is_alive()

    def result(self) -> list[UnreadableSpan]:
        """Return what it has found. Raises what it has given up for: BrokerUnavailable, KafkaException."""
        if self._problem is not None:
            raise self._problem
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._prober.find(self._stands)
        except Exception as error:  # raised where it is asked for
            self._problem = error
        finally:
            self._prober.close()


class Prober:
    """A second client on one partition."""

    def __init__(self, consumer: Consumer, topic: str, partition: int, clock: Clock) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partition = partition
        self._clock = clock

    def close(self) -> None:
        self._consumer.close()

    def find(self, offset: int) -> list[UnreadableSpan]:
        """Every unreadable batch from ``offset`` up to the first record, or the end of the partition.

        Raises BrokerUnavailable, also where the broker itself reads on behind a batch only once more has come.
        """
        found: list[UnreadableSpan] = []
        seen = self._probe(offset)
        while seen.error and len(found) < MOST_IN_A_ROW:
            bad, is_broken = seen, seen.is_brokers
            last, step = offset, 1
            # gallop to an offset behind the batch, then halve what lies between
            while (seen := self._behind(last + step, bad)).at == bad.at and seen.error:
                if seen.is_brokers and not is_broken and step > 1:
                    # the batch may end before it, and this be of another one
                    step = 1
                    continue
                is_broken |= seen.is_brokers
                last, step = last + step, 2 * step
            end, behind = last + step, seen
            while end - last > 1:
                middle = (last + end) // 2
                seen = self._behind(middle, bad)
                if seen.at == bad.at and seen.error:
                    is_broken |= seen.is_brokers
                    last = middle
                else:
                    end, behind = middle, seen
            if is_broken and not behind.is_record:
                # what comes next would not be read either: the broker looks for it from before this batch
                raise BrokerUnavailable(
                    f"the broker does not read on before more records stand behind it ({bad.error})"
                )
            found.append(UnreadableSpan(offset, end, bad.error))
            offset, seen = end, behind
        return found

    def _behind(self, offset: int, bad: "_Standing") -> "_Standing":
        """Return what stands at an offset after that of a batch that cannot be read. Raises BrokerUnavailable.

        Where the length of the batch, or its format version, was changed, the broker finds nothing behind it up to the
        next offset of its index. It says so, or gives nothing, while it goes on to give the batch itself: that counts
        to the batch.
        """
        try:
            seen = self._probe(offset, SILENT_S)
        except BrokerUnavailable:
            began_s = self._clock.monotonic_s()
            if self._probe(bad.at).error != bad.error:
                raise
            # a busy machine gives the record late, as it does the error
            patience_s = max(SILENT_S, 10 * (self._clock.monotonic_s() - began_s))
            # records after the begin of an open transaction are not given: they are not of this batch, which was
            if offset > self._readable_to():
                return _Standing(offset)
            try:
                seen = self._probe(offset, patience_s)
            except BrokerUnavailable:
                return bad._replace(is_brokers=True)
        return bad._replace(is_brokers=True) if seen.is_brokers else seen

    def _readable_to(self) -> int:
        """Return the last stable offset. Raises BrokerUnavailable."""
        try:
            place = TopicPartition(self._topic, self._partition)
            return int(self._consumer.get_watermark_offsets(place, _PATIENCE_S)[1])
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Kafka does not report the end of {self._topic}/{self._partition}: {error.args[0].str()}."
            ) from None

    def _probe(self, offset: int, patience_s: float = _PATIENCE_S) -> "_Standing":
        """Return what stands at ``offset`` or after it. Raises BrokerUnavailable if it is not known in time."""
        place = TopicPartition(self._topic, self._partition, offset)
        self._consumer.assign([place])
        deadline_s = self._clock.monotonic_s() + patience_s
        while self._clock.monotonic_s() < deadline_s:
            for message in self._consumer.consume(1, _TAKE_S):
                error, at = message.error(), message.offset()
                if at is None:
                    continue
                if error is not None and error.code() in CODES:
                    return _Standing(at, error.str(), is_brokers=error.code() == KafkaError.INVALID_MSG)
                if error is None or error.code() == KafkaError._PARTITION_EOF:
                    is_answer = at >= offset
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    is_answer = at == offset
                else:
                    continue
                if is_answer:
                    return _Standing(at, is_record=error is None)
                # Behind a wrong checksum librdkafka asks for an offset that it made up. That there is none such may be
                # reported after the next assignment, and then nothing is fetched for that either.
                self._consumer.assign([place])
        raise BrokerUnavailable(f"Kafka does not give what stands at {self._topic}/{self._partition}/{offset}.")


class _Standing(NamedTuple):
    """Something that stands at an offset or behind: its offset, or the first one of a batch that cannot be read.

    ``error``: why it cannot be read, "" if it can. ``is_brokers``: the broker cannot read it itself. ``is_record``: it
    is no end of the partition.
    """

    at: int
    error: str = ""
    is_brokers: bool = False
    is_record: bool = False
