"""End of a batch of records that librdkafka cannot read, found by a second client.

Only the batch's first offset is reported. Its end is found by reading on from later offsets until the answer is another
one: that takes nothing but what every broker answers.
"""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.errors import BrokerUnavailable

BROKERS_CODES = KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD
"""Errors of a broker that cannot read a batch itself."""
# the client could not make records of the bytes that it got, or the broker itself could not read them
CODES = frozenset(
    {
        KafkaError._BAD_COMPRESSION,
        KafkaError._BAD_MSG,
        KafkaError._NOT_IMPLEMENTED,
        KafkaError._UNDERFLOW,
        *BROKERS_CODES,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
PROBING: dict[str, object] = {
    "enable.partition.eof": True,
    # an offset behind the end is an answer, too
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 10,
    "fetch.error.backoff.ms": 10,
    "fetch.min.bytes": 1,
    # one record is an answer; what comes with it is of no use, and the memory is that of a process that reads, too
    "queued.min.messages": 1,
    "queued.max.messages.kbytes": 1_024,
    # a queue that was full before an assignment holds up the fetch behind it for so long
    "fetch.queue.backoff.ms": 10,
    # how often fetches are counted
    "statistics.interval.ms": 100,
}
"""Consumer settings of the second client."""
_PATIENCE_S = 20.0
SILENT = "Kafka gives nothing, and no error"
"""Why a partition cannot be read where the broker answers that there is more, and gives none of it."""
EMPTY_FETCHES = 20
"""Fetches that the broker must answer with nothing, in each of two rounds, before an offset counts as silent."""
_TAKE_S = 0.1
ONE_BY_ONE = 64
"""Number of silent offsets that are tried one by one. After these the steps double."""
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
        """``stands``: the offset to look from; OFFSET_BEGINNING, or another negative one: where the group begins."""
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
            self._found = self._prober.find(self._stands if self._stands >= 0 else self._prober.begin(self._stands))
        except Exception as error:  # raised where it is asked for
            self._problem = error
        finally:
            self._prober.close()


class FetchCount:
    """Count of the fetches that a client has sent for one partition at an offset, from its statistics.

    Of a partition one fetch is under way at a time, so all but the last one are answered. Those count whose answer is
    neither an error nor anything that the client could go on behind.
    """

    def __init__(self, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = str(partition)
        self._offset = -1
        self._counted_from: tuple[int, int] | None = None
        self.answered = 0
        """Fetches that were answered in this way since the count began."""

    def begin(self, offset: int) -> None:
        """Count anew, those at this offset."""
        self._offset = offset
        self._counted_from = None
        self.answered = 0

    def note(self, statistics: str) -> None:
        """Take in statistics of the client. For ``stats_cb``."""
        told = orjson.loads(statistics)
        partition = told["topics"].get(self._topic, {}).get("partitions", {}).get(self._partition)
        brokers = (each for each in told["brokers"].values() if partition and each["nodeid"] == partition["broker"])
        broker = next(brokers, None)
        if broker is None or not self._gave_nothing(partition, broker):
            self.begin(self._offset)
            return
        sent = broker["req"].get("Fetch", 0)
        if self._counted_from is None or self._counted_from[0] != broker["nodeid"]:
            self._counted_from = broker["nodeid"], sent
        self.answered = max(0, sent - self._counted_from[1] - 1)

    def _gave_nothing(self, partition: dict[str, Any], broker: dict[str, Any]) -> bool:
        # an answer without an error has a last stable offset; a broker that throttles a client answers with nothing
        is_answer = partition["next_offset"] == self._offset and partition["ls_offset"] >= 0
        return is_answer and not broker["throttle"]["max"]


def open_prober(new_consumer: Callable[..., Consumer], topic: str, partition: int, clock: Clock) -> "Prober":
    """Make a second client; ``new_consumer`` makes a consumer with the settings that it is given beside its own."""
    fetches = FetchCount(topic, partition)
    return Prober(new_consumer(**PROBING, stats_cb=fetches.note), topic, partition, fetches, clock)


class Prober:
    """A second client on one partition, and the count of its fetches."""

    def __init__(self, consumer: Consumer, topic: str, partition: int, fetches: FetchCount, clock: Clock) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partition = partition
        self._fetches = fetches
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
            bad, end = seen, offset
            if not bad.is_brokers:
                end, seen = self._end_of(offset, bad)
            is_broken = seen.is_brokers
            if is_broken:
                # Where the length of the batch, or its format version, was changed, the broker finds nothing behind it
                # up to the next offset of its index. It says so, or gives nothing: that counts to the batch. Nothing
                # tells such a stretch from the next one, with good records in between: it is mostly short.
                end, seen = self._end_of(end, bad, is_broken=True)
            if seen.is_record:
                end, seen = self._left_out(end, seen)
            if bad.is_brokers and not self._probe(offset).is_brokers:
                raise BrokerUnavailable("what the broker did not give it gives now")
            if is_broken and not (seen.is_record or seen.error):
                # what comes next would not be read either: the broker looks for it from before this batch
                raise BrokerUnavailable(
                    f"the broker does not read on before more records stand behind it ({bad.error})"
                )
            found.append(UnreadableSpan(offset, end, bad.error))
            offset = end
        return found

    def _end_of(self, first: int, bad: "_Standing", *, is_broken: bool = False) -> "tuple[int, _Standing]":
        """Return the end of a batch that ``first`` is of, and what stands there. Raises BrokerUnavailable.

        ``is_broken``: offsets that the broker itself cannot read count to it. A short stretch of others between these
        may be missed behind those that are tried one by one.
        """
        last, step = first, 1
        one_by_one = ONE_BY_ONE if is_broken else 0
        # gallop to an offset behind it, then halve what lies between
        while (behind := self._probe(last + step)).is_part_of(bad, is_broken=is_broken):
            last += step
            if last - first >= one_by_one:
                step *= 2
        end = last + step
        while end - last > 1:
            middle = (last + end) // 2
            if (seen := self._probe(middle)).is_part_of(bad, is_broken=is_broken):
                last = middle
            else:
                end, behind = middle, seen
        return end, behind

    def _left_out(self, end: int, behind: "_Standing") -> "tuple[int, _Standing]":
        """Return the first offset from ``end`` on from which more comes than the record that comes from ``end``.

        Where the broker finds nothing behind a batch in a segment that is full, it goes on with the next segment, and
        leaves out what it finds from a later offset. Offsets that hold nothing give the same record, all of them.
        Raises BrokerUnavailable.
        """
        last, step = end, 1
        while last + 1 < behind.at:
            found = min(last + step, behind.at - 1)
            seen = self._probe(found)
            if seen.comes_before(behind):
                break
            last = found
            if last - end >= ONE_BY_ONE:
                step *= 2
        else:
            return end, behind
        while found - last > 1:
            middle = (last + found) // 2
            if (other := self._probe(middle)).comes_before(behind):
                found, seen = middle, other
            else:
                last = middle
        return found, seen

    def _readable_to(self) -> int:
        """Return the last stable offset. Raises BrokerUnavailable."""
        try:
            place = TopicPartition(self._topic, self._partition)
            return int(self._consumer.get_watermark_offsets(place, _PATIENCE_S)[1])
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Kafka does not report the end of {self._topic}/{self._partition}: {error.args[0].str()}."
            ) from None

    def begin(self, named: int) -> int:
        """Return the first offset for OFFSET_BEGINNING, else the one at which the consumer's group begins.

        That is the first one where it has committed none. Raises BrokerUnavailable.
        """
        place = TopicPartition(self._topic, self._partition)
        try:
            first, _ = self._consumer.get_watermark_offsets(place, _PATIENCE_S)
            if named == OFFSET_BEGINNING:
                return int(first)
            (found,) = self._consumer.committed([place], _PATIENCE_S)
        except KafkaException as error:
            raise BrokerUnavailable(f"Kafka does not report where the group begins: {error.args[0].str()}.") from None
        return max(int(first), int(found.offset))

    def _probe(self, offset: int) -> "_Standing":
        """Return what stands at ``offset`` or after it. Raises BrokerUnavailable if it is not known in time.

        Nothing at all is an answer, too: when the broker has answered fetch after fetch with nothing, or with an error
        that says nothing, although committed records stand there.
        """
        place = TopicPartition(self._topic, self._partition, offset)
        self._consumer.assign([place])
        self._fetches.begin(offset)
        deadline_s = self._clock.monotonic_s() + _PATIENCE_S
        readable_to, unknown, reason = -1, 0, SILENT
        while self._clock.monotonic_s() < deadline_s:
            for message in self._consumer.consume(1, _TAKE_S):
                error, at = message.error(), message.offset()
                if at is None:
                    continue
                if error is not None and error.code() in CODES:
                    return _Standing(at, error.str(), is_brokers=error.code() in BROKERS_CODES)
                if error is not None and error.code() == KafkaError.UNKNOWN and at == offset:
                    unknown, reason = unknown + 1, error.str()
                    continue
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
            if max(self._fetches.answered, unknown) < EMPTY_FETCHES:
                continue
            if readable_to > offset:
                return _Standing(offset, reason, is_brokers=True)
            readable_to = self._readable_to()
            if readable_to <= offset:
                # the end, or the begin of an open transaction: what is written behind it is not given yet
                return _Standing(offset)
            # what was answered before this was asked says nothing of it
            self._fetches.begin(offset)
            unknown = 0
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

    def is_part_of(self, bad: "_Standing", *, is_broken: bool) -> bool:
        """Tell whether this counts to the same batch; ``is_broken``: with whatever the broker itself cannot read."""
        return is_broken if self.is_brokers else bool(self.error) and self.at == bad.at

    def comes_before(self, other: "_Standing") -> bool:
        """Tell whether this is a record, or cannot be read, and stands before the other."""
        return self.at < other.at and (self.is_record or bool(self.error))
