"""Figures of processes, from Kafka: their lag, and which of them own what. Imports no client library."""

import msgspec


class PartitionLag(msgspec.Struct, frozen=True):
    """Lag of one group on one partition.

    ``committed``: the next offset to read, None if the group has never committed one. ``lag_s``: age of the first
    record behind it, s; 0 if there is none, None if it cannot be read. ``client_id`` and ``host``: the member that
    owns the partition, "" if none does. ``emitted_to``: ms, up to which the partition's ticks are emitted, None where
    no worker has emitted any. ``unreadable``: why the first record behind ``committed`` cannot be read.
    """

    topic: str
    group: str
    process: str
    partition: int
    committed: int | None
    end: int
    lag: int
    lag_s: float | None
    client_id: str
    host: str
    emitted_to: int | None
    unreadable: str = ""


class TopicLag(msgspec.Struct, frozen=True):
    """Lag of one group on one topic: records of all partitions, the worst age, the slowest emission.

    ``unowned``: partitions without an owner. ``lag_s`` is None where a partition cannot be read.
    """

    topic: str
    group: str
    process: str
    partitions: int
    lag: int
    lag_s: float | None
    owners: tuple[str, ...]
    unowned: int
    emitted_to: int | None


class GroupMembers(msgspec.Struct, frozen=True):
    """Members for one partition of users, by client id (``consumer_groups.Member``).

    ``worker`` emits its ticks, and ``executor`` claims those of one priority; "" if none does. ``executors``: all
    there are. ``by_region``: of a monitor in regions, the executor that claims its ticks in each; "" if none does.
    """

    worker: str
    executor: str
    executors: tuple[str, ...]
    by_region: dict[str, str] = {}
