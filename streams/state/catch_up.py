"""Bulk reading: records that a table lacks are read from the changelog by thousands and written in batches.

It runs after the rebalance, so heartbeats go on. Standby copies follow the changelog by Faust's own recovery
(``faust_recovery``).
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing

from confluent_kafka import Consumer, Message

from everwatch.core.clock import Clock
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.to_end import read_to_end
from everwatch.kafka.unreadable_batches import Sieve
from streams.metrics import RECOVERED, RECOVERY_LEFT

logger = logging.getLogger(__name__)
LOGGED_EVERY_S = 5.0

EntryWrite = tuple[bytes, bytes | None]
Apply = Callable[[int, Iterable[EntryWrite], int], None]


class CatchUp:
    """Reader of changelog partitions from given offsets to their present ends. Runs in a thread of its own."""

    def __init__(
        self,
        positions: Mapping[int, int],
        topic: str,
        new_consumer: Callable[[], Consumer],
        apply: Apply,
        clock: Clock,
        new_prober: Callable[..., Consumer] | None = None,
    ) -> None:
        """``new_prober``: unreadable batches are passed over, and their records are lost."""
        self._new_prober = new_prober
        self._positions = dict(positions)
        self._topic = topic
        self._new_consumer = new_consumer
        self._apply = apply
        self._clock = clock
        self._cancelled = False

    def cancel(self) -> None:
        """Stop soon; records that are written stay, the rest is read by the next recovery."""
        self._cancelled = True

    def run(self) -> int:
        """Catch up; gives the number of records read. Raises BrokerUnavailable, RecordsUnreadable, AccessError."""
        with closing(self._new_consumer()) as consumer:
            return self._run(consumer)

    def _run(self, consumer: Consumer) -> int:
        wanted = {}
        for number, position in self._positions.items():
            held = bounds(consumer, self._topic, number)
            # it begins later than the table ends after a long absence
            wanted[number] = range(max(position, held.start), held.stop)
        total = sum(map(len, wanted.values()))
        if not total:
            return 0
        begun = logged = self._clock.monotonic_s()
        done = 0
        sieve = Sieve(consumer, self._new_prober, self._clock) if self._new_prober else None
        for messages in read_to_end(consumer, self._topic, wanted, sieve):
            self._write(messages)
            done += len(messages)
            RECOVERED.inc(len(messages))
            RECOVERY_LEFT.set(max(total - done, 0))
            now = self._clock.monotonic_s()
            if now - logged >= LOGGED_EVERY_S:
                logged = now
                logger.info("reading the table: %d of at most %d records, %.0f/s", done, total, done / (now - begun))
            if self._cancelled:
                break
        RECOVERY_LEFT.set(0)
        logger.info(
            "read %d records of the table's changelog in %.1f s", done, max(self._clock.monotonic_s() - begun, 0.001)
        )
        return done

    def _write(self, messages: Iterable[Message]) -> None:
        changes: defaultdict[int, list[EntryWrite]] = defaultdict(list)
        last: dict[int, Message] = {}
        for message in messages:
            number = message.partition()
            assert number is not None  # every record has one
            changes[number].append((message.key(), message.value()))  # type: ignore[arg-type]
            last[number] = message
        for number, some in changes.items():
            offset = last[number].offset()
            assert offset is not None  # every record has one
            self._apply(number, some, offset)
