"""Consumers in memory."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from everwatch.kafka.memory.broker import MemoryKafka, Position
from everwatch.kafka.memory.log import Log
from everwatch.kafka.memory.message import MemoryMessage

Callback = Callable[[Any, list[TopicPartition]], object]
# what a consumer waits at a time for records
_LOOK_S = 0.005


class MemoryConsumer:
    """A librdkafka consumer of one group. Not thread-safe, as there; callbacks come from ``consume`` and ``poll``."""

    def __init__(self, kafka: MemoryKafka, group_id: str, config: Mapping[str, object]) -> None:
        self._kafka = kafka
        self._group_id = group_id
        self._committed_only = config.get("isolation.level", "read_committed") == "read_committed"
        self._reports_end = bool(config.get("enable.partition.eof"))
        self._reset = str(config.get("auto.offset.reset", "earliest"))
        self._is_eager = config.get("partition.assignment.strategy", "cooperative-sticky") in ("range", "roundrobin")
        self._on_commit: Callable[[KafkaError | None, list[TopicPartition]], object] | None = config.get("on_commit")  # type: ignore[assignment]
        self._positions: dict[Position, int] = {}
        self._paused: set[Position] = set()
        self._ended: set[Position] = set()
        self._broken: set[Position] = set()
        self._reports: list[MemoryMessage] = []
        self._commits: list[tuple[KafkaError | None, list[TopicPartition]]] = []
        self._callbacks: tuple[Callback | None, Callback | None] | None = None
        self._has_called = False
        self._closed = False

    # --- what it reads ----------------------------------------------------------------------------------------------

    def subscribe(
        self,
        topics: list[str],
        on_assign: Callback | None = None,
        on_revoke: Callback | None = None,
        on_lost: Callback | None = None,
    ) -> None:
        """Join the group for these topics."""
        with self._kafka.lock:
            self._callbacks = on_assign, on_revoke
            self._kafka.groups[self._group_id].join(self, topics, self._count)

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read exactly these, from where they say, or from where the group stands."""
        self._has_called = True
        with self._kafka.lock:
            self._positions = {}
            for known in (self._paused, self._ended, self._broken):
                known.clear()
            self._add(partitions)

    def incremental_assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these, too."""
        self._has_called = True
        with self._kafka.lock:
            self._add(partitions)

    def incremental_unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these no longer."""
        self._has_called = True
        with self._kafka.lock:
            for place in _places(partitions):
                self._positions.pop(place, None)
                self._paused.discard(place)

    def unassign(self) -> None:
        """Read nothing."""
        self.assign([])

    def assignment(self) -> list[TopicPartition]:
        """Return the assigned partitions."""
        return [TopicPartition(*place) for place in self._positions]

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch nothing of these for now."""
        self._paused |= set(_places(partitions))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch them again."""
        self._paused -= set(_places(partitions))

    def seek(self, partition: TopicPartition) -> None:
        """Go on from its offset. Raises KafkaException if it is not assigned."""
        place = partition.topic, partition.partition
        if place not in self._positions:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._positions[place] = self._resolved(place, partition.offset)
        self._ended.discard(place)

    def position(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """The offset of the next record of each."""
        return [TopicPartition(*place, self._positions.get(place, -1001)) for place in _places(partitions)]

    # --- records ----------------------------------------------------------------------------------------------------

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Any]:
        """Return records and reports, at most the given number; waits up to ``timeout`` seconds for the first."""
        if self._closed:
            raise RuntimeError("Consumer closed")
        self._serve()
        found = self._fetched(num_messages)
        if not found and timeout:
            # in slices: a rebalance may be reported meanwhile. The clock of a test may stand still
            for _ in range(max(1, min(round(timeout / _LOOK_S), 20))):
                with self._kafka.changed:
                    self._kafka.changed.wait(_LOOK_S)
                self._serve()
                if found := self._fetched(num_messages):
                    break
        return found

    def poll(self, timeout: float = -1) -> Any:
        """One record or report; None if none comes in time."""
        found = self.consume(1, timeout)
        return found[0] if found else None

    def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        with self._kafka.lock:
            group = self._kafka.groups[self._group_id]
            held = group.holds.get(self, set())
        if self._callbacks is not None and held and self._callbacks[1] is not None:
            self._callbacks[1](self, [TopicPartition(*place) for place in sorted(held)])
        with self._kafka.changed:
            if self._callbacks is not None:
                group.leave(self, self._count)
            self._closed = True
            self._positions = {}
            self._kafka.changed.notify_all()

    # --- offsets ----------------------------------------------------------------------------------------------------

    def commit(
        self, message: Any = None, offsets: list[TopicPartition] | None = None, asynchronous: bool = True
    ) -> Any:
        """Note the group's offsets; with ``asynchronous`` False raises KafkaException if no broker answers."""
        given = offsets or []
        error = KafkaError(KafkaError._TIMED_OUT) if self._kafka.is_away else None
        if error is None:
            with self._kafka.lock:
                for each in given:
                    self._kafka.committed[self._group_id][each.topic, each.partition] = each.offset
        if not asynchronous and error is not None:
            raise KafkaException(error)
        if self._on_commit is not None:
            self._commits.append((error, given))
        return None if asynchronous else given

    def committed(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """The group's offsets; a negative one where there is none. Raises KafkaException if no broker answers."""
        self._expect_broker()
        known = self._kafka.committed[self._group_id]
        return [TopicPartition(*place, known.get(place, -1001)) for place in _places(partitions)]

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, cached: bool = False
    ) -> tuple[int, int]:
        """Return the bounds of a partition for this consumer. Raises KafkaException if no broker answers."""
        if not cached:
            self._expect_broker()
        with self._kafka.lock:
            log = self._kafka.log(partition.topic, partition.partition)
            if log is None:
                raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
            return log.start, self._end(log)

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """The first offset of each at or behind a time (its ``offset``, ms), or OFFSET_END; of OFFSET_END the end."""
        self._expect_broker()
        found = []
        with self._kafka.lock:
            for each in partitions:
                log = self._kafka.logs(each.topic)[each.partition]
                if each.offset == OFFSET_END:
                    found.append(TopicPartition(each.topic, each.partition, self._end(log)))
                    continue
                later = (
                    log.start + number
                    for number, entry in enumerate(log.entries)
                    if not entry.is_marker and entry.timestamp_ms >= each.offset
                )
                found.append(TopicPartition(each.topic, each.partition, next(later, OFFSET_END)))
        return found

    # --- within -----------------------------------------------------------------------------------------------------

    def _count(self, topic: str) -> int:
        return len(self._kafka.logs(topic))

    def _end(self, log: Log) -> int:
        return log.stable_end if self._committed_only else log.end

    def _expect_broker(self) -> None:
        if self._kafka.is_away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def _add(self, partitions: Iterable[TopicPartition]) -> None:
        for each in partitions:
            place = each.topic, each.partition
            self._positions[place] = self._resolved(place, each.offset)
            self._ended.discard(place)
            self._broken.discard(place)

    def _resolved(self, place: Position, offset: int) -> int:
        log = self._kafka.log(*place)
        if log is None:
            return 0
        if offset >= 0:
            return offset
        if offset == OFFSET_BEGINNING:
            return log.start
        if offset == OFFSET_END:
            return log.end
        known = self._kafka.committed[self._group_id].get(place)
        if known is not None:
            return known
        return log.end if self._reset == "latest" else log.start

    def _serve(self) -> None:
        """Call the due callbacks: of commits that have ended, of partitions that go and come."""
        commits, self._commits = self._commits, []
        for error, offsets in commits:
            assert self._on_commit is not None  # else there are none
            self._on_commit(error, offsets)
        if self._callbacks is None or self._kafka.is_away:
            return
        on_assign, on_revoke = self._callbacks
        group = self._kafka.groups[self._group_id]
        with self._kafka.lock:
            held, target = group.holds[self], group.targets[self]
            leaving = set(held) if self._is_eager and held != target else held - target
        if leaving:
            self._tell(on_revoke, sorted(leaving), self.incremental_unassign)
            with self._kafka.changed:
                group.holds[self] -= leaving
                self._kafka.changed.notify_all()
        with self._kafka.lock:
            coming = group.free_for(self)
            if self._is_eager and coming != group.targets[self] - group.holds[self]:
                return  # other members have not released them yet
            is_due = bool(coming) or self in group.unheard
            group.unheard.discard(self)
            group.holds[self] |= coming
        if is_due and (coming or on_assign is not None):
            self._tell(on_assign, sorted(coming), self.assign if self._is_eager else self.incremental_assign)

    def _tell(
        self, call: Callback | None, places: list[Position], otherwise: Callable[[list[TopicPartition]], object]
    ) -> None:
        """Call a callback of the group, and do the assignment that it leaves out."""
        partitions = [TopicPartition(*place) for place in places]
        self._has_called = False
        if call is not None:
            call(self, partitions)
        if not self._has_called:
            otherwise(partitions)

    def _fetched(self, most: int) -> list[Any]:
        if self._kafka.is_away:
            return []
        found: list[Any] = []
        with self._kafka.lock:
            for place in list(self._positions):
                if len(found) >= most:
                    break
                if place in self._paused or place in self._broken:
                    continue
                self._fetch(place, most, found)
        return found

    def _fetch(self, place: Position, most: int, found: list[Any]) -> None:
        log = self._kafka.log(*place)
        if log is None:
            self._broken.add(place)
            found.append(MemoryMessage(*place, -1001, error=KafkaError(KafkaError._UNKNOWN_PARTITION)))
            return
        offset, end = self._positions[place], self._end(log)
        if place[0] in self._kafka.denied:
            self._broken.add(place)
            found.append(MemoryMessage(*place, offset, error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
            return
        if not log.start <= offset <= log.end:
            if self._reset == "error":
                self._broken.add(place)
                found.append(MemoryMessage(*place, offset, error=KafkaError(KafkaError._AUTO_OFFSET_RESET)))
                return
            offset = log.end if self._reset == "latest" else log.start
        damaged = self._kafka.damaged.get(place, range(0))
        while offset < end and len(found) < most:
            if offset in damaged:
                if offset == self._positions[place]:
                    found.append(MemoryMessage(*place, damaged.start, error=KafkaError(KafkaError._BAD_MSG)))
                break
            entry = log.at(offset)
            if entry.is_visible(committed_only=self._committed_only):
                found.append(
                    MemoryMessage(*place, offset, entry.key, entry.value, entry.timestamp_ms, entry.headers or None)
                )
                self._ended.discard(place)
            offset += 1
        self._positions[place] = offset
        if offset >= end and self._reports_end and place not in self._ended and len(found) < most:
            self._ended.add(place)
            found.append(MemoryMessage(*place, offset, error=KafkaError(KafkaError._PARTITION_EOF)))


def _places(partitions: Iterable[TopicPartition]) -> list[Position]:
    return [(each.topic, each.partition) for each in partitions]
