"""The API's server in the loop of a test, on the store in memory and a worker that answers at once.

All in one file: one server with fakes of everything that it asks.
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import orjson

from everwatch.api.access import Access
from everwatch.api.alerting import NotifierDatabase
from everwatch.api.auditing import AuditLog
from everwatch.api.client_address import TrustedProxies
from everwatch.api.cookies import cookie_name
from everwatch.api.database import Database
from everwatch.api.edge_options import EdgeOptions
from everwatch.api.inspecting import Looks
from everwatch.api.job_records import Jobs
from everwatch.api.job_writing import JobWriter
from everwatch.api.letters import redriving
from everwatch.api.live import BEAT_S, Following, Live
from everwatch.api.login_routes import oidc_login_of
from everwatch.api.logins import Logins
from everwatch.api.passwords import is_password
from everwatch.api.permissions import Role
from everwatch.api.pinging import PingKeys
from everwatch.api.problems import BEHIND, unavailable
from everwatch.api.saved_views import SavedViews
from everwatch.api.server import Server
from everwatch.api.services import Services
from everwatch.api.tokens import TokenLimits, Tokens, new_ping_secret, new_session, new_token
from everwatch.api.used_keys import UsedKeys
from everwatch.console.files import STATIC, ConsoleFiles
from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import EverwatchError, InvalidInput, RefusalCode, StoreError
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.encoding import codec
from everwatch.encoding.trial_records import TrialOutcome, TrialRequest
from everwatch.kafka.command_client import Asked
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.dead_letter_record import DeadLetter, Redriven, SourcePosition
from everwatch.kafka.lag import Lag
from everwatch.kafka.process_figures import GroupMembers
from everwatch.kafka.redrive import RedrivenLetter
from everwatch.kafka.topic_administration import TopicState
from everwatch.kafka.topics import Topics
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.model import AuditEntry, CommandOutcome, CommandType, Monitor, Priority, Reply, Status, User
from everwatch.notifier.status_file import StatusPagesFile
from everwatch.notifier.storage import Storage
from everwatch.operations.dead_letter_view import plain
from everwatch.rules.admission import admit_command, admit_signup
from everwatch.rules.registration_rules import carry_out, changed_signup, sign_up
from everwatch.schedule.duration import DAY_MS
from everwatch.store import CatalogueEntry, MemoryStore, Partition, Purge, Received, SinkBatch
from everwatch.store.database_status import DatabaseStatus
from everwatch.store.purged_users import AskedPurge, PurgeOutcome, Remains, key_of_purge
from everwatch.store.table_status import TableStatus
from support.notifying import Notifying

START = 1_795_000_000_000
CHANGELOG = Partition("everwatch-monitors-changelog", 0)
REPLIES = Partition("replies", 0)


OF_THE_CONSOLE = {"X_Everwatch_Console": "1", "Sec_Fetch_Site": "same-origin"}
"""What a page of the console sends with each write."""
# reading and packing them takes a tenth of a second; they do not change
_packaged = cache(ConsoleFiles)


class Worker:
    """Carries out commands as a worker does, and stores what came of them as a sink does, at once.

    ``silent``: answers nothing; ``failure``: of every input that is sent; ``unknown``: users of whom all is refused;
    ``sink_is_away``: no purge is carried out.
    """

    def __init__(self, store: MemoryStore, clock: SettableClock) -> None:
        self._store = store
        self._clock = clock
        self.inputs: list[Asked] = []
        self.silent = False
        self.failure: EverwatchError | None = None
        self.unknown: set[str] = set()
        self._digests: dict[tuple[str, str], str] = {}
        self._offset = 0
        self._purges = 0
        self.sink_is_away = False
        self._replies: dict[tuple[str, str], Reply] = {}

    async def send(self, inputs: Sequence[Asked]) -> None:
        if self.failure is not None:
            raise self.failure
        self.inputs += inputs

    async def ask(self, inputs: Sequence[Asked], wait_s: float) -> list[Reply | EverwatchError | None]:
        if self.failure is not None:
            return [self.failure for _ in inputs]
        self.inputs += inputs
        if self.silent or not wait_s:
            return [None for _ in inputs]
        return [self._answer(each) for each in inputs]

    def reply(self, user_id: str, command_id: str) -> Reply | None:
        return self._replies.get((user_id, command_id))

    def _answer(self, asked: Asked) -> Reply:
        asker = asked.asker
        answer, error, version = CommandOutcome.DONE, None, 0
        try:
            answer, version = self._carried_out(asked)
        except InvalidInput as refusal:
            answer, error = CommandOutcome.REFUSED, refusal
        reply = Reply(
            asker.command_id,
            asker.user_id,
            asker.monitor_id,
            asker.command,
            answer,
            error.reason if error else "",
            error.path if error else "",
            version,
            self._clock.now_ms(),
            error.code if error else "",
            asker.signup_id,
            asker.signal_id,
            partition=CHANGELOG.number if self._offset else -1,
            offset=self._offset - 1,
        )
        self._replies[asker.user_id, asker.command_id or asker.signup_id or asker.signal_id] = reply
        if asker.command == CommandType.PURGE:
            self._purge(reply)
        return reply

    def _purge(self, reply: Reply) -> None:
        """Store a purge that the sink has to carry out, and carry it out."""
        was_watched = reply.answer is not CommandOutcome.UNCHANGED
        key = key_of_purge(reply.user_id, reply.command_id)
        asked = AskedPurge(key, reply.user_id, reply.at, CHANGELOG.number, reply.offset + 1, was_watched)
        received = Received(REPLIES, self._purges, reply.at, asked)
        self._purges += 1
        self._store.apply(SinkBatch(reply.at, {REPLIES: self._purges}, purges=[received]))
        if self.sink_is_away:
            return
        purge = Purge(reply.user_id, reply.at, reply.at + DAY_MS, {CHANGELOG: self._offset}, key)
        self._store.begin_purge(purge)
        while self._store.purge_some(purge, 1_000):
            pass
        remains = (Remains("results", reply.at + DAY_MS, "retention.ms 1d"), Remains("audit", None, "unbounded"))
        self._store.finish_purge(asked, PurgeOutcome(purge.kept_until, remains), reply.at)

    def _carried_out(self, asked: Asked) -> tuple[CommandOutcome, int]:
        if asked.asker.user_id in self.unknown:
            raise InvalidInput("there is no such user", "$.user_id", RefusalCode.NOT_FOUND)
        now = self._clock.now_ms()
        user = self._store.user(asked.asker.user_id)
        monitors = {m.monitor_id: m for m in self._store.monitors(asked.asker.user_id)}
        if asked.asker.command == "signal":
            return CommandOutcome.DONE, 0
        if asked.asker.command == "signup":
            signup = admit_signup(asked.value, now)
            if signup.remembered_id and self._is_repeated(signup.user_id, signup.remembered_id, signup.request_digest):
                return CommandOutcome.REPEATED, 0
            changes = sign_up(signup, user, monitors, now, now)
            answer = CommandOutcome.REGISTERED if user is None else CommandOutcome.UPDATED
            self._digests[signup.user_id, signup.remembered_id] = signup.request_digest
            self._store_changes(changes, asked.asker.user_id)
            return (CommandOutcome.UNCHANGED if changes.is_nothing else answer), 0
        command = admit_command(asked.value, now)
        if self._is_repeated(command.user_id, command.command_id, command.request_digest):
            held = self._store.monitor(command.user_id, command.monitor_id)
            return CommandOutcome.REPEATED, held.version if held else 0
        if command.command is CommandType.SET_USER:
            changes = sign_up(changed_signup(command, user, monitors, ()), user, monitors, now, now)
            self._store_changes(changes, command.user_id)
            return (CommandOutcome.UNCHANGED if changes.is_nothing else CommandOutcome.DONE), 0
        changes = carry_out(command, user, monitors, now, now)
        self._digests[command.user_id, command.command_id] = command.request_digest
        self._store_changes(changes, command.user_id)
        held = self._store.monitor(command.user_id, command.monitor_id) if command.monitor_id else None
        return (CommandOutcome.UNCHANGED if changes.is_nothing else CommandOutcome.DONE), held.version if held else 0

    def _is_repeated(self, user_id: str, asked_id: str, digest: str) -> bool:
        known = self._digests.get((user_id, asked_id))
        if known and digest and known != digest:
            raise InvalidInput("this was that of another request", "$.command_id", RefusalCode.REUSED_KEY)
        return known is not None

    def _store_changes(self, changes: Any, user_id: str) -> None:
        entries: list[CatalogueEntry] = []
        if changes.user is not None:
            entries.append(CatalogueEntry(user_id, "", changes.user))
        for change in changes.monitors:
            held = change.after or change.before
            entries.append(CatalogueEntry(user_id, held.monitor_id, change.after))
        if changes.user_ended:
            entries.append(CatalogueEntry(user_id, "", None))
        self.put(*entries)

    def put(self, *entries: CatalogueEntry) -> None:
        """Store what a changelog would say."""
        received = []
        for entry in entries:
            received.append(Received(CHANGELOG, self._offset, self._clock.now_ms(), entry))
            self._offset += 1
        self._store.apply(SinkBatch(self._clock.now_ms(), {CHANGELOG: self._offset}, entries=received))


class Records:
    """Takes records of topics that are followed in at once."""

    def __init__(self, takers: Mapping[str, Callable[[list[Record]], None]]) -> None:
        self.takers = takers

    async def send(self, topic: str, key: bytes, value: bytes | None) -> None:
        self.takers[topic]([Record(topic, 0, 0, 0, key, value)])


class LetterTopic:
    """The topic of dead letters, and what sends them back; ``sent``: those that were."""

    def __init__(self) -> None:
        self.held: list[DeadLetter | Redriven] = []
        self.sent: list[DeadLetter] = []

    def read(self) -> Iterator[DeadLetter | Redriven]:
        yield from tuple(self.held)

    def close(self) -> None:
        """Nothing is open."""

    def send(self, letters: Sequence[DeadLetter]) -> list[RedrivenLetter]:
        done = []
        for each in letters:
            assert each.source is not None
            to = SourcePosition(each.source.topic, each.source.partition, 1_000 + len(self.sent))
            self.sent.append(each)
            self.held.append(Redriven(each.place, to, START))
            done.append(RedrivenLetter(each, to))
        return done


class TrialRunner:
    """Answers trials as an executor does. ``silent``: none of them."""

    def __init__(self, clock: SettableClock) -> None:
        self._clock = clock
        self.requests: list[TrialRequest] = []
        self.silent = False

    async def run(self, request: TrialRequest, wait_s: float) -> TrialOutcome | None:
        self.requests.append(request)
        if self.silent:
            return None
        now, timings = self._clock.now_ms(), {"connect": 3.0}
        return TrialOutcome(request.trial_id, Status.SUCCESS, "", now, 12.5, timings, "", "executor-bern-1")


class AuditTopic:
    """Takes entries of the audit log, and stores them as a sink does, at once. ``failure``: of each.

    ``before``: what is waited for before some are taken.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.entries: list[AuditEntry] = []
        self.failure: EverwatchError | None = None
        self.before: Callable[[Sequence[Any]], Awaitable[object]] | None = None

    async def send_each(self, records: Sequence[tuple[str, bytes, bytes | None]]) -> list[EverwatchError | None]:
        if self.before is not None:
            await self.before(records)
        if self.failure is not None:
            return [self.failure for _ in records]
        for topic, key, value in records:
            entry = codec.decode_audit_entry(value)
            assert (topic, key.decode()) == ("audit", entry.user_id or entry.token_id)
            place = Partition("audit", 0)
            received = Received(place, len(self.entries), entry.at, entry)
            self.entries.append(entry)
            self._store.apply(SinkBatch(entry.at, {place: len(self.entries)}, audit=[received]))
        return [None for _ in records]


class Api:
    """A server that runs, with tokens of every role, and a client session."""

    def __init__(self, console: Path = STATIC, clock: SettableClock | None = None, beat_s: float = BEAT_S) -> None:
        self.console = console
        self.clock = clock or SettableClock(START)
        self.store = MemoryStore()
        self.worker = Worker(self.store, self.clock)
        self.audit = AuditTopic(self.store)
        self.topic_states = [TopicState("signups", 12, created=False)]
        self.letters = LetterTopic()
        self.trials = TrialRunner(self.clock)
        self.status_pages = StatusPagesFile(None)
        self.jobs = Jobs(self.clock)
        self.views = SavedViews()
        self.used_keys = UsedKeys(self.clock)
        self.is_password: Callable[[str, str], bool] = is_password
        self.settings = load_settings()
        self.tokens = Tokens(self.settings)
        self.logins = Logins()
        self.ping_keys = PingKeys()
        self.ping_keys.put(new_ping_secret(START))
        access = Access(self.tokens, self.logins, self.ping_keys, self.clock)
        self.take_incidents: Callable[[list[Record]], None] = lambda _: None
        takers = {
            "access": access.take,
            "jobs": self.take_shared,
            "incidents": lambda records: self.take_incidents(records),
        }
        self.records = Records(takers)
        self.not_ready: dict[str, str] = {}
        self.waited_for: list[str] = []
        self.failure: Exception | None = None
        self.storage: Storage | None = None
        self.texts = {role: self.token(role) for role in Role}
        self.url = ""
        self.taker: Any = None
        self.ends: dict[tuple[str, int], int] = {("transitions", 0): 0, ("results", 0): 0}
        self.held: list[Record] = []
        self.live = Live(
            Topics.of(load_settings()),
            self._follow,
            self._replayed,
            lambda principal: self.tokens.is_valid(principal, self.clock.now_ms()),
            self.clock,
            beat_s=beat_s,
        )
        self.session: aiohttp.ClientSession

    def stand_beside(self, notifying: Notifying) -> None:
        """Read the database of this notifier, by its clock; it reads requests about incidents at once."""
        self.storage, self.take_incidents = notifying.storage, notifying.ask
        self.clock.advance(notifying.clock.now_ms() - self.clock.now_ms())

    def _storage(self) -> Storage:
        if self.storage is None:
            raise StoreError("There is no database of the notifier yet.")
        return self.storage

    def _owners(self, partition: int, priority: Priority) -> GroupMembers:
        if self.worker.failure is not None:
            raise self.worker.failure
        return GroupMembers(f"worker-of-{partition}", "executor-1", ("executor-1",))

    def _diagnose(self) -> list[Finding]:
        return [well("broker", "it answers"), fault("sink", "it is 9 s behind", "Start another one.")]

    async def _follow(self, take: Any) -> Any:
        self.taker = take

        async def close() -> None:
            self.taker = None

        return Following(self.ends, close)

    def _replayed(self, wanted: Mapping[tuple[str, int], range]) -> Iterator[list[Record]]:
        for place, offsets in wanted.items():
            yield [each for each in self.held if (each.topic, each.partition) == place and each.offset in offsets]

    def token(self, role: Role, user_id: str = "", name: str = "test", **more: Any) -> str:
        """Make a token."""
        made = new_token(name, role, START, limits=TokenLimits(user_id, more.pop("label", "")), **more)
        self.tokens.put(made.record)
        return made.text

    def session_of(self, role: Role, user_id: str = "", **more: Any) -> str:
        """Begin a session; gives the Cookie that a browser sends then."""
        principal = self.tokens.principal(self.token(role, user_id, **more), START)
        assert principal is not None
        made = new_session(principal, START, START + 3_600_000)
        self.tokens.put(made.record)
        return f"{cookie_name({'Host': self.url.removeprefix('http://')})}={made.text}"

    def services(self) -> Services:
        """Return the parts that the server works with."""

        def opened() -> MemoryStore:
            if self.failure is not None:
                raise self.failure
            return self.store

        return Services(
            self.clock,
            Database(opened, self.clock),
            self.worker,
            self.tokens,
            self.logins,
            self.ping_keys,
            ConfigSecrets(None),
            self.records,
            "access",
            lambda: Lag(START, (), {}),
            self._owners,
            self._diagnose,
            lambda: None,
            lambda: self.not_ready,
            self.live,
            (_packaged if self.console == STATIC else ConsoleFiles)(self.console),
            NotifierDatabase(self._storage, self.clock, threads=1),
            AuditLog(self.audit, "audit", self.clock, load_settings().output_format),
            redriving(lambda: self.letters, lambda: self.letters, Topics.of(load_settings()), ""),
            self.jobs,
            JobWriter(self.records, "jobs", self.jobs),
            "incidents",
            self.trials,
            self.status_pages,
            oidc_login_of(self.settings),
            self.settings.oidc_session_min * 60_000,
            self.views,
            "jobs",
            self.used_keys,
            Looks(self.database_status, lambda: (self.topic_states, []), self._original),
            lambda *asked: self.is_password(*asked),
        )

    def database_status(self) -> DatabaseStatus:
        """Return what the database's server would say."""
        return DatabaseStatus("sqlite", 4_096, 0, None, [TableStatus("users", self.store.count_users())])

    def _original(self, partition: int, offset: int) -> Mapping[str, Any] | None:
        for each in self.letters.held:
            if isinstance(each, DeadLetter) and each.place[1:] == (partition, offset):
                return plain(each, None, Topics.of(load_settings()), secrets=True)
        return None

    def take_shared(self, records: list[Record]) -> None:
        """Take in records of the topic of jobs, as a process does."""
        self.jobs.take(records)
        self.views.take(records)
        self.used_keys.take(records)

    async def call(
        self, method: str, path: str, *, token: str | None = "", body: object = None, **headers: str
    ) -> "Answered":
        """Send a request; ``token``: "" for an administrator's, None for none."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            given.setdefault("Authorization", f"Bearer {token or self.texts[Role.ADMIN]}")
        data = body if isinstance(body, bytes | None) else orjson.dumps(body)
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        async with self.session.request(
            method, self.url + path, data=data, headers=given, allow_redirects=False
        ) as response:
            # a stream does not end
            is_stream = response.content_type == "text/event-stream"
            return Answered(response.status, response.headers, b"" if is_stream else await response.read())


class Answered(msgspec.Struct):
    """An answer."""

    status: int
    headers: Any
    data: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.data)

    @property
    def code(self) -> str:
        """The code of a problem document."""
        assert self.headers["Content-Type"] == "application/problem+json", self.data
        return str(self.json["code"])


def listening() -> socket.socket:
    """A socket on a free port of loopback."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@asynccontextmanager
async def api(
    *,
    is_behind: bool = False,
    console: Path = STATIC,
    clock: SettableClock | None = None,
    sock: socket.socket | None = None,
    status_pages: StatusPagesFile | None = None,
    beat_s: float = BEAT_S,
    **more: Any,
) -> AsyncIterator[Api]:
    """Run the API's server meanwhile; ``is_behind``: its database does not get what was written."""
    running = Api(console, clock, beat_s)
    running.status_pages = status_pages or running.status_pages

    async def at_once(position: str, _: float) -> None:
        running.waited_for.append(position)
        if is_behind:
            raise unavailable(BEHIND, "The database does not have that write yet.")

    # tests are a reverse proxy where they say that they were asked by HTTPS
    more.setdefault("proxies", TrustedProxies((ip_network("127.0.0.0/8"),)))
    sock = sock or listening()
    running.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = Server(running.services(), at_once, EdgeOptions(**more))
    running.server = server  # type: ignore[attr-defined]
    await server.start(sock)
    # a path is sent as it is written
    connector = aiohttp.TCPConnector(force_close=False)
    running.session = aiohttp.ClientSession(connector=connector, requote_redirect_url=False)
    try:
        yield running
    finally:
        await running.session.close()
        await server.stop()


def entry(user: User, *monitors: Monitor) -> list[CatalogueEntry]:
    """Return what the changelog says of a user with monitors."""
    return [
        CatalogueEntry(user.user_id, "", user),
        *(
            CatalogueEntry(user.user_id, m.monitor_id, codec.decode_entry(m.key, codec.encode_entry(m)))
            for m in monitors
        ),
    ]
