"""Consumer-group members: the processes that do the work now."""

from collections.abc import Sequence

from confluent_kafka.admin import AdminClient

from everwatch.core.config import Settings
from everwatch.kafka.consumer_groups import Member, executors_group, members_of
from everwatch.kafka.process_figures import GroupMembers
from everwatch.kafka.topics import Topics
from everwatch.model import Priority


def owners_of(
    admin: AdminClient,
    settings: Settings,
    partition: int,
    priority: Priority,
    *,
    regions: Sequence[str] = (),
    timeout_s: float = 3.0,
) -> GroupMembers:
    """Return the members for a partition. Raises BrokerUnavailable if the broker takes longer than ``timeout_s``.

    ``regions``: those of the monitor. Its executors are those of all of them then; the one that has the partition is of
    the first region that has one.
    """
    workers, topics = settings.application, Topics.of(settings)
    ticks = [found for region in regions or ("",) if (found := topics.ticks_in(region)) is not None]
    groups = {each.region: executors_group(settings, each.region) for each in ticks}
    members = members_of(admin, [workers, *groups.values()], timeout_s=timeout_s)
    owners = {each.region: _owner(members[groups[each.region]], each.of(priority), partition) for each in ticks}
    return GroupMembers(
        worker=_owner(members[workers], topics.commands, partition),
        executor=next(filter(None, owners.values()), ""),
        executors=tuple(member.client_id for group in groups.values() for member in members[group]),
        # of a region that the settings do not name nobody claims ticks: there are none
        by_region={region: owners.get(region, "") for region in regions},
    )


def _owner(members: list[Member], topic: str, partition: int) -> str:
    return next((member.client_id for member in members if (topic, partition) in member.partitions), "")
