"""Configuration of topics as it was set, apart from the broker's defaults; and rights, as the broker has them."""

from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import RESOURCE_TOPIC

from everwatch.kafka.acl import Operation, Resource, Right
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.admin_results import result_of


def topic_configs(admin: Admin, topics: Iterable[str], *, timeout_s: float = 10) -> dict[str, dict[str, str]]:
    """Return the configuration that is set for each topic itself.

    Raises BrokerUnavailable; AccessError without DescribeConfigs.
    """
    asked = admin.describe_configs([ConfigResource(RESOURCE_TOPIC, name) for name in topics], request_timeout=timeout_s)
    found = {}
    for resource, future in asked.items():
        right = Right(Operation.DESCRIBE_CONFIGS, Resource.TOPIC, resource.name)
        refusal = f"Kafka does not report the configuration of topic {resource.name}"
        entries = result_of(future, timeout_s, right, refusal)
        found[resource.name] = {
            name: str(entry.value)
            for name, entry in sorted(entries.items())
            if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        }
    return found


def set_topic_configs(admin: Admin, configs: Mapping[str, Mapping[str, str | None]], *, timeout_s: float = 30) -> None:
    """Set values by topic; None: the broker's default. Raises BrokerUnavailable; AccessError without AlterConfigs."""
    resources = [
        ConfigResource(RESOURCE_TOPIC, topic, incremental_configs=[_change(*each) for each in values.items()])
        for topic, values in configs.items()
    ]
    for resource, future in admin.incremental_alter_configs(resources, request_timeout=timeout_s).items():
        right = Right(Operation.ALTER_CONFIGS, Resource.TOPIC, resource.name)
        result_of(future, timeout_s, right, f"Kafka does not change the configuration of topic {resource.name}")


def _change(name: str, value: str | None) -> ConfigEntry:
    how = AlterConfigOpType.SET if value is not None else AlterConfigOpType.DELETE
    return ConfigEntry(name, value, incremental_operation=how)


def rights_on(admin: Admin, prefix: str, *, timeout_s: float = 10) -> list[str]:
    """Return the ACLs of topics, groups and transactional ids that begin with ``prefix``, a line each.

    Empty where the broker has none, or does not show them to this user.
    """
    everything = AclBindingFilter(
        restype=ResourceType.ANY,
        name=None,  # type: ignore[arg-type]
        resource_pattern_type=ResourcePatternType.ANY,
        principal=None,  # type: ignore[arg-type]
        host=None,  # type: ignore[arg-type]
        operation=AclOperation.ANY,
        permission_type=AclPermissionType.ANY,
    )
    try:
        found = admin.describe_acls(everything, request_timeout=timeout_s).result(timeout_s + 1)
    except (KafkaException, TimeoutError):
        return []
    return sorted(
        f"{each.principal} from {each.host}: {each.permission_type.name} {each.operation.name} on"
        f" {each.restype.name} {each.name} ({each.resource_pattern_type.name})"
        for each in found
        if each.name.startswith(prefix) or each.name == "*"
    )
