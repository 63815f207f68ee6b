"""A notifier whose steps are called one by one, and transitions of made-up users for it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import Unmeasured
from bench.producing import Records
from everwatch.core.clock import Clock, SettableClock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics
from everwatch.model import State, Transition, User
from everwatch.notifier.composing import compose
from everwatch.notifier.dispatch import Dispatcher, Limits, OverHttp, Senders
from everwatch.notifier.intake import build_batch, take_in
from everwatch.notifier.judging import judge
from everwatch.notifier.rules_file import rules_of
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.storage import open_storage

START = 1_800_000_000_000
MINUTE_MS = 60_000
PATIENCE_S = 240.0
USERS_ROUTE = '[[users]]\nname = "own"\nwebhook = {{ url = "{url}" }}\n'
_BATCH = 5_000
AT_ONCE = Limits(200, 100)


def changes(
    users: range,
    from_state: str,
    to_state: str,
    at: int,
    step_ms: float = 0.0,
    monitor_id: str = "shop",
    **more: object,
) -> Iterator[Transition]:
    """A change of one monitor of each user, each at a target of its own unless ``target`` says which."""
    states = State(from_state), State(to_state)
    for n in users:
        given: dict[str, object] = {"reason": "status 500", "version": 1, "kind": "http", "target": f"t-{n}.example"}
        when = at + int((n - users.start) * step_ms)
        yield Transition(f"u-{n:07}", monitor_id, when, *states, **given | more)  # type: ignore[arg-type]


class CountingReceivers:
    """Receivers in this process that accept every message and count it."""

    def __init__(self) -> None:
        self.users, self.operators = 0, 0

    async def send(self, *_: object, from_user: bool = False, **_more: object) -> AttemptOutcome:
        """Accept a message."""
        self.users += from_user
        self.operators += not from_user
        return AttemptOutcome(Verdict.SENT, "taken")


class Notifying:
    """A notifier over SQLite whose steps are called one by one."""

    def __init__(self, folder: Path, rules: str, http: OverHttp, clock: Clock) -> None:
        settings = Settings(data_dir=folder)
        self._topics = Topics.of(settings)
        self._rules = rules_of(rules.encode(), folder / "notify.toml")
        self._clock = clock
        self._offsets: Counter[str] = Counter()
        self._storage = open_storage(settings)
        with self._storage.begin() as work:
            work.begun_at(clock.now_ms() - MINUTE_MS)
        self._dispatcher = Dispatcher(
            self._storage, lambda: self._rules, Senders(http, _NoMail()), clock, AT_ONCE, self._at_once
        )

    async def _at_once(self, call: Callable[[], int]) -> int:
        return call()

    def users(self, users: range) -> list[Record]:
        """The records of users, as the changelog has them."""
        topic = self._topics.monitors_changelog
        return [
            self._record(topic, codec.table_key(user), codec.encode_entry(User(user, "pro", {}, (), START, START)))
            for user in (f"u-{n:07}" for n in users)
        ]

    def records(self, transitions: Iterator[Transition]) -> list[Record]:
        """The records of transitions."""
        return [
            self._record(
                self._topics.transitions,
                codec.user_key(each.user_id),
                codec.encode_transition(each, OutputFormat.AVRO),
            )
            for each in transitions
        ]

    def _record(self, topic: str, key: bytes, value: bytes) -> Record:
        self._offsets[topic] += 1
        return Record(topic, 0, self._offsets[topic], self._clock.now_ms(), key, value)

    def take(self, records: list[Record]) -> None:
        """Take in records, in batches."""
        for begin in range(0, len(records), _BATCH):
            take_in(self._storage, build_batch(records[begin : begin + _BATCH], self._topics, self._clock.now_ms()))

    def judge(self) -> None:
        """Judge all that waits."""
        while judge(self._storage, self._rules, [0], self._topics.transitions, self._clock.now_ms()).events:
            pass

    def compose(self) -> None:
        """Compose messages of all groups that are due."""
        while compose(self._storage, self._rules, self._clock.now_ms()):
            with self._storage.look() as work:
                if not work.groups_to_flush(self._clock.now_ms(), 1):
                    return

    async def send(self, is_all: Callable[[], bool]) -> None:
        """Send as the process does until ``is_all`` is true."""
        sending = asyncio.create_task(self._dispatcher.run())
        async with asyncio.timeout(PATIENCE_S):
            while not is_all():  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.05)
        self._dispatcher.stop()
        await sending
        await self._dispatcher.finish(10)

    async def send_at_once(self) -> None:
        """Send all that is due now, to receivers in this process."""
        begun = True
        while begun:
            begun = bool(await self._dispatcher.turn())
            for _ in range(10):
                await asyncio.sleep(0)

    async def later(self, ms: int) -> None:
        """Move the clock by ``ms`` and do what is due then."""
        assert isinstance(self._clock, SettableClock)
        self._clock.advance(ms)
        self.judge()
        self.compose()
        await self.send_at_once()

    def close(self) -> None:
        """Close the database."""
        self._storage.close()


class _NoMail:
    async def send(self, *_: object) -> AttemptOutcome:
        raise Unmeasured("No mail is sent here.")


@dataclass(frozen=True)
class Users:
    """Entries of users in the changelog."""

    users: int

    def records(self) -> Records:
        """Keys and values."""
        for n in range(self.users):
            user = f"u-{n:07}"
            yield codec.table_key(user), codec.encode_entry(User(user, "pro", {}, (), START, START))


@dataclass(frozen=True)
class Changes:
    """Changes of each user's monitors, alternately down and up, stamped when they are sent."""

    users: int
    first: int
    count: int
    monitor_id: str = "shop"
    monitors: int = 1

    def records(self) -> Records:
        """Keys and values."""
        for change in self.changes():
            yield codec.user_key(change.user_id), codec.encode_transition(change, OutputFormat.AVRO)

    def changes(self) -> Iterator[Transition]:
        """The transitions themselves."""
        clock = SystemClock()
        for number in range(self.first, self.first + self.count):
            turn, rest = divmod(number, self.users * self.monitors)
            n, which = divmod(rest, self.monitors)
            states = ("up", "down") if turn % 2 == 0 else ("down", "up")
            monitor_id = f"{self.monitor_id}-{which}"
            yield from changes(range(n, n + 1), *states, clock.now_ms(), monitor_id=monitor_id)
