"""Purges of users, which the sink carries out beside its batches.

Every step may be repeated. Order: the worker has ended the user and the sink has stored that (or never will: the
changelog is another one since, and the database has no such user); from then on nothing of before is stored
(``ResultStore.begin_purge``); what is stored goes, some rows at a time; the outcome is noted.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from everwatch.sink.unstored_changelog import UnstoredChangelog
from everwatch.store import Partition, Purge, ResultStore, StoreBusy
from everwatch.store.purged_users import MOST_TO_DO, AskedPurge, PurgeOutcome, Remains

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
ROWS_AT_ONCE = 2_000
BUSY_PATIENCE_S = 5.0
LOOK_EVERY_S = 60.0
"""How often purges are looked for that another sink has left."""
WAIT_S = 0.5
"""When to look again for a purge whose user's end is not stored yet; later, the longer it waits."""
SAY_AFTER_S = 60.0
SLICE_S = 2.0
"""For how long one purge deletes before it is the others' turn."""
MOST_WAITING = 10_000
"""Purges of which is known since when they wait."""


class _Round(NamedTuple):
    """Purges that are carried out together: how long topics keep records, by topic, and the purges that are over."""

    store: ResultStore
    changelog: UnstoredChangelog
    stored: Mapping[Partition, int]
    kept: dict[str, Retention]
    over: list[tuple[AskedPurge, PurgeOutcome]]


class _Ready(NamedTuple):
    """A purge that can be carried out, and the topics that may hold records of its user."""

    asked: AskedPurge
    purge: Purge
    remains: list[Remains]


class _Waiting(NamedTuple):
    """A purge whose user's end is not stored yet: since when it waits, and when to look for it again, s."""

    since_s: float
    look_at_s: float


class Purging:
    """Carries out stored purges, each for a while in its turn, in a thread and with connections of its own.

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
        # the last one of those that had their turn; None: from the first one on
        self._after: AskedPurge | None = None
        # until it is their turn again, s
        self._pause_s = LOOK_EVERY_S
        self._waiting: dict[str, _Waiting] = {}
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
        return self._guarded(self._carry_out_some)

    def _carry_out_some(self) -> float:
        """Carry out those whose turn it is; return in how many seconds it is the next ones'. Raises StoreError."""
        asked = self._store.purges_to_do(self._after)
        # from the first one on again after the last one: none that waits keeps others from their turn
        is_last = len(asked) < MOST_TO_DO
        self._after = None if is_last else asked[-1]
        if asked:
            with closing(self._open_store()) as store:
                self._pause_s = min(self._pause_s, self._carry_out(store, asked))
        if not is_last:
            return WAIT_S
        pause_s, self._pause_s = self._pause_s, LOOK_EVERY_S
        return pause_s

    def _carry_out(self, store: ResultStore, asked: Sequence[AskedPurge]) -> float:
        """Carry out some purges, each for a while; return in how many seconds to look again. Raises StoreError."""
        stored = store.offsets()
        round_ = _Round(store, UnstoredChangelog(self._settings, self._clients, stored), stored, {}, [])
        pauses, ready = [LOOK_EVERY_S], list[_Ready]()
        for each in asked:
            pauses.append(self._guarded(partial(self._prepare, round_, each, ready)))
        self._patiently(lambda: store.begin_purge(*(each.purge for each in ready)))
        noted_s = self._clock.monotonic_s()
        for one in ready:
            pauses.append(self._guarded(partial(self._delete, round_, one)))
            if self._clock.monotonic_s() >= noted_s + SLICE_S:
                # those that are over do not wait for the others
                self._finish(round_)
                noted_s = self._clock.monotonic_s()
        self._finish(round_)
        return min(pauses)

    def _guarded(self, step: Callable[[], float]) -> float:
        """Take a step of one purge; return in how many seconds to look again, whatever goes wrong."""
        try:
            return WAIT_S if self._stopping.is_set() else step()
        except (StoreError, BrokerUnavailable, AccessError) as error:
            self._say_it_waits(error)
            return WAIT_S
        except Exception as error:
            # one that cannot be carried out holds up neither the others nor what the sink stores
            if self._log_throttle.may_log("purge failed"):
                logger.error("A purge failed; it is tried again in a minute.", exc_info=error)
            return LOOK_EVERY_S

    def _say_it_waits(self, error: Exception) -> None:
        if self._log_throttle.may_log("purge"):
            logger.warning("A purge waits: %s", error)

    def _prepare(self, round_: _Round, asked: AskedPurge, ready: list[_Ready]) -> float:
        """Add a purge to ``ready`` if it can be carried out; return in how many seconds to look for it again."""
        now_s = self._clock.monotonic_s()
        waiting = self._waiting.get(asked.key)
        if waiting is not None and now_s < waiting.look_at_s:
            return waiting.look_at_s - now_s
        changelog = Partition(self._topics.monitors_changelog, asked.partition)
        is_stored = round_.stored.get(changelog, 0) >= asked.deletion
        if not is_stored and round_.changelog.will_come(asked.partition, asked.deletion):
            return self._wait(asked, now_s)
        number = round_.store.partition_of_watched(asked.user_id, asked.ended_at)
        if number is None and not asked.was_watched and round_.changelog.may_hold(asked.user_id):
            # another worker may have it, and its signup is not stored yet
            return self._wait(asked, now_s)
        self._waiting.pop(asked.key, None)
        if number is not None:
            round_.over.append((asked, PurgeOutcome(refused=_why_refused(asked, number))))
            return LOOK_EVERY_S
        if not round_.kept:
            round_.kept.update(kept_on_topics(self._settings, self._clients.admin()))
        remains = remains_of(round_.kept, asked.ended_at)
        guarded = guarded_until(self._settings, remains, asked.ended_at)
        # an offset of an earlier changelog says nothing of this one, in which the user has ended: it is passed
        deletion = {changelog: asked.deletion if is_stored else 0}
        purge = Purge(asked.user_id, asked.ended_at, guarded, deletion, asked.key)
        ready.append(_Ready(asked, purge, remains))
        return LOOK_EVERY_S

    def _wait(self, asked: AskedPurge, now_s: float) -> float:
        """Note that a purge waits; return for how long, the longer the longer it has waited."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.clear()
        since_s = self._waiting.get(asked.key, _Waiting(now_s, now_s)).since_s
        pause_s = min(LOOK_EVERY_S, max(WAIT_S, (now_s - since_s) / 4))
        self._waiting[asked.key] = _Waiting(since_s, now_s + pause_s)
        if now_s - since_s >= SAY_AFTER_S and self._log_throttle.may_log("purge is late"):
            logger.warning(
                "A purge has waited for %d s: partition %d of %s is not stored up to offset %d yet, or sinks are far"
                " behind.",
                now_s - since_s,
                asked.partition,
                self._topics.monitors_changelog,
                asked.deletion,
            )
        return pause_s

    def _delete(self, round_: _Round, ready: _Ready) -> float:
        """Delete what one purge is about, for a while; return in how many seconds to go on."""
        until_s = self._clock.monotonic_s() + SLICE_S
        while self._patiently(lambda: round_.store.purge_some(ready.purge, ROWS_AT_ONCE)):
            if self._stopping.is_set() or self._clock.monotonic_s() >= until_s:
                return 0.0
        round_.over.append((ready.asked, PurgeOutcome(ready.purge.kept_until, tuple(ready.remains))))
        return LOOK_EVERY_S

    def _finish(self, round_: _Round) -> None:
        """Note the purges that are over, once no old page holds anything of them. Raises StoreError."""
        if not round_.over:
            return
        if round_.kept:
            self._patiently(round_.store.drop_old_pages)
        for asked, outcome in round_.over:
            self._patiently(partial(round_.store.finish_purge, asked, outcome, self._clock.now_ms()))
        logger.info("%d purges of users are over", len(round_.over))
        round_.over.clear()

    def _patiently(self, call: Callable[[], Value]) -> Value:
        """Call ``call`` again while a batch holds the database; return its result. Raises StoreBusy after a while."""
        return retry_for(BUSY_PATIENCE_S, StoreBusy, call, self._clock)


def _why_refused(asked: AskedPurge, number: int) -> str:
    """Return why nothing is deleted of a user that the database has on partition ``number``."""
    if asked.was_watched:
        return (
            f"the user is on partition {number} and signed up before it ended: at that very instant, or the changelog"
            " is another one since, as after a restore"
        )
    if number != asked.partition:
        return f"the user is on partition {number}, and the command came to the worker of {asked.partition}"
    return (
        f"the worker of partition {number} does not have the user, whom the database has there: its changelog was lost"
    )


def kept_on_topics(settings: Settings, admin: Admin) -> dict[str, Retention]:
    """Return for how long topics that hold records of users keep them, by topic. Raises BrokerUnavailable."""
    topics = Topics.of(settings)
    names = topics.of_users
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
