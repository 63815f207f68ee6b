"""Retention of the records on topics now: as their configuration on the broker says, not as it was planned."""

from collections.abc import Iterable, Mapping

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]
from confluent_kafka.cimpl import RESOURCE_TOPIC

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.access_errors import refused
from everwatch.kafka.acl import Operation, Resource, Right
from everwatch.kafka.admin_client import Admin
from everwatch.schedule.duration import describe_duration

# the broker looks for segments to delete each five minutes by default, and deletes their files a minute later
LOOKS_EVERY_MS = 360_000
# greater ones are Kafka's words for "no bound"
LONGEST_MS = 1 << 53


class Retention(msgspec.Struct, frozen=True):
    """For how long a topic holds a record that it holds now, ms at the latest; None: forever, as far as is known.

    ``rule``: the configuration that says so, for people.
    """

    topic: str
    longest_ms: int | None
    rule: str


def retentions(admin: Admin, topics: Iterable[str], *, timeout_s: float = 10) -> list[Retention]:
    """The retention of topics, in this order. Raises BrokerUnavailable; AccessError without DescribeConfigs."""
    names = list(topics)
    asked = admin.describe_configs([ConfigResource(RESOURCE_TOPIC, name) for name in names], request_timeout=timeout_s)
    found = {resource.name: future for resource, future in asked.items()}
    kept = []
    for name in names:
        try:
            entries = found[name].result(timeout_s)
        except KafkaException as error:
            denied = refused(error.args[0], Right(Operation.DESCRIBE_CONFIGS, Resource.TOPIC, name))
            if denied is not None:
                raise denied from None
            raise BrokerUnavailable(
                f"Kafka does not report how long topic {name} keeps: {error.args[0].str()}."
            ) from None
        kept.append(retention_of(name, {key: entry.value or "" for key, entry in entries.items()}))
    return kept


def retention_of(topic: str, config: Mapping[str, str]) -> Retention:
    """The retention that a topic's configuration means.

    A record goes with its segment: when that is closed (``segment.ms`` after its first record) and its newest record is
    older than ``retention.ms``. Where a topic is compacted, what a deletion supersedes goes at the latest
    ``max.compaction.lag.ms`` after it, and the deletion itself ``delete.retention.ms`` later.
    """
    policies = config.get("cleanup.policy", "delete").split(",")
    bounds: list[int | None] = []
    rules: list[str] = []
    if "delete" in policies:
        kept = _length(config, "retention.ms")
        rules.append(f"retention.ms {_text(kept)}, segment.ms {_text(_length(config, 'segment.ms'))}")
        bounds.append(_sum(kept, _length(config, "segment.ms"), LOOKS_EVERY_MS))
    if "compact" in policies:
        lag, deletions = _length(config, "max.compaction.lag.ms"), _length(config, "delete.retention.ms")
        rules.append(f"compacted; max.compaction.lag.ms {_text(lag)}, delete.retention.ms {_text(deletions)}")
        bounds.append(_sum(lag, deletions, LOOKS_EVERY_MS))
    finite = [bound for bound in bounds if bound is not None]
    return Retention(topic, min(finite) if finite else None, "; ".join(rules))


def _length(config: Mapping[str, str], name: str) -> int | None:
    """A length of time, ms; None where it is unlimited or not known."""
    try:
        length = int(config[name])
    except (KeyError, ValueError):
        return None
    return length if 0 <= length < LONGEST_MS else None


def _sum(*lengths: int | None) -> int | None:
    return None if None in lengths else sum(length for length in lengths if length is not None)


def _text(length: int | None) -> str:
    return "unbounded" if length is None else describe_duration(length)
