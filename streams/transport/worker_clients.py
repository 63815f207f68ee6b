"""Kafka clients of a worker, each with its group or transactional id."""

import asyncio
from collections.abc import Iterable
from contextlib import closing

from confluent_kafka import Consumer, Producer

from everwatch.core.config import Settings
from everwatch.kafka.clients import Clients
from everwatch.kafka.lasting_admin import LastingAdmin
from everwatch.kafka.progress import Noted, read_progress
from everwatch.kafka.to_end import BULK
from everwatch.kafka.topic_administration import largest_batch, topic_id
from everwatch.kafka.topics import Topics

# the broker gathers single records into larger fetches: a fetch costs more than handling a record
GATHERING: dict[str, object] = {"fetch.min.bytes": 512 * 1024, "fetch.wait.max.ms": 250}


class WorkerClients:
    """Makes the clients of one worker, and asks the broker what the engine needs to know.

    All clients are those of ``clients``; a method that asks the broker raises BrokerUnavailable or AccessError.
    """

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self._topics = Topics.of(settings)
        self._admin = LastingAdmin(lambda: clients.admin())
        self.producer = clients.producer
        self.batch_producer = clients.batch_producer

    def inputs(self, topic: str, **more: object) -> Consumer:
        """Make the consumer of an input topic, or of results."""
        # commands are few, and a client waits for each
        fetching = {} if topic == self._topics.commands else GATHERING
        return self._clients.consumer(self._group_of(topic), **fetching | more)

    def former_commands(self) -> Consumer:
        """Make a consumer of the group in which earlier versions read commands."""
        return self._clients.consumer(self._settings.application)

    def bulk(self, topic: str, isolation: str = "read_committed") -> Consumer:
        """Make a consumer that reads a topic of workers to its end, and reports that."""
        return self._clients.consumer(self._group_of(topic), **BULK, **{"isolation.level": isolation})

    def changelog(self, isolation: str = "read_committed") -> Consumer:
        """Make a consumer that reads the changelog to its end."""
        return self.bulk(self._topics.monitors_changelog, isolation)

    def changelog_prober(self, **more: object) -> Consumer:
        """Make a consumer that finds the end of a batch that cannot be read."""
        return self._clients.consumer(self._group_of(self._topics.monitors_changelog), **more)

    def fenced_producer(self, number: int) -> Producer:
        """Make the transactional producer of a partition, which fences every earlier one of the partition."""
        return self._clients.transactional_producer(f"{self._topics.monitors_changelog}-{number}")

    def changelog_id(self) -> str:
        """Return the id of the changelog's topic; "" if the broker does not report."""
        return self._admin.ask(lambda admin: topic_id(admin, self._topics.monitors_changelog))

    def largest_tick_batch(self) -> int | None:
        """Return the size of a batch that every topic of ticks takes, bytes; None if the broker does not report."""
        return self._admin.ask(lambda admin: largest_batch(admin, self._topics.all_ticks))

    async def read_progress(self, numbers: Iterable[int]) -> dict[int, Noted]:
        """Return the last note of each partition on the topic ``progress``; one without a note is left out."""

        def read() -> dict[int, Noted]:
            with closing(self.bulk(self._topics.progress)) as consumer:
                return read_progress(consumer, self._topics.progress, numbers)

        return await asyncio.to_thread(read)

    def _group_of(self, topic: str) -> str:
        return f"{self._settings.application}-worker-{topic}"
