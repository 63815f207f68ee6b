"""The place of a restore: nothing may be there that the restore would add to, or that would go on beside it."""

from pathlib import Path

from confluent_kafka import KafkaError, KafkaException

from everwatch.backup.database_copy import check_target_databases
from everwatch.backup.manifest import Manifest
from everwatch.backup.source_topics import WORKER_INPUTS, SourceTopics, patiently
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, EverwatchError, TopicMismatch
from everwatch.kafka.access_errors import read_by, refused
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.consumer_groups import executors_groups, members_of
from everwatch.kafka.topic_administration import check_topics
from everwatch.kafka.topics import Topics


class RestoreTarget:
    """Topics, consumer groups and databases that ``settings`` name, before anything is restored."""

    def __init__(self, settings: Settings, admin: Admin, topics: SourceTopics, clock: Clock) -> None:
        self._settings = settings
        self._admin = admin
        self._clock = clock
        self._topics = topics
        self._names = Topics.of(settings)

    def check(self, folder: Path, manifest: Manifest) -> None:
        """Raise TopicMismatch, StoreError or EverwatchError where something is in the way of the backup.

        BrokerUnavailable, AccessError.
        """
        if self._settings.partitions != manifest.partitions:
            raise TopicMismatch(
                f"The backup has {manifest.partitions} partitions, and {self._settings.partitions} are configured: set"
                f" EVERWATCH_PARTITIONS={manifest.partitions}. A user's partition is part of its state."
            )
        if missing := set(manifest.regions).difference(self._settings.all_regions):
            known = ",".join(sorted({*manifest.regions, *self._settings.regions}))
            raise TopicMismatch(
                f"The backup has ticks of regions that EVERWATCH_REGIONS does not name ({', '.join(sorted(missing))}):"
                f" set EVERWATCH_REGIONS={known} on every process."
            )
        there = [state for state in check_topics(self._admin, self._settings) if state.partitions]
        if wrong := [state for state in there if state.partitions != manifest.partitions]:
            raise TopicMismatch(wrong[0].problem)
        names = {topic: name for name, topic in self._names.by_name.items()}
        for state in there:
            if any(self._topics.bounds(names[state.name]).values()):
                raise TopicMismatch(
                    f"Topic {state.name} is not empty, and a restore adds to none: set another EVERWATCH_TOPIC_PREFIX,"
                    " or delete the topics if nothing on them is needed (also after a restore that was interrupted)."
                )
        for group, members in patiently(lambda: members_of(self._admin, self._groups()), self._clock).items():
            if members:
                raise EverwatchError(
                    f"A process is running: consumer group {group} has a member ({members[0].client_id}). Stop all"
                    " processes of this installation, and restore again."
                )
        check_target_databases(manifest, folder, self._settings)

    def forget_groups(self) -> None:
        """Delete the groups' offsets, which are those of topics that are gone. Raises EverwatchError."""
        patiently(self._forget_groups, self._clock)

    def _groups(self) -> list[str]:
        application = self._settings.application
        read = (*(self._names.by_name[name] for name in WORKER_INPUTS), self._names.monitors_changelog)
        worker = [f"{application}-worker-{topic}" for topic in read]
        return [
            application,
            *worker,
            *executors_groups(self._settings),
            f"{application}-sink",
            f"{application}-notifier",
        ]

    def _forget_groups(self) -> None:
        for group, future in self._admin.delete_consumer_groups(self._groups(), request_timeout=30).items():
            try:
                future.result(31)
            except KafkaException as error:
                if error.args[0].code() not in (KafkaError.GROUP_ID_NOT_FOUND, KafkaError._NO_OFFSET):
                    raise group_error(group, error.args[0]) from None


def group_error(group: str, error: KafkaError) -> EverwatchError:
    """Return the error for a consumer group that Kafka does not change."""
    denied = refused(error, read_by(group))
    if error.code() == KafkaError.NON_EMPTY_GROUP:
        return EverwatchError(f"A process is running in consumer group {group}: stop all processes, and restore again.")
    return denied or BrokerUnavailable(f"Kafka does not change consumer group {group}: {error.str()}.")
