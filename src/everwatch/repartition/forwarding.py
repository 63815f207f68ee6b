"""Forwarding: records that producers still send to the old generation's inputs go to the new one."""

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from threading import Event
from typing import NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from everwatch.backup.topic_writer import TopicWriter
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import TopicMismatch
from everwatch.kafka.access_errors import read_by, refused
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.admin_results import result_of
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import committed_of
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Sieve, Unreadable
from everwatch.repartition.placing import NewPlaces
from everwatch.repartition.tail_copy import INPUTS

_TIMEOUT_S = 30.0
_AT_ONCE = 5_000
_TAKE_S = 0.5


class ForwardingCallbacks(NamedTuple):
    """``forwarded`` is called for each batch with its topic and number, ``passed_over`` for an unreadable batch."""

    forwarded: Callable[[str, int], None]
    passed_over: Callable[[Unreadable], None]


def note_forwarded(admin: Admin, settings: Settings, ends: Mapping[str, Mapping[int, int]]) -> None:
    """Note up to which offsets inputs of the old generation are in the new one.

    Raises BrokerUnavailable, AccessError.
    """
    names, group = Topics.of(settings).by_name, group_of(settings)
    places = [TopicPartition(names[name], number, end) for name in ends for number, end in ends[name].items()]
    asked = admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, places)], request_timeout=_TIMEOUT_S
    )
    result_of(asked[group], _TIMEOUT_S, read_by(group), f"Kafka does not change consumer group {group}")


class OldGeneration(NamedTuple):
    """The generation whose inputs are forwarded: its settings, and the clients of its broker."""

    settings: Settings
    clients: Clients
    admin: Admin


def forward(
    old: OldGeneration,
    new: Settings,
    places: NewPlaces,
    stop: Event,
    callbacks: ForwardingCallbacks,
    clock: Clock,
) -> int:
    """Forward until ``stop`` is set; return the number of records. A batch that cannot be read is passed over.

    A record is acknowledged before its offset is committed: after a kill some are forwarded twice, which changes
    nothing. Raises TopicMismatch, BrokerUnavailable, AccessError.
    """
    settings, clients, admin = old
    old_names, new_names = Topics.of(settings).by_name, Topics.of(new).by_name
    group = group_of(settings)
    committed = committed_of(admin, group)
    to = {old_names[name]: new_names[name] for name in INPUTS}
    starts = [TopicPartition(topic, number, offset) for (topic, number), offset in committed.items() if topic in to]
    if not starts:
        raise TopicMismatch(f"Consumer group {group} has no offsets: 'everwatch repartition' has not ended.")
    writer, forwarded = TopicWriter(clients), 0
    with closing(clients.consumer(group)) as consumer:
        sieve = Sieve(consumer, partial(clients.consumer, group), clock)
        consumer.assign(starts)
        while not stop.is_set():
            ends: dict[tuple[str, int], int] = {}
            counts: dict[str, int] = {}
            messages, unreadable, errors = sieve.sift(consumer.consume(_AT_ONCE, _TAKE_S))
            for message in errors:
                # others are of a broker that is unavailable; the client tries again
                if (error := message.error()) is not None and (denied := refused(error)):
                    raise denied
            for message in messages:
                record = Record.of(message, with_headers=True)
                number = places.of(record)
                writer.write(to[record.topic], number, record.key, record.value, record.timestamp_ms, record.headers)
                ends[record.topic, record.partition] = record.offset + 1
                counts[record.topic] = counts.get(record.topic, 0) + 1
            for each in unreadable:
                callbacks.passed_over(each)
                ends[each.topic, each.partition] = max(each.end, ends.get((each.topic, each.partition), 0))
            if ends:
                writer.flush()
                consumer.commit(
                    offsets=[TopicPartition(*where, offset) for where, offset in ends.items()], asynchronous=False
                )
                for topic, count in counts.items():
                    callbacks.forwarded(topic, count)
                forwarded += sum(counts.values())
    return forwarded


def group_of(settings: Settings) -> str:
    """Return the consumer group that notes forwarded offsets."""
    return f"{settings.application}-repartition"
