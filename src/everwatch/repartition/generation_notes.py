"""The notes on ``progress`` of both generations: which one workers may run, and how far its ticks are emitted.

The old generation is closed by its own fenced producers, so an earlier owner cannot write to a partition any more, also
a worker that was frozen and is in no group. The note that closes a partition keeps the owner's mark in a header, which
``reopen`` writes back. The new generation is noted in one transaction for all partitions: it may be run, or it may not.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import KafkaException, Producer

from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.access_errors import refused
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.peek import read_tails
from everwatch.kafka.process_rights import transactions_of
from everwatch.kafka.progress import OWNER_HEADER, Noted, read_progress
from everwatch.kafka.to_end import BULK
from everwatch.kafka.topic_administration import topic_id
from everwatch.kafka.topics import Topics
from everwatch.kafka.transactional_producer import Fenced, RecordRun, TransactionalProducer
from everwatch.rules.changelog_marks import Mark, digest_of
from everwatch.rules.generations import (
    BEYOND_EVERY_OFFSET,
    FINISHED,
    UNFINISHED,
    Generation,
    closed_mark,
    successor_of,
)

BEFORE_HEADER = "before"
_TIMEOUT_S = 30.0
_PATIENCE_S = 60.0
_SIDE_BY_SIDE = 16
Headers = list[tuple[str, str | bytes | None]]


def _results(futures: Iterable[Future[None]]) -> None:
    """Wait for all of them. Raises what one has raised; BrokerUnavailable when one takes too long."""
    try:
        for each in futures:
            each.result(_PATIENCE_S)
    except TimeoutError:
        raise BrokerUnavailable(
            f"Kafka has not taken a transaction within {_PATIENCE_S:g} s: see the broker's log, and run this again."
        ) from None


class GenerationState(NamedTuple):
    """Progress of a new generation: nothing noted, unfinished, finished, or owned by ``worker``."""

    is_noted: bool = False
    is_finished: bool = False
    worker: str = ""


class GenerationNotes:
    """The topic ``progress`` of one generation."""

    def __init__(self, settings: Settings, clients: Clients, admin: Admin) -> None:
        self._settings = settings
        self._clients = clients
        self._admin = admin
        self._topics = Topics.of(settings)
        self._numbers = range(settings.partitions)
        self._producer: Producer | None = None

    def read(self) -> dict[int, Noted]:
        """Return the last note of each partition. Raises BrokerUnavailable, AccessError."""
        with closing(self._clients.consumer(f"{self._settings.application}-repartition", **BULK)) as consumer:
            return read_progress(consumer, self._topics.progress, self._numbers)

    # --- the old generation -----------------------------------------------------------------------------------------

    def close(self, successor: Generation) -> None:
        """Fence the earlier owner of a partition, and note that its state is in ``successor``.

        Raises BrokerUnavailable, AccessError.
        """
        changelog_id = topic_id(self._admin, self._topics.monitors_changelog)

        def close_one(producer: TransactionalProducer, number: int, noted: Noted | None, before: bytes) -> None:
            mark = closed_mark(changelog_id, successor)
            headers: Headers = [(OWNER_HEADER, mark.encode()), (BEFORE_HEADER, before)]
            self._note(producer, number, noted.emitted_to if noted else 0, headers)

        self._with_each(self._numbers, close_one)

    def reopen(self) -> list[int]:
        """Restore for closed partitions the note from before they were closed; return their numbers.

        Raises BrokerUnavailable, AccessError.
        """
        closed = sorted(number for number, noted in self.read().items() if successor_of(noted.owner))

        def reopen_one(producer: TransactionalProducer, number: int, noted: Noted | None, before: bytes) -> None:
            headers: Headers = [(OWNER_HEADER, before)] if before else []
            self._note(producer, number, noted.emitted_to if noted else 0, headers)

        self._with_each(closed, reopen_one)
        return closed

    def _with_each(
        self, numbers: Iterable[int], act: Callable[[TransactionalProducer, int, Noted | None, bytes], None]
    ) -> None:
        """Fence the partitions side by side, then act on the last note of each."""

        def new_producer(number: int) -> Producer:
            return self._clients.transactional_producer(f"{self._topics.monitors_changelog}-{number}")

        right = transactions_of(self._topics)
        producers = {number: TransactionalProducer(new_producer, number, right) for number in numbers}
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
            try:
                _results([threads.submit(producer.initialise) for producer in producers.values()])
                noted, before = self.read(), self._marks_before(producers)
                _results(
                    [
                        threads.submit(act, producer, number, noted.get(number), before.get(number, b""))
                        for number, producer in producers.items()
                    ]
                )
            except Fenced as error:
                raise BrokerUnavailable(
                    f"Another process took a partition of {self._topics.monitors_changelog} meanwhile ({error}): stop"
                    " all workers, and run this again."
                ) from None
            finally:
                # threads that wait for a broker that is unavailable end then
                for producer in producers.values():
                    producer.abandon()
        for producer in producers.values():
            producer.close()

    def _marks_before(self, numbers: Iterable[int]) -> dict[int, bytes]:
        """Return the encoded owner's mark of each partition: of a closed one the mark that it had before."""
        with closing(self._clients.consumer(f"{self._settings.application}-repartition", **BULK)) as consumer:
            tails = read_tails(consumer, self._topics.progress, numbers)
        found = {}
        for number, records in tails.items():
            headers = records[-1].headers if records else {}
            found[number] = headers[BEFORE_HEADER] if BEFORE_HEADER in headers else headers.get(OWNER_HEADER, b"")
        return found

    def _note(self, producer: TransactionalProducer, number: int, emitted_to: int, headers: Headers) -> None:
        record = b"%d" % number, b"%d" % emitted_to, 0
        producer.commit([RecordRun(self._topics.progress, [record], headers)])

    # --- the new generation -----------------------------------------------------------------------------------------

    def state(self) -> GenerationState:
        """Return how far the copy into this generation is. Raises BrokerUnavailable, AccessError."""
        owners = {noted.owner.member if noted.owner else "" for noted in self.read().values()}
        others = sorted(owners - {FINISHED, UNFINISHED})
        return GenerationState(bool(owners), owners == {FINISHED}, others[0] or "of before" if others else "")

    def claim(self) -> None:
        """Note that this generation may not be run yet; an earlier command that still copies into it is fenced.

        Raises BrokerUnavailable, AccessError.
        """
        name = f"{self._topics.monitors_changelog}-repartition"
        self._producer = self._clients.transactional_producer(name)
        self._call(self._producer.init_transactions, _TIMEOUT_S)
        mark = Mark(self._changelog_id(), BEYOND_EVERY_OFFSET, 0, UNFINISHED)
        self._note_all(0, dict.fromkeys(self._numbers, mark))

    def finish(self, emitted_to: int, last: Mapping[int, Record]) -> None:
        """Note that ticks of all partitions are emitted up to ``emitted_to``: from now on workers may run it.

        ``last``: the last record of each partition of the changelog. Raises BrokerUnavailable, AccessError.
        """
        identity = self._changelog_id()
        marks = {}
        for number in self._numbers:
            record = last.get(number)
            offset, digest = (record.offset, digest_of(record.key, record.value)) if record else (-1, 0)
            marks[number] = Mark(identity, offset, digest, FINISHED)
        self._note_all(emitted_to, marks)

    def _note_all(self, emitted_to: int, marks: Mapping[int, Mark]) -> None:
        producer = self._producer
        assert producer is not None  # claimed before
        self._call(producer.begin_transaction)
        for number, mark in marks.items():
            headers: Headers = [(OWNER_HEADER, mark.encode())]
            producer.produce(self._topics.progress, b"%d" % emitted_to, b"%d" % number, number, headers=headers)
        self._call(producer.commit_transaction, _TIMEOUT_S)

    def _call(self, call: Callable[..., None], *timeout_s: float) -> None:
        try:
            call(*timeout_s)
        except KafkaException as error:
            denied = refused(error.args[0], transactions_of(self._topics))
            raise denied or BrokerUnavailable(
                f"Kafka does not take a transaction on {self._topics.progress}: {error.args[0].str()}. Does another"
                " 'everwatch repartition' run? Else run it again."
            ) from None

    def _changelog_id(self) -> str:
        return topic_id(self._admin, self._topics.monitors_changelog)
