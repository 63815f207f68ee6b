"""The words of Kafka's ACLs: a right is an operation on a resource."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Resource(StrEnum):
    """Resource type of a right, in Kafka's words."""

    TOPIC = "topic"
    GROUP = "consumer group"
    TRANSACTIONAL_ID = "transactional id"
    CLUSTER = "cluster"


class Operation(StrEnum):
    """Operation of a right, in Kafka's words. Read and Write each imply Describe."""

    READ = "Read"
    WRITE = "Write"
    DESCRIBE = "Describe"
    CREATE = "Create"
    DELETE = "Delete"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


class Right(NamedTuple):
    """One ACL. ``is_prefix``: it is about all resources whose names begin with ``name``."""

    operation: Operation
    resource: Resource
    name: str
    is_prefix: bool = False

    def __str__(self) -> str:
        pattern = f"{self.name}*" if self.is_prefix else self.name
        return f"{self.operation} on {self.resource} {pattern}"


def needed(rights: Iterable[Right], resource: Resource) -> dict[str, set[Operation]]:
    """The operations that are needed on each resource of a kind that is named in full."""
    found: dict[str, set[Operation]] = {}
    for right in rights:
        if right.resource is resource and not right.is_prefix:
            found.setdefault(right.name, set()).add(right.operation)
    return found
