"""Settings to the Faust app of a worker: topics, table, agents."""

import logging
import os
import socket
import threading
from collections.abc import Set
from pathlib import Path
from typing import Any

import faust
from yarl import URL

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.core.private_files import make_private_folder
from everwatch.kafka.clients import Clients, KafkaClients
from everwatch.kafka.consumer_groups import worker_client_id
from everwatch.kafka.tls_files import tls_context
from everwatch.kafka.topics import Topics
from streams.agents.isolation import PoisonIsolation
from streams.engine import Engine
from streams.options import DEFAULT_OPTIONS, WorkerOptions
from streams.state.faust_recovery import PromptTables, StandbyRecovery
from streams.transport.batch_consumer import RecordBatch
from streams.transport.faust_transport import Transport
from streams.transport.group_membership import heartbeat_s, leave_group, member_name

logger = logging.getLogger(__name__)
FAUST_S = 3.0


class App(faust.App):
    """A Faust app whose engine stops first, while agents and the consumer are still there.

    ``unread``: the topics that Faust assigns and does not read.
    """

    engine: Engine
    unread: Set[str]

    async def on_stop(self) -> None:
        """Stop the engine, leave the group, then stop Faust; Faust calls this."""
        await self.engine.stop()
        if self._consumer is not None and not self.crashed:
            await leave_group(self._consumer)
        # everything that must be kept is kept now, and Faust would wait for a broker that is unavailable
        give_up = threading.Timer(FAUST_S, self._exit)
        give_up.daemon = True
        give_up.start()
        await super().on_stop()

    @property
    def ended_for(self) -> EverwatchError | None:
        """Return the error with a sentence that ended the worker; None after an ordinary stop, and after a crash."""
        reasons = (self.engine.access_error, self.engine.crash_reason, self.crash_reason)
        return next((reason for reason in reasons if isinstance(reason, EverwatchError)), None)

    def _exit(self) -> None:
        reason = self.ended_for
        if reason is not None:
            logger.error("%s", reason)
        os._exit(reason.exit_code if reason is not None else int(self.crashed))

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self, unread=self.unread)


def create_app(
    settings: Settings,
    bootstrap_servers: str,
    clock: Clock,
    folder: Path,
    *,
    clients: Clients | None = None,
    options: WorkerOptions = DEFAULT_OPTIONS,
) -> tuple[App, Engine]:
    """The Faust app of one worker, whose local state lives in ``folder``, and the engine to be started before it.

    ``clients``: those of the engine; default: clients of ``bootstrap_servers``, which Faust's own consumer reads from.
    """
    make_private_folder(folder)
    member = member_name(folder, folder.name)
    app = App(
        settings.application,
        broker=[URL(f"kafka://{server.strip()}") for server in bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings),
        broker_client_id=worker_client_id(socket.gethostname(), folder.name),
        broker_session_timeout=settings.session_timeout_ms / 1000,
        # Faust refuses to start with a longer session than this, which is 90 s by default
        broker_request_timeout=max(90.0, settings.session_timeout_ms / 1000),
        broker_heartbeat_interval=heartbeat_s(settings.session_timeout_ms),
        consumer_group_instance_id=member,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication_factor,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=settings.standby_replicas,
        key_serializer="raw",
        value_serializer="raw",
        datadir=folder,
        # an input that is not acknowledged is read again by the next owner: nothing to wait for
        stream_wait_empty=False,
        web_enabled=False,
        # the examination of tables does more
        recovery_consistency_check=False,
        TableManager=PromptTables,
    )
    app.unread = {Topics.of(settings).commands}
    app.tables._recovery = StandbyRecovery(app, app.tables, beacon=app.tables.beacon, loop=app.loop)  # type: ignore[attr-defined]
    engine = app.engine = Engine(
        app, settings, clients or KafkaClients(settings, bootstrap_servers), clock, member, options
    )
    _declare_agents(app, engine, settings)

    async def on_revoked(*_: Any, **__: Any) -> None:
        await engine.events.revoked()

    # a weak reference would be gone as soon as this function returns
    app.on_partitions_revoked.connect(on_revoked, weak=False)
    return app, engine


def _declare_agents(app: faust.App, engine: Engine, settings: Settings) -> None:
    topics = Topics.of(settings)
    names = {
        topics.signups: "signups",
        topics.commands: "commands",
        topics.signals: "signals",
        topics.results: "feedback",
    }
    for topic, channel in engine.channels.items():
        _declare_agent(app, channel, names[topic], engine.isolations[topic])

    # for the assignment alone: this stream yields nothing (``faust_transport``). One input stands for all: topics
    # have one partition count, so the partitions of the table that Faust assigns (``MonitorsTable.on_rebalance``) are
    # those of every input, and batch consumers assign them to themselves
    @app.agent(app.topic(topics.commands, key_serializer="raw", value_serializer="raw"), name="assignment")
    async def ignore(stream: Any) -> None:
        async for _ in stream:
            pass


def _declare_agent(app: faust.App, channel: Any, name: str, isolation: PoisonIsolation) -> None:
    @app.agent(channel, name=name)
    async def take(batches: Any) -> None:
        batch: RecordBatch
        async for batch in batches:
            with batch.handling() as rest:
                await isolation.run(rest)


def _credentials(settings: Settings) -> Any:
    context = tls_context(settings)
    if settings.security_protocol.value.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            mechanism=settings.sasl_mechanism.value,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None
