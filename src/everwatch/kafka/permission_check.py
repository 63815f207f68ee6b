"""Missing rights of a client, found before they are needed: brokers report the allowed operations (KIP-430)."""

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from everwatch.kafka.access_errors import missing
from everwatch.kafka.acl import Operation, Resource, Right, needed
from everwatch.kafka.admin_client import Admin

TIMEOUT_S = 5.0


def lacking(admin: Admin, rights: Iterable[Right], *, timeout_s: float = TIMEOUT_S) -> list[Right]:
    """Those of the rights that the client's user does not have; without those that the broker does not report.

    Brokers before 2.3 report none. Without Describe a client has no right on that resource. Prefixes and
    transactional ids are not asked for: no request names them.
    """
    rights = list(rights)
    topics, groups = needed(rights, Resource.TOPIC), needed(rights, Resource.GROUP)
    more: dict[str, Any] = {"include_authorized_operations": True, "request_timeout": timeout_s}
    described = admin.describe_topics(TopicCollection(list(topics)), **more) if topics else {}
    of_groups = admin.describe_consumer_groups(list(groups), **more) if groups else {}
    denied: set[tuple[Resource, str, Operation]] = set()
    for resource, wanted, answers in ((Resource.TOPIC, topics, described), (Resource.GROUP, groups, of_groups)):
        for name, future in answers.items():
            allowed = _allowed(future, timeout_s)
            if allowed is not None:
                denied |= {(resource, name, each) for each in wanted[name] if each.name not in allowed}
    return [
        right for right in rights if not right.is_prefix and (right.resource, right.name, right.operation) in denied
    ]


def expect_rights(admin: Admin, rights: Iterable[Right]) -> None:
    """Raise PermissionMissing for the first right that the client's user lacks."""
    for right in lacking(admin, rights):
        raise missing(right, admin.settings)


def hidden_topics(admin: Admin, names: Iterable[str], *, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Those of the topics that the client's user may not see, whether or not they exist."""
    return [
        right.name
        for right in lacking(
            admin, [Right(Operation.DESCRIBE, Resource.TOPIC, name) for name in names], timeout_s=timeout_s
        )
    ]


def _allowed(future: Any, timeout_s: float) -> set[str] | None:
    """Names of the operations that are allowed; None if the broker does not report it."""
    try:
        operations = future.result(timeout_s + 1).authorized_operations
    except KafkaException as error:
        code = error.args[0].code()
        refused = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
        return set() if code in refused else None
    except TimeoutError:
        return None
    return {each.name for each in operations} if operations else None
