"""Which processes do the work at this moment, as their consumer groups tell."""

from concurrent.futures import Future
from typing import Any

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, MemberDescription  # type: ignore[attr-defined]

from everwatch.config import Settings
from everwatch.errors import BrokerUnavailable
from everwatch.kafka.topics import Topics
from everwatch.model import Priority


class Owners(msgspec.Struct, frozen=True):
    """Who works on one partition of users, by client id (``everwatch-<host>-<process id>``).

    ``worker`` emits its ticks, and ``executor`` claims those of one priority; "" if nobody does. ``executors``: all
    there are.
    """

    worker: str
    executor: str
    executors: tuple[str, ...]


def owners_of(
    admin: AdminClient, settings: Settings, partition: int, priority: Priority, *, timeout_s: float = 3.0
) -> Owners:
    """Who works on a partition now. Raises BrokerUnavailable if that is not known within ``timeout_s``."""
    workers, executors = settings.application, f"{settings.application}-executors"
    topics = Topics.of(settings)
    try:
        described = admin.describe_consumer_groups([workers, executors], request_timeout=timeout_s)
        at_work = _members(described[workers], timeout_s)
        claiming = _members(described[executors], timeout_s)
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer"
        raise BrokerUnavailable(f"No Kafka broker told within {timeout_s:g} s who is at work: {reason}.") from None
    return Owners(
        worker=_owner(at_work, topics.commands, partition),
        executor=_owner(claiming, topics.ticks_for(priority), partition),
        executors=tuple(sorted(member.client_id for member in claiming)),
    )


def _members(described: "Future[Any]", timeout_s: float) -> list[MemberDescription]:
    # the client gives up by itself; should it not, nobody waits for ever
    members: list[MemberDescription] = described.result(timeout_s + 1).members
    return members


def _owner(members: list[MemberDescription], topic: str, partition: int) -> str:
    for member in members:
        assigned = member.assignment.topic_partitions if member.assignment else []
        if any((one.topic, one.partition) == (topic, partition) for one in assigned):
            return member.client_id
    return ""
