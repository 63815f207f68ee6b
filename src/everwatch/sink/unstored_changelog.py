"""The part of the changelog that no sink has stored yet, as far as a purge depends on it."""

from collections.abc import Collection, Mapping
from contextlib import closing

from everwatch.core.config import Settings
from everwatch.encoding.codec import SEPARATOR, user_key
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumer_groups import held_back_of, written_ends_of
from everwatch.kafka.peek import PEEKING, peek_to_ends
from everwatch.kafka.topic_administration import expect_topic
from everwatch.kafka.topics import Topics
from everwatch.store import Partition

MOST_UNSTORED = 10_000
"""Offsets behind what is stored that are read for a purge; with more it waits until sinks are further."""


class UnstoredChangelog:
    """One look at the changelog: where its partitions end, and whose records stand behind ``stored``.

    Both are asked of the broker when they are first needed, and once. Methods raise BrokerUnavailable and AccessError.
    """

    def __init__(self, settings: Settings, clients: Clients, stored: Mapping[Partition, int]) -> None:
        self._settings = settings
        self._clients = clients
        self._stored = stored
        self._topic = Topics.of(settings).monitors_changelog
        self._ends: dict[int, int] | None = None
        self._count = 0
        self._users: Collection[bytes] | None = None
        self._is_readable = False

    def will_come(self, number: int, end: int) -> bool:
        """Tell whether a partition holds what stands before ``end``.

        If not, the offset is one of another changelog: of before a repartition, a restore, or a loss of the topic.
        """
        ends = self._look()
        # that of a partition without a leader is not known now
        return number < self._count and (number not in ends or ends[number] >= end)

    def may_hold(self, user_id: str) -> bool:
        """Tell whether records of a user may stand in any partition behind what is stored."""
        if self._users is None:
            self._users = self._read()
        return not self._is_readable or user_key(user_id) in self._users

    def _look(self) -> Mapping[int, int]:
        if self._ends is None:
            admin = self._clients.admin()
            self._count = expect_topic(admin, self._settings, self._topic)
            positions = [(self._topic, number) for number in range(self._count)]
            # what a transaction under way has written counts: its parts become readable one by one
            self._ends = {number: end for (_, number), end in written_ends_of(admin, positions).items()}
        return self._ends

    def _read(self) -> Collection[bytes]:
        """Return the keys of users in what is not stored, as long as all of it can be read."""
        ends = self._look()
        positions = [(self._topic, number) for number in range(self._count)]
        if len(ends) < self._count or held_back_of(self._clients.admin(), positions):
            return ()
        wanted = {
            (self._topic, number): range(self._stored.get(Partition(self._topic, number), 0), end)
            for number, end in ends.items()
        }
        wanted = {position: offsets for position, offsets in wanted.items() if offsets}
        if sum(map(len, wanted.values())) > MOST_UNSTORED:
            return ()
        with closing(self._clients.consumer(f"{self._settings.application}-sink", **PEEKING)) as consumer:
            seen = peek_to_ends(consumer, wanted)
        self._is_readable = all(each.ended and not each.error for each in seen.values())
        return {(message.key() or b"").partition(SEPARATOR)[0] for each in seen.values() for message in each.messages}
