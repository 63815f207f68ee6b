"""Rights of each process on a broker with ACLs: the least with which it works.

The one table: a process looks before it starts whether it has its rights, ``everwatch doctor`` looks for all of them,
docs/secured-kafka.md lists them, and a test grants exactly these and takes each away again.
"""

from enum import StrEnum

from everwatch.core.config import Settings
from everwatch.kafka.acl import Operation, Resource, Right
from everwatch.kafka.consumer_groups import executors_group, readings_of, trials_group
from everwatch.kafka.topics import Topics


class ProcessRole(StrEnum):
    """Holder of rights: each process, the command line as a client, and ``everwatch backup``."""

    WORKER = "worker"
    EXECUTOR = "executor"
    SINK = "sink"
    NOTIFIER = "notifier"
    API = "api"
    CLIENT = "client"
    BACKUP = "backup"


def rights_of(process: ProcessRole, settings: Settings) -> list[Right]:
    """The least rights of one process. Every process looks for every topic, so it may Describe them all."""
    topics, application = Topics.of(settings), settings.application
    groups: list[Right] = []
    write: list[str] = []
    others: list[Right] = []
    match process:
        case ProcessRole.WORKER:
            read = [topics.signups, topics.commands, topics.signals, topics.results]
            read += [topics.progress, topics.monitors_changelog]
            write = [*topics.all_ticks, topics.results, topics.transitions, topics.replies, topics.dead_letters]
            write += [topics.progress, topics.cancellations, topics.monitors_changelog]
            others = [transactions_of(topics)]
            groups = [_group(application), _group(f"{application}-worker-", is_prefix=True)]
        case ProcessRole.EXECUTOR:
            own = topics.ticks_in(settings.region) or topics.ticks_without_region
            read = [*own.names, topics.cancellations, topics.trials]
            write = [topics.results, topics.dead_letters, topics.trial_results, *settings.publish_topics]
            groups = [_group(executors_group(settings, settings.region)), _group(trials_group(settings))]
        case ProcessRole.SINK:
            read = [*topics.stored]
            write = [topics.dead_letters]
            # for how long they hold records of a purged user; without it the sink goes on, and does not know
            others = [Right(Operation.DESCRIBE_CONFIGS, Resource.TOPIC, name) for name in topics.of_users]
            groups = [_group(f"{application}-sink")]
        case ProcessRole.NOTIFIER:
            read = [*topics.notified]
            write = [topics.dead_letters, topics.notifications]
            groups = [_group(f"{application}-notifier")]
        case ProcessRole.API:
            read = [topics.replies, topics.results, topics.transitions, topics.progress, topics.dead_letters]
            read += [topics.access, topics.jobs, topics.trial_results]
            write = [topics.signups, topics.commands, topics.signals, topics.dead_letters]
            write += [topics.access, topics.audit, topics.jobs, topics.incidents, topics.trials]
        case ProcessRole.CLIENT:
            read = [topics.replies, topics.results, topics.transitions, topics.progress, topics.trial_results]
            write = [topics.signups, topics.commands, topics.signals, topics.trials]
        case ProcessRole.BACKUP:
            read = [name for name in topics.all if name not in (topics.trials, topics.trial_results)]
            others = [Right(Operation.DESCRIBE_CONFIGS, Resource.TOPIC, name) for name in topics.all]
            read_by = {application, *(reading.group for reading in readings_of(settings))}
            others += [Right(Operation.DESCRIBE, Resource.GROUP, name) for name in sorted(read_by)]
    rights = [Right(Operation.READ, Resource.TOPIC, name) for name in read]
    rights += [Right(Operation.WRITE, Resource.TOPIC, name) for name in write]
    rest = set(topics.all).difference(read, write)
    rights += [Right(Operation.DESCRIBE, Resource.TOPIC, name) for name in topics.all if name in rest]
    return rights + groups + others


def needed_to_start(process: ProcessRole, settings: Settings) -> list[Right]:
    """The rights without which a process does not start: of one that lacks DescribeConfigs all else works."""
    return [right for right in rights_of(process, settings) if right.operation is not Operation.DESCRIBE_CONFIGS]


def transactions_of(topics: Topics) -> Right:
    """The right to a worker's transactional ids: one for each partition, named after the changelog."""
    name = f"{topics.monitors_changelog}-"
    return Right(Operation.WRITE, Resource.TRANSACTIONAL_ID, name, is_prefix=True)


def _group(name: str, *, is_prefix: bool = False) -> Right:
    return Right(Operation.READ, Resource.GROUP, name, is_prefix)
