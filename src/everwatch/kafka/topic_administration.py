"""Administration of topics: they are created where missing, and compared with their plan."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]
from confluent_kafka.cimpl import RESOURCE_TOPIC, NewTopic
from msgspec import structs

from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, PermissionMissing, TopicMismatch
from everwatch.kafka.access_errors import missing, refused
from everwatch.kafka.acl import Operation, Resource, Right
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.permission_check import hidden_topics
from everwatch.kafka.topics import HOUR_MS, TopicPlan, Topics, plan_topics

_NO_TOPIC_IDS = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._UNSUPPORTED_FEATURE})
# how often a topic that was just created is looked for, 0.1 s apart: a busy broker takes tens of seconds to show it
_MOST_LOOKS = 600
_CHANGE = "everwatch repartition --help"
NO_CONFIGS: Mapping[str, Mapping[str, str]] = MappingProxyType({})


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
    there = [state for state in states if state.partitions]
    for partitions in sorted({state.partitions for state in faulty}):
        names = [state.name for state in faulty if state.partitions == partitions]
        everything = len(names) == len(there) > 1
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


def with_count_of_topics(admin: Admin, settings: Settings, *, timeout_s: float = 10) -> Settings:
    """Return the settings with the partition count of the topics that are there; unchanged if there are none.

    Topics that have different counts change nothing here: every process that compares them with its settings refuses
    them. Nor do topics without one that only workers write: brokers may have made them when a client wrote.
    Raises BrokerUnavailable.
    """
    there = _partition_counts(admin, timeout_s)
    topics = Topics.of(settings)
    if not any(there.get(name) for name in (topics.monitors_changelog, topics.progress, topics.cancellations)):
        return settings
    counts = {there[plan.name] for plan in plan_topics(settings) if there.get(plan.name)}
    return structs.replace(settings, partitions=counts.pop()) if len(counts) == 1 else settings


def expect_regions(admin: Admin, settings: Settings, *, timeout_s: float = 10) -> None:
    """Raise TopicMismatch if there are topics of ticks of a region that the settings do not name.

    Code that goes through all topics would leave them out. Raises BrokerUnavailable, AccessError.
    """
    if unknown := unknown_regions(admin, settings, timeout_s=timeout_s):
        raise TopicMismatch(unnamed_regions(unknown, settings))


def unknown_regions(admin: Admin, settings: Settings, *, timeout_s: float = 10) -> list[str]:
    """Return regions that have topics of ticks and are not among the settings', sorted.

    Raises BrokerUnavailable, AccessError.
    """
    there = _partition_counts(admin, timeout_s).keys()
    begin = f"{settings.topic_prefix}ticks."
    rest = {name.removeprefix(begin) for name in there if name.startswith(begin)}
    # all three of them: one alone may be another program's
    found = {name for name in rest if f"{name}.high" in rest and f"{name}.low" in rest}
    return sorted(found.difference(settings.all_regions))


def unnamed_regions(unknown: Sequence[str], settings: Settings) -> str:
    """Return the sentence about regions that ``unknown_regions`` found."""
    names = ",".join(sorted({*unknown, *settings.regions}))
    return (
        f"There are topics of ticks of regions that EVERWATCH_REGIONS does not name ({', '.join(unknown)}): set"
        f" EVERWATCH_REGIONS={names} on every process, or delete these topics if no monitor names the region any more."
    )


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
    """Create missing topics; idempotent, also from two processes at once.

    ``configs``: configuration by topic that new topics get over what is planned.

    Raises TopicMismatch when a topic exists with another partition count, BrokerUnavailable when no broker answers,
    AccessError when one refuses.
    """
    before = {state.name: state for state in check_topics(admin, settings, timeout_s=timeout_s)}
    for state in before.values():
        if state.hidden:
            raise PermissionMissing(state.problem)
    # before any is created: it would have a count that the others do not have
    if wrong := problems_of((state for state in before.values() if state.partitions), settings):
        raise TopicMismatch(" ".join(wrong))
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
            if reason.code() == KafkaError.INVALID_REPLICATION_FACTOR:
                raise TopicMismatch(
                    f"Topic {name} could not be created: the cluster has fewer brokers than the topic is to have"
                    f" replicas, {plans[0].replication_factor}. Set EVERWATCH_REPLICATION_FACTOR to the number of"
                    " brokers at most (in the Helm chart kafka.replicationFactor)."
                ) from None
            raise TopicMismatch(f"Topic {name} could not be created: {reason.str()}.") from None
        yield name


def largest_batch(admin: Admin, topics: Iterable[str], *, timeout_s: float = 10) -> int | None:
    """The largest record batch that all of these topics take, bytes; None if the broker does not report."""
    resources = [ConfigResource(RESOURCE_TOPIC, name) for name in topics]
    try:
        described = [
            future.result() for future in admin.describe_configs(resources, request_timeout=timeout_s).values()
        ]
        return min(int(config["max.message.bytes"].value) for config in described)
    except (KafkaException, KeyError, ValueError):
        return None  # this client may not ask; a batch that is too large is refused, and smaller ones follow


def topic_id(admin: Admin, topic: str, *, timeout_s: float = 10) -> str:
    """The id that the broker gave the topic when it was created; "" if the broker does not report it.

    Raises BrokerUnavailable.
    """
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)[topic]
    try:
        return str(described.result(timeout_s + 1).topic_id)
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0] if isinstance(error, KafkaException) else None
        if reason is not None and reason.code() in _NO_TOPIC_IDS:
            return ""  # this client may not ask, or the broker is older than 2.8 and has none
        raise BrokerUnavailable(
            f"Kafka does not describe topic {topic}: {reason.str() if reason else 'no answer'}."
        ) from None
