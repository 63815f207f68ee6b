"""Purging a user: deletion of its rows from the database, and the records that stay on topics, and until when.

Every step may be repeated. Order: the worker has ended the user; from then on the sinks store nothing of before
(``ResultStore.begin_purge``); what is stored goes, some rows at a time.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from threading import Event
from typing import TypeVar

import msgspec

from everwatch.core.bounds import LATEST_MS
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import AccessError
from everwatch.core.retrying import retry_for
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import new_consumer
from everwatch.kafka.peek import read_tails
from everwatch.kafka.topic_retention import Retention, retentions
from everwatch.kafka.topics import Topics
from everwatch.store import Partition, Purge, ResultStore, StoreBusy

Value = TypeVar("Value")
ROWS_AT_ONCE = 2_000
PAUSE_S = 0.2
BUSY_PATIENCE_S = 60.0


class Remains(msgspec.Struct, frozen=True):
    """A topic that may still hold records of the user.

    ``until``: the instant (ms) at which the last of them is gone at the latest; None: none is certain. ``rule``: the
    topic's configuration that says so.
    """

    topic: str
    until: int | None
    rule: str


def remains_of(settings: Settings, admin: Admin, now: int) -> list[Remains]:
    """Return the topics that may hold records of a user who ended at ``now``. Raises BrokerUnavailable."""
    topics = Topics.of(settings)
    # progress names partitions and no user; tokens that are limited to the user stay until they are revoked,
    # and bulk jobs that name it until they are forgotten, a week after they ended
    names = [name for name in topics.all if name not in (topics.progress, topics.access, topics.jobs)]
    try:
        kept = retentions(admin, names)
    except AccessError as error:
        kept = [Retention(name, None, f"not known: {error}") for name in names]
    return [Remains(r.topic, None if r.longest_ms is None else now + r.longest_ms, r.rule) for r in kept]


def guarded_until(settings: Settings, remains: Iterable[Remains], now: int) -> int:
    """Instant until which the sink must not store records of a purged user, ms.

    A tick that waits for as long as its topic keeps it may be run after all: its result stays for its own topic's time.
    """
    topics = Topics.of(settings)
    until = {each.topic: each.until for each in remains}
    waiting = [until[name] for name in topics.all_ticks]
    stored = [until[name] for name in topics.stored]
    instants = [instant for instant in (*waiting, *stored) if instant is not None]
    if len(instants) < len(waiting) + len(stored):
        return LATEST_MS
    return max(instants[: len(waiting)]) + max(instants[len(waiting) :]) - now


def ends_of(settings: Settings, bootstrap_servers: str) -> dict[Partition, int]:
    """The offset behind the last record of every partition that the sink reads. Raises BrokerUnavailable."""
    topics = Topics.of(settings)
    ends: dict[Partition, int] = {}
    group = f"{settings.application}-purging-{settings.instance}"
    with closing(new_consumer(settings, bootstrap_servers, group, **{"enable.partition.eof": True})) as consumer:
        for topic in topics.stored:
            for number, records in read_tails(consumer, topic, range(settings.partitions)).items():
                if records:
                    ends[Partition(topic, number)] = records[-1].offset + 1
    return ends


def wait_until_stored(store: ResultStore, ends: Mapping[Partition, int], clock: Clock, timeout_s: float) -> bool:
    """Wait until the sink has stored up to these offsets; False if it has not within ``timeout_s``."""
    deadline_s = clock.monotonic_s() + timeout_s
    pause = Event()
    while True:
        stored = _patiently(store.offsets, clock)
        if all(stored.get(partition, 0) >= end for partition, end in ends.items()):
            return True
        if clock.monotonic_s() >= deadline_s:
            return False
        pause.wait(PAUSE_S)


def opened(settings: Settings, clock: Clock) -> ResultStore:
    """The store to purge from. Raises StoreError."""
    from everwatch.store import open_store  # SQLAlchemy takes a while to import

    return _patiently(lambda: open_store(settings), clock)


def begin(store: ResultStore, purge: Purge, clock: Clock) -> None:
    """Keep what topics hold of the user out of the database. Raises StoreError."""
    _patiently(lambda: store.begin_purge(purge), clock)


def delete_rows(store: ResultStore, purge: Purge, clock: Clock) -> dict[str, int]:
    """Delete the user's rows, some at a time so that the sink goes on; gives how many of which table went.

    Raises StoreError.
    """
    total: dict[str, int] = {}
    while some := _patiently(lambda: store.purge_some(purge, ROWS_AT_ONCE), clock):
        total = {name: total.get(name, 0) + some.get(name, 0) for name in total | some}
    _patiently(store.drop_old_pages, clock)
    return total


def _patiently(call: Callable[[], Value], clock: Clock) -> Value:
    """Call ``call`` again while the sink holds the database; gives its result. Raises StoreBusy after a while."""
    return retry_for(BUSY_PATIENCE_S, StoreBusy, call, clock)
