"""The notifier process: three loops over one database, each step of them a transaction.

Intake takes records in with their offsets; planning judges them and makes messages; sending hands these over. They
share one thread for the database, so with SQLite no two of them wait for its lock.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from ipaddress import ip_network
from typing import TypeVar

from everwatch.core.bisection import Bisection
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import is_retryable
from everwatch.core.process_memory import expect_batches
from everwatch.core.retrying import retry
from everwatch.kafka.acknowledging import AcknowledgingProducer
from everwatch.kafka.clients import Clients, KafkaClients
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.stored_source import Source
from everwatch.kafka.topics import Topics
from everwatch.network.egress import outgoing_of
from everwatch.network.guard import Guard
from everwatch.network.http_client import HttpClient
from everwatch.network.resolver import Resolver
from everwatch.notifier.dispatch import Dispatcher, Limits, Senders
from everwatch.notifier.doubts import resolve_doubts
from everwatch.notifier.housekeeping import chores, run_chores
from everwatch.notifier.intake import build_batch, take_in
from everwatch.notifier.judging import ask_contacts
from everwatch.notifier.metrics import TAKEN_IN
from everwatch.notifier.outcome_publisher import DELIVERED_WITHIN_MS, OutcomePublisher
from everwatch.notifier.planner import Planner
from everwatch.notifier.refused_records import RefusedRecords
from everwatch.notifier.route_rows import listed_routes
from everwatch.notifier.routes import Rules
from everwatch.notifier.rules_file import RulesFile
from everwatch.notifier.senders.apprise import AppriseSender
from everwatch.notifier.senders.mail import MailSender
from everwatch.notifier.senders.over_http import HttpSender
from everwatch.notifier.status_file import StatusPagesFile
from everwatch.notifier.storage import SCHEMA, Storage, database_url_of, open_storage
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.metrics import INPUT_LAG
from everwatch.processes import Process
from everwatch.processes.periodic import Periodic
from everwatch.store.database import as_writer
from everwatch.store.interface import StoreBusy

logger = logging.getLogger(__name__)

MOST_RECORDS = 5_000
WAIT_S = 0.2
PLAN_EVERY_S = 0.25
FINISH_S = 5.0
HOUSEKEEPING_EVERY_S = 10.0
# whatever an operator names in the rules may be reached: they could send there by hand
_ANYWHERE = Guard((ip_network("0.0.0.0/0"), ip_network("::/0")))

Value = TypeVar("Value")


class Notifier(Process):
    """Sends alerts on transitions to people, by the rules of EVERWATCH_NOTIFY_FILE.

    Offsets are stored with what is taken in, so a transition is taken in once however the process ends. Waits while no
    broker answers or the database is unavailable. ``start`` and ``run`` raise StoreError when the database cannot be
    used, or has a notifier already and takes no other.
    """

    name = "notifier"

    def __init__(
        self,
        settings: Settings,
        bootstrap_servers: str,
        clock: Clock,
        rules: RulesFile,
        clients: Clients | None = None,
        open_storage: Callable[[Settings], Storage] = open_storage,
    ) -> None:
        super().__init__(settings, clock)
        self._open_storage = open_storage
        self._given_clients = clients
        self._bootstrap_servers = bootstrap_servers
        self._topics = Topics.of(settings)
        self._rules = rules
        self._pages = StatusPagesFile(settings.status_file)
        self._claim = ExitStack()
        self._clients = AsyncExitStack()
        self._thread = ThreadPoolExecutor(1, "database")
        self._storage: Storage | None = None
        self._source: Source | None = None
        self._refused: RefusedRecords | None = None
        self._dispatcher: Dispatcher | None = None
        self._publisher: OutcomePublisher | None = None
        self._log_throttle = LogThrottle(clock)
        self._planned = asyncio.Event()
        self.health.expect("database", lambda: "" if self._storage else "it is not open yet")
        self.health.expect("assignment", self._why_not_assigned)

    async def start(self) -> None:
        """Become the database's notifier, and decide on what its last one was sending."""
        expect_batches()
        url = database_url_of(self.settings)
        self._claim.enter_context(as_writer(url, SCHEMA.process))
        self._storage = await self._in_database(partial(self._open_storage, self.settings))
        # with SQLite no other notifier runs; else an attempt is in doubt when its lease is over
        is_alone = url.startswith("sqlite")
        rules, now = self._current, self.clock.now_ms()
        await self._in_database(partial(_note_beginning, self._storage, now))
        await self._in_database(partial(_note_routes, self._storage, rules))
        doubtful = await self._in_database(partial(resolve_doubts, self._storage, rules, now, everything=is_alone))
        if doubtful:
            logger.warning("%d messages were being sent when the last notifier ended", doubtful)
        if not self._current.routes:
            logger.warning("there is no route: incidents are kept, and no alert is sent (EVERWATCH_NOTIFY_FILE)")
        resolver = Resolver(self.clock, ())
        self._clients.push_async_callback(resolver.close)
        outgoing = outgoing_of(self.settings)
        at_once = self.settings.notifier_per_receiver
        guarded = HttpClient(self.clock, Guard(self.settings.allow_networks), resolver, outgoing, at_once)
        free = HttpClient(self.clock, _ANYWHERE, resolver, outgoing, at_once)
        mail = MailSender(self.clock, outgoing.ca_file)
        for close in (guarded.close, free.close, mail.close):
            self._clients.push_async_callback(close)
        self._dispatcher = Dispatcher(
            self._storage,
            lambda: self._current,
            Senders(AppriseSender(HttpSender(self.clock, guarded, free)), mail),
            self.clock,
            Limits(self.settings.notifier_in_flight, self.settings.notifier_per_receiver),
            self._in_database,
        )

    async def run(self) -> None:
        """Take in, plan and send until the process stops."""
        assert self._storage is not None
        assert self._dispatcher is not None
        clients = self._given_clients or KafkaClients(self.settings, self._bootstrap_servers)
        self._refused = RefusedRecords(clients, self._topics, self.clock, self._complain)
        self._clients.push_async_callback(self._refused.close)
        self._source = Source(
            self.settings,
            clients,
            self._storage,
            self.clock,
            self._topics.notified,
            SCHEMA.process,
        )
        logger.info("telling of %s by %d routes", self._topics.transitions, len(self._current.routes))
        producer = AcknowledgingProducer(lambda: clients.producer(**{"delivery.timeout.ms": DELIVERED_WITHIN_MS}))
        self._clients.push_async_callback(producer.close)
        self._publisher = OutcomePublisher(
            self._open, producer, self._topics.notifications, self.clock, self._in_database, self._complain
        )
        self.begin("publishing of outcomes", self._publisher.run())
        self.begin("planning", self._plan())
        sending = self.begin("sending", self._dispatcher.run())
        self.begin("housekeeping", Periodic(self._keep_house, HOUSEKEEPING_EVERY_S, at_once=False).run())
        try:
            while not self.stopping.is_set():
                await self._take(self._source)
        except Exception as error:
            # noted before its parts end because of it
            self.fail(error)
            raise
        finally:
            self._dispatcher.stop()
            await asyncio.wait({sending}, timeout=FINISH_S)
            await self._dispatcher.finish(FINISH_S)

    async def stop(self) -> None:
        """Leave the group and close the database."""
        if self._source is not None:
            await asyncio.to_thread(self._source.close)
        await self.end_parts()
        if self._publisher is not None:
            await self._publisher.finish()
        await self._clients.aclose()
        try:
            if self._storage is not None:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._storage.close)
        finally:
            self._thread.shutdown(wait=False)
            self._claim.close()

    # --- the loops ----------------------------------------------------------------------------------------------------

    async def _take(self, source: Source) -> None:
        records, unreadable, lost = await self._while_busy(lambda: asyncio.to_thread(source.take, MOST_RECORDS, WAIT_S))
        first_ms = records[0].timestamp_ms if records else 0
        INPUT_LAG.labels(self._topics.transitions).set(max(0, self.clock.now_ms() - first_ms) / 1000 if records else 0)
        assert self._refused is not None
        # the next record has the offset behind it
        await self._refused.bury_unreadable(unreadable)
        work = Bisection(records)
        while part := work.part:
            try:
                await self._store(source, part)
            except Exception as error:
                if is_retryable(error):
                    raise
                self._complain("poison", f"{len(part)} records could not be taken in: {error}")
                if not work.failed():
                    continue
                await self._refused.bury_poison(part, error)
                await self._store(source, part, empty=True)
            work.done()
        if lost:
            await self._in_database(partial(self._open.forget_offsets, lost))
            await asyncio.to_thread(source.restart, lost)

    async def _store(self, source: Source, part: Sequence[Record], *, empty: bool = False) -> None:
        """Take records in with their offsets; ``empty``: the offsets alone, of what the database does not take."""
        batch = await asyncio.to_thread(build_batch, part, self._topics, self.clock.now_ms())
        if empty:
            batch = batch._replace(transitions=[], entries=[], requests=[], refused=[])
        assert self._refused is not None
        await self._refused.bury(batch.refused)
        await self._in_database(partial(take_in, self._open, batch, self._current))
        source.commit(batch.offsets)
        rules, users = self._current, {each.user_id for each in batch.entries if each.user is not None}
        if rules.contacts.verify and users:
            await self._in_database(partial(ask_contacts, self._open, rules, users, self.clock.now_ms()))
        if batch.transitions:
            TAKEN_IN.inc(len(batch.transitions))
            self._planned.set()

    async def _plan(self) -> None:
        planner = Planner(self._open, self._topics.transitions, self._complain)
        assert self._dispatcher is not None
        while True:
            # each step by itself: what is sent, and what comes in, has its turn between them
            judged = await self._in_database(lambda: planner.judge(self._current, self._numbers(), self.clock.now_ms()))
            composed = await self._in_database(lambda: planner.compose(self._current, self.clock.now_ms()))
            if composed:
                self._dispatcher.wake()
            if judged or composed:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(PLAN_EVERY_S):
                    await self._planned.wait()
            self._planned.clear()

    async def _keep_house(self) -> None:
        """Follow the rules' file, and do the periodic work."""
        before = self._rules.current
        await asyncio.to_thread(self._rules.look)
        if self._rules.current is not before:
            await self._in_database(partial(_note_routes, self._open, self._rules.current))
        await asyncio.to_thread(self._pages.look)
        now = self.clock.now_ms()
        days, pages = self.settings.keep_deliveries_days, self._pages.current
        todo = chores(self._open, self._current, now, days, pages)
        await run_chores(todo, self._in_database, self._complain)

    # --- the database -------------------------------------------------------------------------------------------------

    @property
    def _open(self) -> Storage:
        assert self._storage is not None
        return self._storage

    @property
    def _current(self) -> Rules:
        """The rules, with the addresses of the people on call now."""
        return self._rules.current.at(self.clock.now_ms())

    def _numbers(self) -> list[int]:
        """The partitions that this notifier has."""
        assigned = self._source.assigned if self._source is not None else frozenset()
        return [partition.number for partition in assigned if partition.topic == self._topics.transitions]

    async def _in_database(self, call: Callable[[], Value]) -> Value:
        """Call ``call`` in the thread of the database, again while that is busy or away, and return its result."""
        loop = asyncio.get_running_loop()
        return await self._while_busy(lambda: loop.run_in_executor(self._thread, call))

    async def _while_busy(self, call: Callable[[], Awaitable[Value]]) -> Value:
        return await retry(StoreBusy, call, lambda error: self._complain("busy", f"{error} The notifier waits for it."))

    def _complain(self, about: str, sentence: str) -> None:
        if self._log_throttle.may_log(about):
            logger.warning("%s (logged once a minute)", sentence)

    def _why_not_assigned(self) -> str:
        return "" if self._source is not None and self._source.is_member else "not in the consumer group yet"


def _note_beginning(storage: Storage, now: int) -> None:
    # not with the first batch: that may hold the very first signup, and the down that came of it just before
    with storage.begin() as work:
        work.begun_at(now)
        work.make_link_secret()


def _note_routes(storage: Storage, rules: Rules) -> None:
    with storage.begin() as work:
        work.put_routes(listed_routes(rules))
