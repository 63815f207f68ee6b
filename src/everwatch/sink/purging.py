"""Purges of users, which the sink carries out beside its batches.

Every step may be repeated. Order: the worker has ended the user and the sink has stored that; from then on nothing of
before is stored (``ResultStore.begin_purge``); what is stored goes, some rows at a time; the outcome is noted.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from threading import Event
from typing import NamedTuple, TypeVar

from everwatch.core.bounds import LATEST_MS
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import AccessError, BrokerUnavailable, StoreError
from everwatch.core.retrying import retry_for
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients
from everwatch.kafka.topic_retention import Retention, retentions
from everwatch.kafka.topics import Topics
from everwatch.observability.log_throttle import LogThrottle
from everwatch.store import Partition, Purge, ResultStore, StoreBusy
from everwatch.store.purged_users import MOST_TO_DO, AskedPurge, PurgeOutcome, Remains

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
ROWS_AT_ONCE = 2_000
BUSY_PATIENCE_S = 5.0
LOOK_EVERY_S = 60.0
"""How often purges are looked for that another sink has left."""
WAIT_S = 0.5
"""When to look again for a purge whose user's end is not stored yet."""


class _Round(NamedTuple):
    """Purges that are carried out together: how long topics keep records, by topic, and the purges that are over."""

    store: ResultStore
    kept: dict[str, Retention]
    over: list[tuple[AskedPurge, PurgeOutcome]]


class Purging:
    """Carries out stored purges, one after the other, in a thread and with connections of its own.

    ``store`` is asked whether there are any; ``open_store`` gives the one to delete from.
    """

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        clock: Clock,
        store: ResultStore,
        open_store: Callable[[], ResultStore],
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._store = store
        self._open_store = open_store
        self._topics = Topics.of(settings)
        self._log_throttle = LogThrottle(clock)
        self._stopping = Event()
        self._work: asyncio.Future[float] | None = None
        # None: since then purges are carried out
        self._look_at_s: float | None = clock.monotonic_s()

    def expect(self) -> None:
        """Look for purges at once."""
        self._look_at_s = self._clock.monotonic_s()

    def look(self) -> None:
        """Begin to carry out purges if it is time to look for them."""
        if self._work is not None:
            if not self._work.done():
                return
            again_at_s = self._clock.monotonic_s() + self._work.result()
            # one that came meanwhile may have been overlooked
            self._look_at_s = again_at_s if self._look_at_s is None else min(again_at_s, self._look_at_s)
            self._work = None
        if self._look_at_s is not None and self._clock.monotonic_s() >= self._look_at_s:
            self._look_at_s = None
            self._work = asyncio.ensure_future(asyncio.to_thread(self._carry_out_all))

    async def close(self) -> None:
        """Stop between two steps; the next sink goes on."""
        self._stopping.set()
        if self._work is not None:
            await self._work

    def _carry_out_all(self) -> float:
        """Carry out what can be; return in how many seconds to look again."""
        try:
            asked = self._store.purges_to_do()
            if not asked:
                return LOOK_EVERY_S
            with closing(self._open_store()) as store:
                round_ = _Round(store, {}, [])
                pause_s = min(self._pause_after(round_, each) for each in asked)
                self._finish(round_)
        except StoreError as error:
            self._say_it_waits(error)
            return WAIT_S
        # there may be more than were asked for
        return WAIT_S if len(asked) >= MOST_TO_DO else pause_s

    def _pause_after(self, round_: _Round, asked: AskedPurge) -> float:
        """Delete what one purge is about; return in how many seconds to look again."""
        try:
            is_over = self._stopping.is_set() or self._delete(round_, asked)
        except (StoreError, BrokerUnavailable) as error:
            self._say_it_waits(error)
            is_over = False
        except Exception as error:
            # one that cannot be carried out holds up neither the others nor what the sink stores
            if self._log_throttle.may_log("purge failed"):
                logger.error("A purge failed; it is tried again in a minute.", exc_info=error)
            return LOOK_EVERY_S
        return LOOK_EVERY_S if is_over else WAIT_S

    def _say_it_waits(self, error: Exception) -> None:
        if self._log_throttle.may_log("purge"):
            logger.warning("A purge waits: %s", error)

    def _delete(self, round_: _Round, asked: AskedPurge) -> bool:
        """Delete what one purge is about; return whether nothing is left."""
        store = round_.store
        changelog = Partition(self._topics.monitors_changelog, asked.partition)
        if store.offsets().get(changelog, 0) < asked.deletion:
            return False
        if not asked.was_watched:
            number = store.partition_of_watched(asked.user_id, asked.ended_at)
            if number is not None:
                why = f"the user is on partition {number}, and the command came to the worker of {asked.partition}"
                round_.over.append((asked, PurgeOutcome(refused=why)))
                return True
        if not round_.kept:
            round_.kept.update(kept_on_topics(self._settings, self._clients.admin()))
        remains = remains_of(round_.kept, asked.ended_at)
        guarded = guarded_until(self._settings, remains, asked.ended_at)
        purge = Purge(asked.user_id, asked.ended_at, guarded, {changelog: asked.deletion}, asked.key)
        self._patiently(lambda: store.begin_purge(purge))
        while self._patiently(lambda: store.purge_some(purge, ROWS_AT_ONCE)):
            if self._stopping.is_set():
                return False
        round_.over.append((asked, PurgeOutcome(guarded, tuple(remains))))
        return True

    def _finish(self, round_: _Round) -> None:
        """Note the purges that are over, once no old page holds anything of them. Raises StoreError."""
        if round_.kept:
            self._patiently(round_.store.drop_old_pages)
        for asked, outcome in round_.over:
            self._patiently(partial(round_.store.finish_purge, asked, outcome, self._clock.now_ms()))
        if round_.over:
            logger.info("%d purges of users are over", len(round_.over))

    def _patiently(self, call: Callable[[], Value]) -> Value:
        """Call ``call`` again while a batch holds the database; return its result. Raises StoreBusy after a while."""
        return retry_for(BUSY_PATIENCE_S, StoreBusy, call, self._clock)


def kept_on_topics(settings: Settings, admin: Admin) -> dict[str, Retention]:
    """Return for how long topics that hold records of users keep them, by topic. Raises BrokerUnavailable."""
    topics = Topics.of(settings)
    # progress names partitions and no user; tokens that are limited to the user stay until they are revoked,
    # and bulk jobs that name it until they are forgotten, a week after they ended
    names = [name for name in topics.all if name not in (topics.progress, topics.access, topics.jobs)]
    try:
        kept = retentions(admin, names)
    except AccessError as error:
        kept = [Retention(name, None, f"not known: {error}") for name in names]
    return {each.topic: each for each in kept}


def remains_of(kept: Mapping[str, Retention], ended_at: int) -> list[Remains]:
    """Return the topics that may hold records of a user who ended then, ms."""
    return [
        Remains(each.topic, None if each.longest_ms is None else ended_at + each.longest_ms, each.rule)
        for each in kept.values()
    ]


def guarded_until(settings: Settings, remains: Iterable[Remains], ended_at: int) -> int:
    """Return the instant until which no sink must store records of a purged user, ms.

    A tick that waits for as long as its topic keeps it may be run after all: its result stays for its own topic's time.
    """
    topics = Topics.of(settings)
    until = {each.topic: each.until for each in remains}
    waiting = [until[name] for name in topics.all_ticks]
    stored = [until[name] for name in topics.stored]
    instants = [instant for instant in (*waiting, *stored) if instant is not None]
    if len(instants) < len(waiting) + len(stored):
        return LATEST_MS
    return max(instants[: len(waiting)]) + max(instants[len(waiting) :]) - ended_at
