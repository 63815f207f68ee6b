"""The topics Everwatch lives on: their names, their settings, creating and checking them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]
from confluent_kafka.cimpl import RESOURCE_TOPIC, NewTopic

from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, PermissionMissing, TopicMismatch
from everwatch.kafka.access_errors import missing, refused
from everwatch.kafka.acl import Operation, Resource, Right
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import LARGEST_RECORD_BYTES
from everwatch.kafka.permission_check import hidden_topics
from everwatch.model import Priority

HOUR_MS = 3_600_000
NO_CONFIGS: Mapping[str, Mapping[str, str]] = MappingProxyType({})
_NO_TOPIC_IDS = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._UNSUPPORTED_FEATURE})
# how long compacted topics still tell of a deletion: who was away for longer has to read them anew
DELETIONS_KEPT_MS = 7 * 24 * HOUR_MS
SUPERSEDED_KEPT_MS = 7 * 24 * HOUR_MS
# how often a topic that was just created is looked for, 0.1 s apart: a busy broker takes tens of seconds to show it
_MOST_LOOKS = 600
_CHANGE = "everwatch repartition --help"


@dataclass(frozen=True)
class Topics:
    """The names of all topics under one prefix and app id."""

    signups: str
    commands: str
    signals: str
    ticks_high: str
    ticks: str
    ticks_low: str
    results: str
    transitions: str
    dead_letters: str
    replies: str
    progress: str
    cancellations: str
    access: str
    audit: str
    jobs: str
    monitors_changelog: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The names that ``settings`` (prefix, app id) give."""
        prefix = settings.topic_prefix
        return cls(
            signups=f"{prefix}signups",
            commands=f"{prefix}commands",
            signals=f"{prefix}signals",
            ticks_high=f"{prefix}ticks.high",
            ticks=f"{prefix}ticks",
            ticks_low=f"{prefix}ticks.low",
            results=f"{prefix}results",
            transitions=f"{prefix}transitions",
            dead_letters=f"{prefix}dead-letters",
            replies=f"{prefix}replies",
            progress=f"{prefix}progress",
            cancellations=f"{prefix}cancellations",
            access=f"{prefix}access",
            audit=f"{prefix}audit",
            jobs=f"{prefix}jobs",
            monitors_changelog=f"{settings.application}-monitors-changelog",
        )

    def ticks_for(self, priority: Priority) -> str:
        """The topic that ticks of this priority travel on."""
        return {Priority.HIGH: self.ticks_high, Priority.NORMAL: self.ticks, Priority.LOW: self.ticks_low}[priority]

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic, in the order in which they are listed."""
        return tuple(getattr(self, each.name) for each in fields(self))

    @property
    def by_name(self) -> dict[str, str]:
        """Every topic by its name without prefix, as these fields are called."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def stored(self) -> tuple[str, ...]:
        """The topics that the sink stores."""
        return (
            *(self.results, self.transitions, self.monitors_changelog),
            *(self.dead_letters, self.replies, self.audit),
        )

    @property
    def all_ticks(self) -> tuple[str, str, str]:
        """The three tick topics, most urgent first."""
        return self.ticks_high, self.ticks, self.ticks_low


@dataclass(frozen=True)
class TopicPlan:
    """One topic as it should be."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str]


def plan_topics(settings: Settings) -> list[TopicPlan]:
    """Every topic as it should be under ``settings``."""
    topics = Topics.of(settings)
    # one replica may fail without stopping writes; with one or two replicas there is nothing to spare
    durability = {"min.insync.replicas": str(max(1, settings.replication_factor - 1))}
    compacted = {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(DELETIONS_KEPT_MS),
        # of a user who is gone nothing stays longer, however little comes after it
        "max.compaction.lag.ms": str(SUPERSEDED_KEPT_MS),
        **durability,
    }

    def kept(hours: int) -> dict[str, str]:
        return {"cleanup.policy": "delete", "retention.ms": str(hours * HOUR_MS), **durability}

    configs = {
        topics.signups: kept(168),
        topics.commands: kept(168),
        topics.signals: kept(24),
        # an executor that was away for longer than a day has nothing useful to do with what it missed;
        # CreateTime is part of the contract: a tick's scheduled_at is its record's timestamp
        **{name: kept(24) | {"message.timestamp.type": "CreateTime"} for name in topics.all_ticks},
        topics.results: kept(settings.results_retention_hours),
        topics.transitions: kept(settings.results_retention_hours),
        topics.replies: kept(24),
        topics.dead_letters: kept(30 * 24) | {"max.message.bytes": str(LARGEST_RECORD_BYTES)},
        # a record a sweep: small segments let compaction keep up
        topics.progress: compacted | {"segment.bytes": str(16 * 1024 * 1024), "segment.ms": str(HOUR_MS)},
        # executors drop ticks that are older, which are kept as long
        topics.cancellations: kept(24) | {"cleanup.policy": "compact,delete"},
        topics.access: compacted,
        topics.audit: kept(30 * 24),
        topics.jobs: compacted,
        topics.monitors_changelog: compacted,
    }
    return [
        TopicPlan(name, settings.partitions, settings.replication_factor, config) for name, config in configs.items()
    ]


@dataclass(frozen=True)
class TopicState:
    """Findings for one topic: ``problem`` is empty when all is well, else a sentence with its remedy.

    ``hidden``: this client's user may not see it, so whether it exists is not known.
    """

    name: str
    partitions: int
    created: bool
    problem: str = ""
    hidden: bool = False


def problems_of(states: Iterable[TopicState], settings: Settings) -> list[str]:
    """Return the faults of topics: one sentence with its remedy for all that have the same fault."""
    states = list(states)
    sentences = [state.problem for state in states if state.hidden]
    faulty = [state for state in states if state.problem and not state.hidden]
    for partitions in sorted({state.partitions for state in faulty}):
        names = [state.name for state in faulty if state.partitions == partitions]
        everything = len(names) == len(states) > 1
        sentences.append(
            _mismatch(names, partitions, settings, everything=everything) if partitions else _absent(names)
        )
    return sentences


def check_topics(admin: Admin, settings: Settings, *, timeout_s: float = 10) -> list[TopicState]:
    """Compare every topic with its plan and change nothing. Raises BrokerUnavailable, AccessError."""
    found = _partition_counts(admin, timeout_s)
    plans = plan_topics(settings)
    unseen = [plan.name for plan in plans if not found.get(plan.name)]
    hidden = set(hidden_topics(admin, unseen)) if unseen else set()
    return [_compare(plan, found.get(plan.name), plan.name in hidden, settings) for plan in plans]


def expect_topic(admin: Admin, settings: Settings, name: str, *, timeout_s: float = 10) -> int:
    """The number of partitions of one of Everwatch's topics, whatever it should be; nothing is changed.

    Raises BrokerUnavailable, also where there is no such topic; AccessError.
    """
    found = _partition_counts(admin, timeout_s).get(name, 0)
    if not found and hidden_topics(admin, [name]):
        raise missing(Right(Operation.DESCRIBE, Resource.TOPIC, name), settings)
    if not found:
        raise BrokerUnavailable(_absent([name]))
    return found


def ensure_topics(
    admin: Admin, settings: Settings, *, configs: Mapping[str, Mapping[str, str]] = NO_CONFIGS, timeout_s: float = 30
) -> list[TopicState]:
    """Create what is missing; doing it twice, or from two processes at once, is doing it once.

    ``configs``: configuration by topic that new topics get over what is planned.

    Raises TopicMismatch when a topic exists with another partition count, BrokerUnavailable when no broker answers,
    AccessError when one refuses.
    """
    before = {state.name: state for state in check_topics(admin, settings, timeout_s=timeout_s)}
    for state in before.values():
        if state.hidden:
            raise PermissionMissing(state.problem)
    missing = [
        replace(plan, config=plan.config | dict(configs.get(plan.name, {})))
        for plan in plan_topics(settings)
        if before[plan.name].partitions == 0
    ]
    created = set(_create(admin, missing, timeout_s)) if missing else set()
    after = _settled(admin, settings, timeout_s) if missing else list(before.values())
    if wrong := problems_of(after, settings):
        raise TopicMismatch(" ".join(wrong))
    return [TopicState(s.name, s.partitions, s.name in created) for s in after]


def create_topic(admin: Admin, settings: Settings, name: str, *, timeout_s: float = 30) -> None:
    """Create a topic beside Everwatch's own, with as many partitions, unless there is one of that name.

    Its records are kept for a day. Raises TopicMismatch where that fails, BrokerUnavailable.
    """
    plan = TopicPlan(name, settings.partitions, settings.replication_factor, {"retention.ms": str(24 * HOUR_MS)})
    if name not in _partition_counts(admin, timeout_s):
        list(_create(admin, [plan], timeout_s))
    for _ in range(_MOST_LOOKS):
        if _partition_counts(admin, timeout_s).get(name):
            return
        admin.poll(0.1)
    raise TopicMismatch(f"Topic {name} was created, and the broker does not show it.")


def _settled(admin: Admin, settings: Settings, timeout_s: float) -> list[TopicState]:
    # a broker acknowledges creation before every metadata answer shows it; ask until it does
    states: list[TopicState] = []
    for _ in range(_MOST_LOOKS):
        states = check_topics(admin, settings, timeout_s=timeout_s)
        if all(state.partitions for state in states):
            break
        admin.poll(0.1)
    return states


def _partition_counts(admin: Admin, timeout_s: float) -> dict[str, int]:
    try:
        metadata = admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise BrokerUnavailable(
            f"No Kafka broker answered within {timeout_s:g} s ({error.args[0].str()}); is it running, and is"
            " EVERWATCH_BOOTSTRAP_SERVERS (with its security settings) right?"
        ) from None
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _compare(plan: TopicPlan, partitions: int | None, hidden: bool, settings: Settings) -> TopicState:
    if hidden:
        right = Right(Operation.DESCRIBE, Resource.TOPIC, plan.name)
        return TopicState(plan.name, 0, False, str(missing(right, settings)), hidden=True)
    if partitions is None or partitions == 0:
        return TopicState(plan.name, 0, False, _absent([plan.name]))
    if partitions != plan.partitions:
        return TopicState(plan.name, partitions, False, _mismatch([plan.name], partitions, settings))
    return TopicState(plan.name, partitions, False)


def _absent(names: list[str]) -> str:
    return f"{_named(names)} {'does' if len(names) == 1 else 'do'} not exist: run 'everwatch topics create'."


def _mismatch(names: list[str], partitions: int, settings: Settings, *, everything: bool = False) -> str:
    one = len(names) == 1
    subject = f"All {len(names)} topics" if everything else _named(names)
    has = f"{subject} {'has' if one else 'have'} {partitions} partitions, but {settings.partitions} are configured"
    if everything:
        return f"{has}: set EVERWATCH_PARTITIONS={partitions} or another EVERWATCH_TOPIC_PREFIX, or see '{_CHANGE}'."
    return (
        f"{has}, and all topics must share one count: set EVERWATCH_PARTITIONS={partitions} if every topic has that"
        f" many, else choose another EVERWATCH_TOPIC_PREFIX, or delete {'the topic' if one else 'these topics'} if"
        f" nothing in {'it' if one else 'them'} is needed."
    )


def _named(names: list[str]) -> str:
    return f"Topic {names[0]}" if len(names) == 1 else f"Topics {', '.join(names[:-1])} and {names[-1]}"


def _create(admin: Admin, plans: list[TopicPlan], timeout_s: float) -> Iterator[str]:
    futures = admin.create_topics(
        [
            NewTopic(p.name, num_partitions=p.partitions, replication_factor=p.replication_factor, config=p.config)
            for p in plans
        ],
        operation_timeout=timeout_s,
        request_timeout=timeout_s,
    )
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            denied = refused(reason, Right(Operation.CREATE, Resource.TOPIC, name))
            if denied is not None:
                raise denied from None
            raise TopicMismatch(f"Topic {name} could not be created: {reason.str()}.") from None
        yield name


def largest_batch(admin: Admin, topics: Iterable[str], *, timeout_s: float = 10) -> int | None:
    """The largest record batch that all of these topics take, bytes; None if the broker does not tell."""
    resources = [ConfigResource(RESOURCE_TOPIC, name) for name in topics]
    try:
        described = [
            future.result() for future in admin.describe_configs(resources, request_timeout=timeout_s).values()
        ]
        return min(int(config["max.message.bytes"].value) for config in described)
    except (KafkaException, KeyError, ValueError):
        return None  # not everybody may ask; a batch that is too large is refused, and smaller ones follow


def topic_id(admin: Admin, topic: str, *, timeout_s: float = 10) -> str:
    """The id that the broker gave the topic when it was created; "" if the broker does not tell it.

    Raises BrokerUnavailable.
    """
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)[topic]
    try:
        return str(described.result(timeout_s + 1).topic_id)
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0] if isinstance(error, KafkaException) else None
        if reason is not None and reason.code() in _NO_TOPIC_IDS:
            return ""  # not everybody may ask, and brokers before 2.8 have none
        raise BrokerUnavailable(
            f"Kafka does not describe topic {topic}: {reason.str() if reason else 'no answer'}."
        ) from None
