"""Retention of the topics that a restore writes, held off until their records are proved.

Restored records keep their timestamps, and brokers delete by timestamp every few minutes, in the newest segment, too.
Of a backup that is older than a topic keeps, records would go while the restore is still under way.
"""

from collections.abc import Sequence

from everwatch.kafka.admin_client import Admin
from everwatch.kafka.topic_configs import set_topic_configs, topic_configs

# the timestamps are the records' own, whatever the cluster's default is
_MEANWHILE = {"message.timestamp.type": "CreateTime", "retention.bytes": "-1", "retention.ms": "-1"}


class HeldRetention:
    """The retention of some topics, off from ``hold`` to ``release``."""

    def __init__(self, admin: Admin, topics: Sequence[str]) -> None:
        self._admin = admin
        self._topics = topics
        self._real: dict[str, dict[str, str]] = {}

    def hold(self) -> None:
        """Let nothing be deleted by its age. Raises BrokerUnavailable; AccessError without AlterConfigs."""
        self._real = topic_configs(self._admin, self._topics)
        set_topic_configs(self._admin, dict.fromkeys(self._topics, _MEANWHILE))

    def release(self) -> None:
        """Give each topic what it had before ``hold``. Raises BrokerUnavailable, AccessError."""
        real = {topic: {name: self._real[topic].get(name) for name in _MEANWHILE} for topic in self._topics}
        set_topic_configs(self._admin, real)
