"""The process ``everwatch api``."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from typing import Any

from confluent_kafka import Producer

from everwatch.api.access import Access
from everwatch.api.address import address_of, is_loopback
from everwatch.api.alerting import NotifierDatabase
from everwatch.api.audit_runs import AuditRunWork
from everwatch.api.auditing import AuditLog
from everwatch.api.backup_age import LOOK_EVERY_S, measure_backup
from everwatch.api.bulk_job_work import BulkJobWork
from everwatch.api.client_address import TrustedProxies
from everwatch.api.commanding import KafkaCommands
from everwatch.api.console_routes import CONSOLE
from everwatch.api.database import Database, wait_for_position
from everwatch.api.edge_options import EdgeOptions
from everwatch.api.inspecting import Looks
from everwatch.api.job_records import Jobs
from everwatch.api.job_writing import JobWriter
from everwatch.api.leased_work import LeasedRunner, Leases
from everwatch.api.letters import redriving
from everwatch.api.live import Following, Live
from everwatch.api.login_routes import oidc_login_of
from everwatch.api.logins import Logins, new_login
from everwatch.api.permissions import Role
from everwatch.api.pinging import PingKeys
from everwatch.api.saved_views import SavedViews
from everwatch.api.server import Server
from everwatch.api.services import Services
from everwatch.api.tokens import Tokens, encoded, key_of, new_ping_secret, new_text
from everwatch.api.used_keys import UsedKeys
from everwatch.console.files import ConsoleFiles
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.core.process_memory import expect_batches
from everwatch.diagnosis import CHECKS, Finding, System, diagnose
from everwatch.kafka.acknowledging import AcknowledgingProducer
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients, KafkaClients
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.dead_letter_reader import DeadLetterTopic
from everwatch.kafka.dead_letter_record import DeadLetter, SourcePosition
from everwatch.kafka.following import Follower, OnRecords, Start
from everwatch.kafka.group_members import owners_of
from everwatch.kafka.lag import Lag
from everwatch.kafka.lasting_admin import LastingAdmin
from everwatch.kafka.process_figures import GroupMembers
from everwatch.kafka.redrive import Redriver
from everwatch.kafka.replaying import replay
from everwatch.kafka.topic_administration import TopicState, check_topics, problems_of
from everwatch.kafka.topics import Topics
from everwatch.kafka.trials import KafkaTrials
from everwatch.kinds.execution.config_secrets import config_secrets
from everwatch.model import Policy
from everwatch.notifier.status_file import StatusPagesFile
from everwatch.notifier.storage import open_existing
from everwatch.operations.dead_letter_view import plain
from everwatch.plans.plans_file import PlansFile
from everwatch.processes import Process
from everwatch.processes.open_files import allow_many_files
from everwatch.processes.periodic import Periodic
from everwatch.store.database_status import status_of
from everwatch.store.plan_keeping import NO_PLANS, PlanKeeping
from everwatch.store.sql_reader import open_reader

DELIVERED_WITHIN_MS = 8_000
"""Time for a record's acknowledgement, s; then its request fails. Less than a request's deadline."""
MOST_QUEUED = 100_000
READ_UP_WITHIN_S = 60.0
LOOK_AT_FILE_S = 10.0
# what concerns the whole system, and not the machine and the rights of one process
_DIAGNOSED = frozenset(
    {
        *("broker", "topics", "workers", "ticks", "changelog", "executors", "sink", "notifier"),
        *("transactions", "unreadable", "dead letters", "database", "disk"),
    }
)
Say = Callable[[str], None]


class Api(Process):
    """Serves the API on a bound socket. It keeps nothing: several run side by side, and any may be killed.

    ``say`` prints the addresses, and where no administrator has a token one for this run and a link. ``start`` raises
    BrokerUnavailable, AccessError, and SettingsError for an address that others reach where no administrator has a
    token. ``clients``: of this process's own reads and writes; lag, findings and the replay of results use
    ``bootstrap_servers``.
    """

    name = "api"

    def __init__(
        self,
        settings: Settings,
        bootstrap_servers: str,
        clock: Clock,
        sock: socket.socket,
        say: Say,
        clients: Clients | None = None,
    ) -> None:
        super().__init__(settings, clock)
        self._bootstrap_servers = bootstrap_servers
        self._clients = clients or KafkaClients(settings, bootstrap_servers)
        self._sock = sock
        self._say = say
        self._topics = Topics.of(settings)
        self._tokens = Tokens(settings)
        self._logins = Logins()
        self._ping_keys = PingKeys()
        self._console = ConsoleFiles()
        self._jobs = Jobs(clock)
        self._views = SavedViews()
        self._used_keys = UsedKeys(clock)
        self._status_pages = StatusPagesFile(settings.status_file)
        self._oidc = oidc_login_of(settings)
        self._producer: AcknowledgingProducer | None = None
        self._followers: list[Follower] = []
        self._database: Database | None = None
        self._alerts: NotifierDatabase | None = None
        self._server: Server | None = None
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the tokens, follow the answers of workers, and begin to serve."""
        allow_many_files()
        self._producer = producer = AcknowledgingProducer(self._new_producer)
        commands = KafkaCommands(self._topics, producer)
        access = Access(self._tokens, self._logins, self._ping_keys, self.clock)
        await self._follow({self._topics.access: Start.BEGINNING}, access.take)
        await self._follow({self._topics.replies: Start.END}, commands.take)
        await self._follow({self._topics.jobs: Start.BEGINNING}, self._take_shared)
        if self._ping_keys.is_empty:
            secret = new_ping_secret(self.clock.now_ms())
            await producer.send(self._topics.access, key_of(secret), encoded(secret))
            self._ping_keys.put(secret)
        token = self._make_administrator()
        self._database = database = Database(lambda: open_reader(self.settings), self.clock)
        self._alerts = alerts = NotifierDatabase(lambda: open_existing(self.settings), self.clock, threads=1)
        changelog = self._topics.monitors_changelog
        trials = KafkaTrials(self._topics, producer)
        await self._follow({self._topics.trial_results: Start.END}, trials.take)
        services = self._services(database, alerts, commands, producer, trials)
        if self.settings.backup_dir is not None:
            look = partial(measure_backup, self.settings.backup_dir)
            self.begin("backups", Periodic(look, LOOK_EVERY_S).run())
        clock, jobs = self.clock, self._jobs
        leases = Leases(self.settings.instance, jobs, services.job_writer, clock)
        work = LeasedRunner(
            leases,
            (
                BulkJobWork(leases, database, commands, services.audit, clock),
                AuditRunWork(jobs, leases, database, self._topics, self._measure_lag, clock),
            ),
            clock,
        )
        self._server = Server(
            services,
            lambda position, deadline_s: wait_for_position(database, changelog, position, deadline_s),
            EdgeOptions(
                frozenset(self.settings.api_origins),
                TrustedProxies(self.settings.api_trusted_proxies),
                self.settings.api_requests_per_min,
            ),
        )
        # to look for cycles among all that is loaded would stop every request for 50 ms, each few seconds
        expect_batches()
        await self._server.start(self._sock)
        self._work = self.begin("jobs", work.run())
        self.begin("files", self._follow_files())
        address = address_of(self._sock)
        if token:
            login = new_login(Role.ADMIN, self.clock.now_ms())
            await producer.send(self._topics.access, key_of(login.record), encoded(login.record))
            self._say(f"Console: {login.link(address)}  (opens once, within 10 minutes)")
        else:
            self._say(f"Console: {address}{CONSOLE}  (log in there, or by 'everwatch api-token login-link')")
        self._say(f"API: {address}")
        if token:
            self._say(f"Token of an administrator, for this run: {token}")

    async def stop(self) -> None:
        """Take no more requests, end those that are under way, and close all parts."""
        if self._server is not None:
            await self._server.stop()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
        for follower in self._followers:
            await follower.close()
        if self._producer is not None:
            await self._producer.close()
        for each in (self._database, self._alerts):
            if each is not None:
                each.close()
        self._sock.close()

    def _services(
        self,
        database: Database,
        alerts: NotifierDatabase,
        commands: KafkaCommands,
        producer: AcknowledgingProducer,
        trials: KafkaTrials,
    ) -> Services:
        file = self.settings.plans_file
        plans = None if file is None else PlansFile(file)
        return Services(
            self.clock,
            database,
            commands,
            self._tokens,
            self._logins,
            self._ping_keys,
            config_secrets(self.settings),
            producer,
            self._topics.access,
            self._measure_lag,
            self._owners,
            self._diagnose,
            lambda: None if plans is None else plans.current,
            self.health.not_ready,
            Live(
                self._topics,
                self._follow_events,
                lambda wanted: replay(self.settings, self._bootstrap_servers, self.clock, wanted),
                lambda principal: self._tokens.is_valid(principal, self.clock.now_ms()),
                self.clock,
            ),
            self._console,
            alerts,
            AuditLog(producer, self._topics.audit, self.clock, self.settings.output_format),
            redriving(
                lambda: DeadLetterTopic(self.settings, self._clients, self.clock),
                lambda: Redriver(self._new_producer(), self._topics, self.clock),
                self._topics,
                self.settings.topic_prefix,
            ),
            self._jobs,
            JobWriter(producer, self._topics.jobs, self._jobs),
            self._topics.incidents,
            trials,
            self._status_pages,
            self._oidc,
            self.settings.oidc_session_min * 60_000,
            self._views,
            self._topics.jobs,
            self._used_keys,
            Looks(
                lambda: status_of(self.settings, PlanKeeping.of(plans.current.keep_days) if plans else NO_PLANS),
                lambda: self._admin.ask(self._look_at_topics),
                self._letter_on_topic,
            ),
        )

    async def _follow_files(self) -> None:
        if self._oidc.provider is not None:
            await self._oidc.provider.look(self.clock.now_ms())
        await Periodic(self._look_at_files, LOOK_AT_FILE_S).run()

    async def _look_at_files(self) -> None:
        await asyncio.to_thread(self._status_pages.look)
        await asyncio.to_thread(self._tokens.of_users.look)
        await self._tokens.of_users.refresh(self.clock.now_ms())

    async def _follow_events(self, take: OnRecords) -> Following:
        topics = {self._topics.results: Start.END, self._topics.transitions: Start.END}
        follower = await asyncio.to_thread(Follower, self.settings, self._clients, self.clock, topics, take)
        follower.start()
        return Following(follower.starts, follower.close)

    def _make_administrator(self) -> str:
        """See to it that an administrator can get in: on loopback by a token of this run, else only by their own.

        Gives that token; "" if there is none, as an administrator has one.
        """
        if self._tokens.has_admin(self.clock.now_ms()):
            return ""
        if not is_loopback(self._sock):
            raise SettingsError(
                f"The API would listen on {self._sock.getsockname()[0]}, and there is no administrator: make a token"
                " with 'everwatch api-token create NAME --role admin' or an operator with 'everwatch operator add NAME"
                " --role admin', or set EVERWATCH_API_ADMIN_TOKEN."
            )
        text = new_text(Role.ADMIN)
        self._tokens.give(text)
        return text

    def _take_shared(self, records: Sequence[Record]) -> None:
        self._jobs.take(records)
        self._views.take(records)
        self._used_keys.take(records)

    def _measure_lag(self) -> Lag:
        return System(self.settings, self._bootstrap_servers, self.clock).measure_lag()

    def _owners(self, partition: int, policy: Policy) -> GroupMembers:
        regions = policy.regions
        return self._admin.ask(
            lambda admin: owners_of(admin, self.settings, partition, policy.priority, regions=regions)
        )

    def _diagnose(self) -> list[Finding]:
        system = System(self.settings, self._bootstrap_servers, self.clock)
        return list(diagnose(system, [check for check in CHECKS if check.name in _DIAGNOSED]))

    def _look_at_topics(self, admin: Admin) -> tuple[Sequence[TopicState], Sequence[str]]:
        states = check_topics(admin, self.settings)
        return states, problems_of(states, self.settings)

    def _letter_on_topic(self, partition: int, offset: int) -> Mapping[str, Any] | None:
        with closing(DeadLetterTopic(self.settings, self._clients, self.clock)) as topic:
            found = topic.one(SourcePosition(self._topics.dead_letters, partition, offset))
        return plain(found, None, self._topics, secrets=True) if isinstance(found, DeadLetter) else None

    @cached_property
    def _admin(self) -> LastingAdmin:
        return LastingAdmin(self._clients.admin)

    def _new_producer(self) -> Producer:
        return self._clients.producer(
            **{
                "delivery.timeout.ms": DELIVERED_WITHIN_MS,
                "queue.buffering.max.messages": MOST_QUEUED,
                "linger.ms": 5,
            },
        )

    async def _follow(self, topics: Mapping[str, Start], take: OnRecords) -> None:
        follower = await asyncio.to_thread(Follower, self.settings, self._clients, self.clock, topics, take)
        self._followers.append(follower)
        await asyncio.to_thread(follower.read_up, READ_UP_WITHIN_S)
        follower.start()
