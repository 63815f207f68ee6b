"""Consumer-group members: the processes that do the work now."""

from confluent_kafka.admin import AdminClient

from everwatch.core.config import Settings
from everwatch.kafka.consumer_groups import Member, executors_group, members_of
from everwatch.kafka.process_figures import GroupMembers
from everwatch.kafka.topics import Topics
from everwatch.model import Priority


def owners_of(
    admin: AdminClient, settings: Settings, partition: int, priority: Priority, *, timeout_s: float = 3.0
) -> GroupMembers:
    """Return the members for a partition. Raises BrokerUnavailable if the broker takes longer than ``timeout_s``."""
    workers, executors = settings.application, executors_group(settings)
    topics = Topics.of(settings)
    members = members_of(admin, [workers, executors], timeout_s=timeout_s)
    return GroupMembers(
        worker=_owner(members[workers], topics.commands, partition),
        executor=_owner(members[executors], topics.ticks_for(priority), partition),
        executors=tuple(member.client_id for member in members[executors]),
    )


def _owner(members: list[Member], topic: str, partition: int) -> str:
    return next((member.client_id for member in members if (topic, partition) in member.partitions), "")
