"""The notifier without Kafka: transitions go in as records, and time moves when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Self, TypeVar

from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.config import OutputFormat, Settings
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics
from everwatch.model import Scalar, State, Transition, User
from everwatch.network.egress import Egress
from everwatch.network.guard import Guard
from everwatch.network.http_client import HttpClient
from everwatch.network.resolver import Resolver
from everwatch.notifier.addresses import Address, EmailAddress
from everwatch.notifier.alerts import Message
from everwatch.notifier.composing import compose
from everwatch.notifier.delivery_rows import Delivery
from everwatch.notifier.dispatch import Dispatcher, Limits, OverHttp, OverMail, Senders
from everwatch.notifier.doubts import resolve_doubts
from everwatch.notifier.intake import build_batch, take_in
from everwatch.notifier.judging import judge
from everwatch.notifier.routes import Rules
from everwatch.notifier.rules_file import rules_of
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.senders.over_http import HttpSender
from everwatch.notifier.storage import Storage
from support.new_databases import open_new_storage
from support.waiting import PATIENCE

START = 1_800_000_000_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
AT_ONCE = """
[defaults]
group_wait = "0s"
group_interval = "0s"
"""
MAIL_AT_ONCE = (
    AT_ONCE
    + """
[smtp]
host = "127.0.0.1"
from = "alerts@example.com"

[[users]]
name = "mail"
email = { to = "{{user.attributes.email}}" }
"""
)
RULES = f"""{MAIL_AT_ONCE}
[[operators]]
name = "hook"
webhook = {{ url = "https://hooks.example/ops" }}
"""
Value = TypeVar("Value")


class Receiver:
    """Takes every message, or what ``answers`` says of it; both kinds of sender."""

    def __init__(self) -> None:
        self.got: list[tuple[Address, Message]] = []
        self.answers: Callable[[Address, Message], AttemptOutcome] = lambda *_: AttemptOutcome(Verdict.SENT, "taken")

    async def send(self, *given: object, from_user: bool = False, **_more: object) -> AttemptOutcome:
        """Make one attempt."""
        address, message = given[-2:]
        self.got.append((address, message))  # type: ignore[arg-type]
        return self.answers(address, message)  # type: ignore[arg-type]

    def summaries(self, sender: type[Address]) -> list[str]:
        """The kinds of alerts of each message that an address of this type got."""
        return [
            " ".join(alert.kind.value for alert in message.alerts)
            for address, message in self.got
            if isinstance(address, sender)
        ]


class Notifying:
    """One notifier over a database, driven by hand."""

    def __init__(
        self,
        settings: Settings,
        rules: str = RULES,
        http: OverHttp | None = None,
        mail: OverMail | None = None,
        limits: Limits | None = None,
        storage: Storage | None = None,
        start: int = START,
    ) -> None:
        self.settings = settings
        self.clock = SettableClock(start)
        self.rules: Rules = rules_of(rules.encode(), Path("notify.toml"))
        self.receiver = Receiver()
        self.storage: Storage = storage or open_new_storage(settings)
        self._topics = Topics.of(settings)
        self.next_offset = 0
        self.dispatcher = Dispatcher(
            self.storage,
            lambda: self.rules,
            Senders(http or self.receiver, mail or self.receiver),
            self.clock,
            limits or Limits(100, 10),
            self._at_once,
        )
        # what was before it began is not told
        with self.storage.begin() as work:
            work.begun_at(start)

    async def _at_once(self, call: Callable[[], int]) -> int:
        return call()

    def close(self) -> None:
        """Let go of the database."""
        self.storage.close()

    # --- in -----------------------------------------------------------------------------------------------------------

    def sign_up(self, user_id: str = "u-1", plan: str = "pro", **attributes: Scalar) -> None:
        """A user comes by the changelog."""
        given = attributes or {"email": f"{user_id}@example.com"}
        user = User(user_id, plan, given, (), START, START)
        self.take([self._record(self._topics.monitors_changelog, codec.table_key(user_id), codec.encode_entry(user))])

    def delete(self, user_id: str, monitor_id: str = "") -> None:
        """A user, or a monitor, is deleted."""
        self.take([self._record(self._topics.monitors_changelog, codec.table_key(user_id, monitor_id), None)])

    def record(self, transition: Transition) -> Record:
        """A transition as a record of its topic."""
        value = codec.encode_transition(transition, OutputFormat.AVRO)
        return self._record(self._topics.transitions, codec.user_key(transition.user_id), value)

    def take(self, records: Iterable[Record]) -> None:
        """Take records in."""
        take_in(self.storage, build_batch(records, self._topics, self.clock.now_ms()), self.rules)

    @classmethod
    def of_users(cls, settings: Settings, rules: str, users: Iterable[str]) -> Self:
        """Make one that has stored these users."""
        made = cls(settings, rules)
        for user in users:
            made.sign_up(user)
        return made

    def tell(self, *transitions: Transition) -> None:
        """Transitions come by their topic."""
        self.take([self.record(each) for each in transitions])

    async def go_down(self, *users: str) -> None:
        """A monitor of each of these users goes down, which the notifier sends in the ten seconds that pass."""
        for user in users:
            self.sign_up(user)
            self.tell(transition("new", "up", 1, user, alert=False), transition("up", "down", 2, user))
        await self.later(10_000)

    def ask(self, records: Iterable[Record]) -> None:
        """Requests about incidents come by their topic."""
        self.take([self._record(self._topics.incidents, each.key or b"", each.value) for each in records])

    def _record(self, topic: str, key: bytes, value: bytes | None) -> Record:
        self.next_offset += 1
        return Record(topic, 0, self.next_offset, self.clock.now_ms(), key, value)

    # --- out ----------------------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Judge all that is due."""
        while judge(self.storage, self.rules, [0], self._topics.transitions, self.clock.now_ms()).events:
            pass

    def plan(self) -> None:
        """Judge and compose all that is due."""
        self.judge()
        while compose(self.storage, self.rules, self.clock.now_ms()):
            with self.storage.begin() as work:
                if not work.groups_to_flush(self.clock.now_ms(), 1):
                    break

    async def send(self) -> None:
        """Send all that is due now, and store how that ended."""
        for _ in range(100):
            begun = await self.dispatcher.turn() or self.dispatcher.is_busy
            async with asyncio.timeout(30 * PATIENCE):
                while self.dispatcher.is_busy:
                    await asyncio.sleep(0)
            if not begun:
                return
        raise AssertionError("it is sent again and again")

    async def work(self) -> None:
        """Plan and send what is due now."""
        self.plan()
        await self.send()

    async def later(self, ms: int) -> None:
        """Let time pass, and do what is due then."""
        self.clock.advance(ms)
        await self.work()

    def resolve_doubts(self) -> int:
        """Decide on what a killed notifier was sending."""
        return resolve_doubts(self.storage, self.rules, self.clock.now_ms(), everything=True)

    def deliveries(self, state: str = "") -> list[Delivery]:
        """Messages, the oldest first."""
        with self.storage.look() as work:
            return work.list_deliveries("", state, "", 0, 1_000)[::-1]

    def verdicts(self, user_id: str = "u-1", monitor_id: str = "shop") -> list[str]:
        """Return what became of a monitor's events, the oldest first."""
        with self.storage.look() as work:
            return [verdict for _, _, verdict in work.verdicts(user_id, monitor_id, 1_000)][::-1]


def transition(
    from_state: str,
    to_state: str,
    after_s: float = 0,
    user_id: str = "u-1",
    monitor_id: str = "shop",
    **more: object,
) -> Transition:
    """A transition so many seconds after the start."""
    states = State(from_state), State(to_state)
    given: dict[str, object] = {"reason": "status 500", "version": 1, "kind": "http", "target": "shop.example"} | more
    return Transition(user_id, monitor_id, START + int(after_s * SECOND), *states, **given)  # type: ignore[arg-type]


@asynccontextmanager
async def open_http_sender() -> AsyncIterator[HttpSender]:
    """A sender over real HTTP: users' addresses are guarded, operators' may be of this machine."""
    clock = SystemClock()
    resolver = Resolver(clock)
    guarded = HttpClient(clock, Guard(), resolver, Egress())
    free = HttpClient(clock, Guard((ip_network("127.0.0.0/8"),)), resolver, Egress())
    yield HttpSender(clock, guarded, free)
    await guarded.close()
    await free.close()
    await resolver.close()


MAIL = EmailAddress
