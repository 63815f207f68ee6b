"""Retention of the topics that a restore writes, held off until their records are proved.

Restored records keep their timestamps, and brokers delete by timestamp every few minutes, in the newest segment, too.
Of a backup that is older than a topic keeps, records would go while the restore is still under way.
"""

from collections.abc import Sequence
from threading import Event

from everwatch.backup.source_topics import patiently
from everwatch.core.clock import Clock
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.topic_configs import set_topic_configs, topic_configs

SETTLES_S = 2.0
# the timestamps are the records' own, whatever the cluster's default is
_MEANWHILE = {"message.timestamp.type": "CreateTime", "retention.bytes": "-1", "retention.ms": "-1"}


class HeldRetention:
    """The retention of some topics, off from ``hold`` to ``release``."""

    def __init__(self, admin: Admin, topics: Sequence[str], clock: Clock) -> None:
        self._admin = admin
        self._clock = clock
        self._topics = topics
        self._real: dict[str, dict[str, str]] = {}

    def hold(self) -> None:
        """Let nothing be deleted by its age. Raises BrokerUnavailable; AccessError without AlterConfigs."""
        self._real = topic_configs(self._admin, self._topics)
        set_topic_configs(self._admin, dict.fromkeys(self._topics, _MEANWHILE))
        # the controller has answered; brokers follow it, and stamp records with their own time until then
        patiently(self._check_held, self._clock)
        # a broker shows a configuration a moment before its logs follow it, and nothing but a record would tell when
        Event().wait(SETTLES_S)

    def _check_held(self) -> None:
        there = topic_configs(self._admin, self._topics)
        behind = [topic for topic in self._topics if not _MEANWHILE.items() <= there[topic].items()]
        if behind:
            raise BrokerUnavailable(f"The broker does not have the new configuration of topic {behind[0]} yet.")

    def release(self) -> None:
        """Give each topic what it had before ``hold``. Raises BrokerUnavailable, AccessError."""
        real = {topic: {name: self._real[topic].get(name) for name in _MEANWHILE} for topic in self._topics}
        set_topic_configs(self._admin, real)
