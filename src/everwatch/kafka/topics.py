"""The topics Everwatch lives on: their names and settings (``topic_administration`` makes and checks them)."""

from dataclasses import dataclass, fields
from typing import NamedTuple, Self

from everwatch.core.config import Settings
from everwatch.kafka.clients import LARGEST_RECORD_BYTES
from everwatch.model import Priority

HOUR_MS = 3_600_000
# how long compacted topics keep a deletion: a reader that was stopped for longer has to read them anew
DELETIONS_KEPT_MS = 7 * 24 * HOUR_MS
SUPERSEDED_KEPT_MS = 7 * 24 * HOUR_MS


class TickTopics(NamedTuple):
    """The topics of the ticks of one region, or (``region`` empty) of monitors without regions; most urgent first."""

    region: str
    high: str
    normal: str
    low: str

    @property
    def names(self) -> tuple[str, str, str]:
        """Their names, most urgent first."""
        return self.high, self.normal, self.low

    @property
    def fields(self) -> tuple[str, str, str]:
        """Return their names without prefix, as ``Topics.by_name`` has them, most urgent first."""
        behind = f"@{self.region}" if self.region else ""
        return f"ticks_high{behind}", f"ticks{behind}", f"ticks_low{behind}"

    def of(self, priority: Priority) -> str:
        """The topic that ticks of this priority travel on."""
        return {Priority.HIGH: self.high, Priority.NORMAL: self.normal, Priority.LOW: self.low}[priority]


@dataclass(frozen=True)
class Topics:
    """The names of all topics under one prefix and app id. ``regions``: of ticks, by region."""

    signups: str
    commands: str
    signals: str
    ticks_high: str
    ticks: str
    ticks_low: str
    results: str
    transitions: str
    dead_letters: str
    replies: str
    progress: str
    cancellations: str
    access: str
    audit: str
    jobs: str
    incidents: str
    notifications: str
    trials: str
    trial_results: str
    monitors_changelog: str
    regions: tuple[TickTopics, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The names that ``settings`` (prefix, app id) give."""
        prefix = settings.topic_prefix
        return cls(
            signups=f"{prefix}signups",
            commands=f"{prefix}commands",
            signals=f"{prefix}signals",
            ticks_high=f"{prefix}ticks.high",
            ticks=f"{prefix}ticks",
            ticks_low=f"{prefix}ticks.low",
            results=f"{prefix}results",
            transitions=f"{prefix}transitions",
            dead_letters=f"{prefix}dead-letters",
            replies=f"{prefix}replies",
            progress=f"{prefix}progress",
            cancellations=f"{prefix}cancellations",
            access=f"{prefix}access",
            audit=f"{prefix}audit",
            jobs=f"{prefix}jobs",
            incidents=f"{prefix}incidents",
            notifications=f"{prefix}notifications",
            trials=f"{prefix}trials",
            trial_results=f"{prefix}trial-results",
            monitors_changelog=f"{settings.application}-monitors-changelog",
            regions=tuple(_ticks_of(prefix, region) for region in settings.all_regions),
        )

    @property
    def ticks_without_region(self) -> TickTopics:
        """The topics of ticks of monitors without regions."""
        return TickTopics("", self.ticks_high, self.ticks, self.ticks_low)

    def ticks_in(self, region: str) -> TickTopics | None:
        """The topics of ticks of a region ("": of monitors without regions); None of one that the settings lack."""
        return next((each for each in (self.ticks_without_region, *self.regions) if each.region == region), None)

    def ticks_for(self, priority: Priority, region: str = "") -> str:
        """The topic that ticks of this priority travel on, to the executors of ``region``. Raises KeyError."""
        found = self.ticks_in(region)
        if found is None:
            raise KeyError(region)
        return found.of(priority)

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic, in the order in which they are listed."""
        return tuple(self.by_name.values())

    @property
    def by_name(self) -> dict[str, str]:
        """Every topic by its name without prefix, as these fields are called; ``ticks@eu`` is the region's."""
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "regions"}
        return named | dict(pair for each in self.regions for pair in zip(each.fields, each.names, strict=True))

    @property
    def stored(self) -> tuple[str, ...]:
        """The topics that the sink stores."""
        return (
            *(self.results, self.transitions, self.monitors_changelog),
            *(self.dead_letters, self.replies, self.audit),
        )

    @property
    def of_users(self) -> tuple[str, ...]:
        """The topics that hold records of users, for as long as their configurations say.

        Progress names partitions and no user; tokens that are limited to the user stay until they are revoked, and bulk
        jobs that name it until they are forgotten, a week after they ended.
        """
        return tuple(name for name in self.all if name not in (self.progress, self.access, self.jobs))

    @property
    def notified(self) -> tuple[str, ...]:
        """The topics that the notifier reads."""
        return self.transitions, self.monitors_changelog, self.incidents

    @property
    def all_ticks(self) -> tuple[str, ...]:
        """All tick topics: those without a region, then each region's; most urgent first."""
        return (*self.ticks_without_region.names, *(name for each in self.regions for name in each.names))


def of_any_region(name: str) -> str:
    """Return the name of a topic, as ``Topics.by_name`` has it, without the region."""
    return name.partition("@")[0]


def region_of(name: str) -> str:
    """Return the region of a topic, as ``Topics.by_name`` names it; empty without one."""
    return name.partition("@")[2]


def _ticks_of(prefix: str, region: str) -> TickTopics:
    base = f"{prefix}ticks.{region}"
    return TickTopics(region, f"{base}.high", base, f"{base}.low")


@dataclass(frozen=True)
class TopicPlan:
    """One topic as it should be."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str]


def plan_topics(settings: Settings) -> list[TopicPlan]:
    """Every topic as it should be under ``settings``."""
    topics = Topics.of(settings)
    # one replica may fail without stopping writes; with one or two replicas there is nothing to spare
    durability = {"min.insync.replicas": str(max(1, settings.replication_factor - 1))}
    compacted = {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(DELETIONS_KEPT_MS),
        # records of a deleted user go after this time, however few come after them
        "max.compaction.lag.ms": str(SUPERSEDED_KEPT_MS),
        **durability,
    }

    def kept(hours: int) -> dict[str, str]:
        return {"cleanup.policy": "delete", "retention.ms": str(hours * HOUR_MS), **durability}

    configs = {
        topics.signups: kept(168),
        topics.commands: kept(168),
        topics.signals: kept(24),
        # an executor that was stopped for longer than a day has nothing useful to do with what it missed;
        # CreateTime is part of the contract: a tick's scheduled_at is its record's timestamp
        **{name: kept(24) | {"message.timestamp.type": "CreateTime"} for name in topics.all_ticks},
        topics.results: kept(settings.results_retention_hours),
        topics.transitions: kept(settings.results_retention_hours),
        topics.replies: kept(24),
        topics.dead_letters: kept(30 * 24) | {"max.message.bytes": str(LARGEST_RECORD_BYTES)},
        # a record a sweep: small segments let compaction keep up
        topics.progress: compacted | {"segment.bytes": str(16 * 1024 * 1024), "segment.ms": str(HOUR_MS)},
        # executors drop ticks that are older, which are kept as long
        topics.cancellations: kept(24) | {"cleanup.policy": "compact,delete"},
        topics.access: compacted,
        topics.audit: kept(30 * 24),
        topics.jobs: compacted,
        topics.incidents: kept(168),
        topics.notifications: kept(settings.results_retention_hours),
        # a person waits for it now
        topics.trials: kept(1),
        topics.trial_results: kept(1),
        topics.monitors_changelog: compacted,
    }
    return [
        TopicPlan(name, settings.partitions, settings.replication_factor, config) for name, config in configs.items()
    ]
