"""Consumer groups as the broker reports them: members with their partitions and topics, committed offsets."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.access_errors import refused
from everwatch.kafka.topics import Topics

Position = tuple[str, int]
"""A topic and the number of one of its partitions."""

Value = TypeVar("Value")

OPTIONAL_PROCESS = "notifier"
"""An installation may do without this one: it counts once its group has had a member."""


class Member(NamedTuple):
    """A process in a consumer group: its client id, host, and partitions.

    The client id is ``everwatch-<host>-<process id>``, of a worker that of ``worker_client_id``.
    """

    client_id: str
    host: str
    partitions: frozenset[Position]


def worker_client_id(host: str, worker: str) -> str:
    """Return the client id of a worker as a member of its group; ``worker`` is the name of its folder.

    It names no process: a worker is a static member, and the broker keeps the client id of its first process when
    another one takes that one's place.
    """
    return f"everwatch-{host}-worker-{worker}"


class TopicReading(NamedTuple):
    """One topic as one kind of process reads it.

    ``group`` holds the committed offsets; the members of ``owned_through`` own the partitions by those of
    ``owned_topic``: a worker's batch consumers follow what Faust assigned to it.
    """

    topic: str
    group: str
    process: str
    owned_through: str
    owned_topic: str


def readings_of(settings: Settings) -> list[TopicReading]:
    """Every topic and group whose committed offsets say how far a process is, in the order of the data flow."""
    topics, application = Topics.of(settings), settings.application
    # Faust assigns a worker's partitions by the topic of commands
    worker = [
        TopicReading(topic, f"{application}-worker-{topic}", "worker", application, topics.commands)
        for topic in (topics.commands, topics.signups, topics.signals, topics.results)
    ]
    executor = [
        TopicReading(topic, group, "executor", group, topic)
        for ticks in (topics.ticks_without_region, *topics.regions)
        for group in (executors_group(settings, ticks.region),)
        for topic in ticks.names
    ]
    sink = [TopicReading(topic, f"{application}-sink", "sink", f"{application}-sink", topic) for topic in topics.stored]
    group = f"{application}-notifier"
    notifier = [TopicReading(topic, group, OPTIONAL_PROCESS, group, topic) for topic in topics.notified]
    return [*worker, *executor, *sink, *notifier]


def executors_group(settings: Settings, region: str = "") -> str:
    """The consumer group of the executors of a region ("": of those without one)."""
    # a dot, which no region has: "-trials" is the group of trials
    return f"{settings.application}-executors{f'.{region}' if region else ''}"


def executors_groups(settings: Settings) -> list[str]:
    """All consumer groups of executors: that of those without a region first."""
    return [executors_group(settings, region) for region in ("", *settings.all_regions)]


def trials_group(settings: Settings) -> str:
    """The consumer group in which executors share trials."""
    return f"{executors_group(settings)}-trials"


def members_of(admin: AdminClient, groups: Iterable[str], *, timeout_s: float = 10.0) -> dict[str, list[Member]]:
    """The processes in each group, by client id; none for a group that does not exist. Raises BrokerUnavailable."""
    described = admin.describe_consumer_groups(sorted(set(groups)), request_timeout=timeout_s)
    found: dict[str, list[Member]] = {}
    for group, future in described.items():
        description = _result(future, timeout_s)
        # an executor has a member of the group for each topic of ticks; two workers of one name, with data folders of
        # their own on one host, have instance ids of their own
        processes: dict[tuple[str, str, str], set[Position]] = {}
        for member in [] if description is None else description.members:
            host = (getattr(member, "host", "") or "").lstrip("/")
            process = member.client_id, host, getattr(member, "group_instance_id", None) or ""
            processes.setdefault(process, set()).update((p.topic, p.partition) for p in _assigned(member))
        found[group] = sorted(Member(name, host, frozenset(held)) for (name, host, _), held in processes.items())
    return found


def committed_of(admin: AdminClient, group: str, *, timeout_s: float = 10.0) -> dict[Position, int]:
    """The offsets that a group has committed; nothing for a group that does not exist. Raises BrokerUnavailable."""
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=timeout_s)
    found = _result(asked[group], timeout_s)
    if found is None:
        return {}
    return {(p.topic, p.partition): p.offset for p in found.topic_partitions if p.error is None and p.offset >= 0}


def bounds_of(admin: AdminClient, positions: Iterable[Position], *, timeout_s: float = 10.0) -> dict[Position, range]:
    """The offsets that each partition holds now; one that the broker does not report is left out.

    Raises BrokerUnavailable.
    """
    wanted = [TopicPartition(*position) for position in positions]
    if not wanted:
        return {}
    # of transactions under way nothing is to be read yet
    first, last = (_offsets(admin, dict.fromkeys(wanted, which()), timeout_s) for which in (_EARLIEST, _LATEST))
    return {position: range(first[position], last[position]) for position in first.keys() & last.keys()}


def held_back_of(
    admin: AdminClient, positions: Iterable[Position], *, timeout_s: float = 10.0
) -> dict[Position, range]:
    """The offsets of each partition that stand at or behind a transaction under way; without those that have none.

    Whoever reads committed records reads none of these before the transaction has ended. Raises BrokerUnavailable.
    """
    wanted = list(positions)
    # in this order: what is written in between would look as if it were held back
    written = written_ends_of(admin, wanted, timeout_s=timeout_s)
    readable = _offsets(admin, dict.fromkeys((TopicPartition(*each) for each in wanted), _LATEST()), timeout_s)
    return held_back(written, readable)


def written_ends_of(
    admin: AdminClient, positions: Iterable[Position], *, timeout_s: float = 10.0
) -> dict[Position, int]:
    """The offset behind the last record of each partition, those of transactions under way too.

    Raises BrokerUnavailable.
    """
    wanted = dict.fromkeys((TopicPartition(*position) for position in positions), _LATEST())
    return _offsets(admin, wanted, timeout_s, IsolationLevel.READ_UNCOMMITTED)


def held_back(written: Mapping[Position, int], readable: Mapping[Position, int]) -> dict[Position, range]:
    """Return the offsets of each partition that are written and not readable; ``written`` is to be asked first."""
    held = {position: range(readable[position], end) for position, end in written.items() if position in readable}
    return {position: some for position, some in held.items() if some}


def first_since(
    admin: AdminClient, positions: Iterable[Position], instant: int, *, timeout_s: float = 10.0
) -> dict[Position, int]:
    """The offset of each partition's first record from ``instant`` (ms) on; without those that have none.

    Raises BrokerUnavailable.
    """
    wanted = dict.fromkeys((TopicPartition(*position) for position in positions), OffsetSpec.for_timestamp(instant))
    found = _offsets(admin, wanted, timeout_s) if wanted else {}
    return {position: offset for position, offset in found.items() if offset >= 0}


_EARLIEST: Callable[[], OffsetSpec] = OffsetSpec.earliest
_LATEST: Callable[[], OffsetSpec] = OffsetSpec.latest


def _offsets(
    admin: AdminClient,
    wanted: dict[TopicPartition, OffsetSpec],
    timeout_s: float,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> dict[Position, int]:
    if not wanted:
        return {}
    futures = admin.list_offsets(wanted, request_timeout=timeout_s, isolation_level=isolation)
    found: dict[Position, int] = {}
    for partition, future in futures.items():
        try:
            told = _result(future, timeout_s)
        except BrokerUnavailable:
            continue  # a partition without a leader; the others have positions
        if told is not None:
            found[partition.topic, partition.partition] = told.offset
    return found


def _assigned(member: Any) -> list[TopicPartition]:
    return list(member.assignment.topic_partitions) if member.assignment else []


def _result(future: "Future[Any]", timeout_s: float) -> Any:
    """The answer to a question about one group or partition; None if the broker knows no such group."""
    try:
        # the client gives up by itself; the limit is for the case that it does not
        return future.result(timeout_s + 1)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return None
        raise refused(error.args[0]) or _silent(timeout_s, error.args[0].str()) from None
    except TimeoutError:
        raise _silent(timeout_s, "no answer") from None


def _silent(timeout_s: float, reason: str) -> BrokerUnavailable:
    return BrokerUnavailable(f"No Kafka broker described its consumer groups within {timeout_s:g} s: {reason}.")
