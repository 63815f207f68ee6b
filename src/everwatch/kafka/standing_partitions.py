"""Partitions of a consumer that stand still although committed records stand behind: what may be damaged in silence.

A broker gives nothing, and no error, for a batch whose length points beyond the end of its segment. To a consumer that
is a partition without new records. That a partition stands still proves nothing (it may be paused, slow, or end with
an aborted transaction): it is the reason to look with a second client (``batch_ends``).
"""

from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from everwatch.core.clock import Clock

CHECK_S = 2.0
STILL_S = 20.0
"""Seconds after which a partition that has not moved is looked at."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 960.0
Place = tuple[str, int]


class _Stand(NamedTuple):
    """Where a partition stands, when it is looked at, and the pause after that.

    ``offset``: a negative one as it was assigned: OFFSET_BEGINNING, OFFSET_END, or that its group's is meant.
    ``end``: the partition's, when a look began. ``seen_end``: the same of one that found that all of it can be read.
    """

    offset: int
    due_s: float
    pause_s: float = SHORTEST_PAUSE_S
    end: int = -1
    seen_end: int = -1


class StandingPartitions:
    """The partitions of one consumer, and how long each has stood where it stands. Used in the consumer's thread."""

    def __init__(self, consumer: Consumer, clock: Clock, is_paused: Callable[[Place], bool]) -> None:
        self._consumer = consumer
        self._clock = clock
        self._is_paused = is_paused
        self._stands: dict[Place, _Stand] = {}
        # a consumer says where it stands only once it has read a record there: where it was moved to, and the offset
        # of the assignment in which it was
        self._sought: dict[Place, tuple[int, int]] = {}
        # partitions for which the broker gives an error that says nothing
        self._failing: set[Place] = set()
        self._check_at_s = clock.monotonic_s() + CHECK_S

    def sought(self, place: Place, offset: int) -> None:
        """Note that the consumer was moved on to an offset."""
        self._sought[place] = offset, self._assigned().get(place, 0)

    def failed(self, place: Place) -> None:
        """Note an error of the broker that says nothing."""
        self._failing.add(place)

    def due(self) -> list[tuple[Place, int]]:
        """Return partitions to look at, and where each stands: an offset, or negative the name of one.

        A consumer that began at the end has nothing behind it until it has read a record: where that was is not known.
        """
        now_s = self._clock.monotonic_s()
        if now_s < self._check_at_s:
            return []
        self._check_at_s = now_s + CHECK_S
        before, self._stands = self._stands, {}
        found = []
        for place, offset in self._offsets().items():
            stand = before.get(place)
            if stand is None or stand.offset != offset:
                self._failing.discard(place)
                stand = _Stand(offset, now_s + STILL_S)
            elif self._is_paused(place):
                stand = stand._replace(due_s=max(stand.due_s, now_s + STILL_S))
            if now_s >= stand.due_s:
                stand = stand._replace(end=self._end(place))
                # one offset alone is mostly the mark of a transaction, and would have no record behind it to go on from
                has_more = stand.end > max(offset, 0) + 1 and stand.end != stand.seen_end
                if offset != OFFSET_END and (place in self._failing or has_more):
                    found.append((place, offset))
            self._stands[place] = stand
        return found

    def is_at(self, place: Place, offset: int) -> bool:
        """Tell whether the consumer still stands there."""
        return self._offsets().get(place) == offset

    def looked(self, place: Place, *, is_readable: bool) -> None:
        """Note that a look has passed over nothing; the next one is later, or waits for more if all is readable."""
        stand = self._stands.get(place)
        if stand is not None:
            self._stands[place] = stand._replace(
                due_s=self._clock.monotonic_s() + stand.pause_s,
                pause_s=min(2 * stand.pause_s, LONGEST_PAUSE_S),
                seen_end=stand.end if is_readable else -1,
            )
        if is_readable:
            self._failing.discard(place)

    def _assigned(self) -> dict[Place, int]:
        try:
            return {(each.topic, each.partition): each.offset for each in self._consumer.assignment()}
        except (KafkaException, RuntimeError):
            return {}  # it is being closed

    def _offsets(self) -> dict[Place, int]:
        """Return the offset of the next record of each assigned partition; until one is read, the assigned offset."""
        assigned = self._assigned()
        try:
            positions = self._consumer.position([TopicPartition(*place) for place in assigned]) if assigned else []
        except (KafkaException, RuntimeError):
            return {}
        self._sought = {place: each for place, each in self._sought.items() if assigned.get(place) == each[1]}
        found: dict[Place, int] = {}
        for each in positions:
            place = each.topic, each.partition
            offset = max(each.offset, self._sought.get(place, (-1, 0))[0])
            found[place] = offset if offset >= 0 else assigned[place]
        return found

    def _end(self, place: Place) -> int:
        """Return the end of a partition as the last fetch said it; negative if none did."""
        try:
            return int(self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)[1])
        except KafkaException:
            return -1
